/** Admin requests hold many independent steps: one that fails is answered in its own place and disturbs no other. */
import { asHeadwaterError } from '../errors.ts';
import type { KafkaContext } from './context.ts';

export interface Outcome {
  readonly errorCode: number;
  readonly errorMessage: string | null;
}

/** Runs `step`; what it throws becomes its outcome. Bugs are logged. Counts the error. */
export async function attempt<T extends Outcome>(context: KafkaContext, step: () => Promise<T>): Promise<T | Outcome> {
  try {
    const outcome = await step();
    context.metrics.error(outcome.errorCode);
    return outcome;
  } catch (thrown) {
    const error = asHeadwaterError(thrown);
    if (error.code === 'INTERNAL') context.logger.error({ error: error.stack }, 'a Kafka admin request failed');
    context.metrics.error(error.kafkaCode);
    return { errorCode: error.kafkaCode, errorMessage: error.message };
  }
}
