/**
 * One error class and one table. `code` is stable for ever; `message` is for people and may change: it names what was
 * wrong, the value and what is allowed. Expected outcomes (a duplicate batch, an empty read) are return values, not errors.
 * A TypeError or RangeError without a code is a bug of ours.
 */
interface ErrorRow {
  /** What it means, for docs and logs. */
  readonly meaning: string;
  /** Whether the same request may succeed later. */
  readonly retriable: boolean;
  /** Kafka's error code on the wire (`kafka-messages.json`, Errors). */
  readonly kafka: number;
  /** MQTT 5 reason code for PUBACK, SUBACK or DISCONNECT. */
  readonly mqtt: number;
}

const row = (meaning: string, retriable: boolean, kafka: number, mqtt: number): ErrorRow => ({
  meaning,
  retriable,
  kafka,
  mqtt,
});

export const ERRORS = {
  // Input
  INVALID_REQUEST: row('a request that contradicts the protocol', false, 42, 0x82),
  MALFORMED: row('bytes that cannot be decoded', false, 42, 0x81),
  CORRUPT_BATCH: row('a record batch whose CRC or lengths are wrong', false, 2, 0x99),
  INVALID_RECORD: row('a record batch that is well-formed but not allowed here', false, 87, 0x99),
  BATCH_TOO_LARGE: row('a record batch above max.message.bytes', false, 10, 0x95),
  INVALID_TOPIC: row('a topic name that is not allowed', false, 17, 0x90),
  INVALID_CONFIG: row('a setting that is unknown or has an impossible value', false, 40, 0x83),
  INVALID_PARTITIONS: row('a number of partitions that is not allowed', false, 37, 0x83),
  INVALID_REPLICATION_FACTOR: row('a replication factor that this broker cannot give', false, 38, 0x83),
  INVALID_REPLICA_ASSIGNMENT: row('partitions assigned to brokers that are not there', false, 39, 0x83),
  INVALID_TIMESTAMP: row('a record timestamp outside what the topic allows', false, 32, 0x99),
  UNSUPPORTED_COMPRESSION: row('a compression codec that is not known', false, 76, 0x99),
  // What is not there, or there already
  UNKNOWN_TOPIC: row('a topic or partition that does not exist', true, 3, 0x90),
  UNKNOWN_TOPIC_ID: row('a topic id that does not exist', true, 100, 0x90),
  TOPIC_EXISTS: row('a topic of that name exists', false, 36, 0x83),
  OFFSET_OUT_OF_RANGE: row('an offset before the log start or after the log end', false, 1, 0x83),
  // Idempotence and epochs
  OUT_OF_ORDER_SEQUENCE: row('a batch whose sequence number does not follow the last one', false, 45, 0x83),
  INVALID_PRODUCER_EPOCH: row('a producer that a newer one with the same id has fenced', false, 47, 0x83),
  INVALID_TXN_STATE: row('a step that the transaction is not in a state for', false, 48, 0x83),
  FENCED_LEADER_EPOCH: row('a leader epoch older than ours', true, 74, 0x83),
  UNKNOWN_LEADER_EPOCH: row('a leader epoch newer than ours', true, 75, 0x83),
  NOT_LEADER: row('this broker does not lead the partition', true, 6, 0x83),
  NOT_CONTROLLER: row('this broker follows another, which makes changes', true, 41, 0x83),
  // Replicas
  NOT_ENOUGH_REPLICAS: row('fewer replicas in sync than min.insync.replicas', true, 19, 0x97),
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: row('stored here, but too few replicas stayed in sync', true, 20, 0x97),
  REQUEST_TIMED_OUT: row('replicas did not confirm within the time the client gave', true, 7, 0x83),
  // Resources
  DISK_FULL: row('no space for new records; reading goes on', true, 56, 0x97),
  STORE_FAILED: row('the store could not write or read', true, 56, 0x83),
  STORE_LOCKED: row('another process uses the data directory', false, -1, 0x83),
  STORE_FORMAT: row('the data directory has a format this version cannot read', false, -1, 0x83),
  QUOTA_EXCEEDED: row('a limit of this broker is reached', true, 89, 0x97),
  SERVER_BUSY: row('the broker is above memory.budget and takes no new connections', true, -1, 0x89),
  SHUTTING_DOWN: row('the broker is stopping', true, 6, 0x8b),
  // Access
  NOT_AUTHORIZED: row('the user may not do this', false, 29, 0x87),
  AUTHENTICATION_FAILED: row('unknown user or wrong secret', false, 58, 0x86),
  // Links and clients
  UPSTREAM_REFUSED: row('the upstream answered with an error', true, -1, 0x83),
  CONNECTION_LOST: row('the connection ended before the answer came', true, 13, 0x83),
  // Ours
  INTERNAL: row('a bug in Headwater', false, -1, 0x83),
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof ERRORS;

export class HeadwaterError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'HeadwaterError';
    this.code = code;
  }

  get retriable(): boolean {
    return ERRORS[this.code].retriable;
  }

  get kafkaCode(): number {
    return ERRORS[this.code].kafka;
  }

  get mqttReason(): number {
    return ERRORS[this.code].mqtt;
  }
}

/** `error` itself when it is ours, otherwise an INTERNAL error that keeps it as its cause. */
export function asHeadwaterError(error: unknown): HeadwaterError {
  if (error instanceof HeadwaterError) return error;
  return new HeadwaterError('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error });
}
