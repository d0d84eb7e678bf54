/** Fencing has two codes: clients that know PRODUCER_FENCED (KIP-588) get it, older versions INVALID_PRODUCER_EPOCH. */
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import type { KafkaContext } from './context.ts';

/** `error` as `version` of an API knows it that has PRODUCER_FENCED from version `from` on. Counts it. */
export function fencingError(context: KafkaContext, error: number, version: number, from: number): number {
  const code = error === KAFKA_ERROR.PRODUCER_FENCED && version < from ? KAFKA_ERROR.INVALID_PRODUCER_EPOCH : error;
  context.metrics.error(code);
  return code;
}
