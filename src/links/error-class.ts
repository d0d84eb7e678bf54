/** What a link does about an error code in a Produce response. The records stay in the log whatever it is. */
import { UpstreamError } from '../client/error.ts';
import type { HeadwaterError } from '../errors.ts';
import { isRetriableKafkaError } from '../wire/kafka/errors.ts';

export type ErrorClass =
  /** The same bytes again after a pause. */
  | 'retry'
  /** As `retry`, at the leader that fresh metadata names. */
  | 'refresh'
  /** Upstream knows another sequence than we do: look at what it has before the next send. */
  | 'locate'
  /** Too large for upstream: halves, or the ledger when it is a single record. */
  | 'too-large'
  /** Nothing helps but a person: shown, tried again at the longest pause. */
  | 'blocked';

const REFRESH = new Set([
  3, // UNKNOWN_TOPIC_OR_PARTITION
  5, // LEADER_NOT_AVAILABLE
  6, // NOT_LEADER_OR_FOLLOWER
  9, // REPLICA_NOT_AVAILABLE
  72, // LISTENER_NOT_FOUND
  74, // FENCED_LEADER_EPOCH
  75, // UNKNOWN_LEADER_EPOCH
  100, // UNKNOWN_TOPIC_ID
]);
const LOCATE = new Set([
  45, // OUT_OF_ORDER_SEQUENCE_NUMBER
  46, // DUPLICATE_SEQUENCE_NUMBER
  47, // INVALID_PRODUCER_EPOCH
  49, // INVALID_PRODUCER_ID_MAPPING
  59, // UNKNOWN_PRODUCER_ID
  90, // PRODUCER_FENCED
]);
const TOO_LARGE = new Set([10, 18]); // MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE

export function classifyError(code: number): ErrorClass {
  if (REFRESH.has(code)) return 'refresh';
  if (LOCATE.has(code)) return 'locate';
  if (TOO_LARGE.has(code)) return 'too-large';
  // -1 is an upstream's bug or its disk: it may pass.
  return code === -1 || isRetriableKafkaError(code) ? 'retry' : 'blocked';
}

/** Whether an attempt failed for a reason that only a person ends: a login or certificate that is refused, or `blocked`. */
export function needsPerson(error: HeadwaterError): boolean {
  if (error instanceof UpstreamError) return classifyError(error.kafka) === 'blocked';
  return error.code === 'AUTHENTICATION_FAILED';
}
