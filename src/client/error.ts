import { HeadwaterError } from '../errors.ts';
import { isRetriableKafkaError, KAFKA_ERROR, kafkaErrorName } from '../wire/kafka/errors.ts';

/** An error code in a response of a Kafka server. */
export class UpstreamError extends HeadwaterError {
  readonly kafka: number;

  constructor(kafka: number, what: string, detail?: string | null) {
    const more = detail === undefined || detail === null || detail === '' ? '' : `: ${detail}`;
    super('UPSTREAM_REFUSED', `${what}: ${kafkaErrorName(kafka)} (${kafka})${more}`);
    this.name = 'UpstreamError';
    this.kafka = kafka;
  }

  get kafkaName(): string {
    return kafkaErrorName(this.kafka);
  }

  override get retriable(): boolean {
    return isRetriableKafkaError(this.kafka);
  }
}

/** Throws unless `code` is 0. */
export function checkCode(code: number, what: string, detail?: string | null): void {
  if (code !== 0) throw new UpstreamError(code, what, detail);
}

/** The code that metadata gives for a topic. */
export function checkTopicCode(code: number, name: string): void {
  checkCode(code, code === KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION ? `topic "${name}" does not exist` : `topic ${name}`);
}
