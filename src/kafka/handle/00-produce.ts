import type { Timer } from '../../env.ts';
import type { HeadwaterError } from '../../errors.ts';
import type { Partition } from '../../log/types.ts';
import {
  BATCH_HEADER_BYTES,
  batchSizeOf,
  CODECS,
  codecNumberOf,
  hasLogAppendTime,
  isTransactional,
  magicOf,
  maxTimestampOf,
  producerEpochOf,
  producerIdOf,
} from '../../wire/batch/record-batch.ts';
import { produce } from '../../wire/kafka/api/00-produce.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import type { RequestOf, ResponseInput } from '../../wire/kafka/schema.ts';
import type { KafkaContext } from '../context.ts';
import { type ClientConnection, handler, NO_RESPONSE } from '../handler.ts';
import { findKeyless, type KeylessRefusal, needsKeys } from '../keyless.ts';

type Request = RequestOf<typeof produce>;
type Response = ResponseInput<typeof produce>;
type PartitionResponse = Response['responses'][number]['partitionResponses'][number];

const ZSTD = CODECS.indexOf('zstd');

interface Refusal {
  readonly code: number;
  readonly message: string | null;
  /** Which records of the batch are wrong (KIP-467). */
  readonly indexes?: readonly number[];
}

/** What was found wrong with batches for compacted topics. */
type Keyless = ReadonlyMap<Uint8Array, KeylessRefusal>;

const NOTHING_KEYLESS: Keyless = new Map();

const refusal = (code: number, message: string | null = null): Refusal => ({ code, message });

/** What can be said about the bytes without the log: one batch, of a format and codec that this version may carry. */
function checkBatch(records: Uint8Array | null, version: number): Refusal | null {
  if (records === null || records.length === 0) {
    return refusal(KAFKA_ERROR.INVALID_RECORD, 'a partition without a record batch');
  }
  if (records.length < BATCH_HEADER_BYTES) {
    return refusal(
      KAFKA_ERROR.CORRUPT_MESSAGE,
      `${records.length} bytes: a record batch header takes ${BATCH_HEADER_BYTES} bytes`,
    );
  }
  const magic = magicOf(records);
  if (magic !== 2) return refusal(KAFKA_ERROR.INVALID_RECORD, `record format ${magic}: only format 2 is accepted`);
  const length = batchSizeOf(records);
  if (length > records.length || length < BATCH_HEADER_BYTES) {
    return refusal(
      KAFKA_ERROR.CORRUPT_MESSAGE,
      `a batch of ${length} bytes by its header, ${records.length} bytes came`,
    );
  }
  if (length < records.length) {
    return refusal(KAFKA_ERROR.INVALID_RECORD, 'more than one record batch for one partition');
  }
  if (version < 7 && codecNumberOf(records) === ZSTD) {
    return refusal(KAFKA_ERROR.UNSUPPORTED_COMPRESSION_TYPE, 'zstd needs Produce version 7 (KIP-110)');
  }
  return null;
}

/** Transactional batches need a transactional id and a transaction that this partition was added to (KIP-98). */
function checkTransaction(
  context: KafkaContext,
  connection: ClientConnection,
  transactionalId: string | null,
  records: Uint8Array,
  partition: Partition,
): number {
  if (!isTransactional(records)) return KAFKA_ERROR.NONE;
  if (transactionalId === null || !connection.allows('write', 'transaction', transactionalId)) {
    return KAFKA_ERROR.TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
  }
  return context.transactionGate.admits(transactionalId, producerIdOf(records), producerEpochOf(records), partition);
}

/** One Produce request on its way: collects the outcome of each append and answers when the last one is known. */
class Production {
  readonly #context: KafkaContext;
  readonly #request: Request;
  readonly #version: number;
  readonly #connection: ClientConnection;
  readonly #keyless: Keyless;
  readonly #responses: { name: string; partitionResponses: PartitionResponse[] }[];
  readonly #done: (answer: Response) => void;
  /** Appends without an outcome, plus one while they are being issued. */
  #open = 1;
  #answered = false;
  #timer: Timer | null = null;

  constructor(
    context: KafkaContext,
    request: Request,
    version: number,
    connection: ClientConnection,
    keyless: Keyless,
    done: (answer: Response) => void,
  ) {
    this.#context = context;
    this.#request = request;
    this.#version = version;
    this.#connection = connection;
    this.#keyless = keyless;
    this.#done = done;
    this.#responses = request.topicData.map(({ name, partitionData }) => ({
      name,
      partitionResponses: new Array<PartitionResponse>(partitionData.length),
    }));
  }

  /** Issues every append now, in the order of the request: what makes pipelined requests keep their order. */
  run(): void {
    let replicated = false;
    const { topicData, transactionalId, acks } = this.#request;
    const acksKnown = acks === 0 || acks === 1 || acks === -1;
    for (let t = 0; t < topicData.length; t++) {
      const { name, partitionData } = topicData[t]!;
      const topic = this.#context.log.topic(name);
      const allowed = this.#connection.allows('write', 'topic', name);
      for (let p = 0; p < partitionData.length; p++) {
        const { index, records } = partitionData[p]!;
        const partition = topic?.partitions[index];
        const refused = acksKnown
          ? checkBatch(records, this.#version)
          : refusal(KAFKA_ERROR.INVALID_REQUIRED_ACKS, `acks ${acks}: allowed are -1, 0 and 1`);
        if (!allowed) this.#refuse(t, p, index, refusal(KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED));
        else if (refused !== null) this.#refuse(t, p, index, refused);
        else if (topic?.internal === true) this.#refuse(t, p, index, refusal(KAFKA_ERROR.INVALID_TOPIC_EXCEPTION));
        else if (partition === undefined) {
          this.#refuse(t, p, index, refusal(KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION));
        } else {
          if (partition.replicas.length > 1) replicated = true;
          this.#append(t, p, partition, records!, transactionalId);
        }
      }
    }
    if (replicated && acks === -1) this.#limitWait();
    this.#outcome();
  }

  #append(t: number, p: number, partition: Partition, records: Uint8Array, transactionalId: string | null): void {
    const { index } = partition;
    const forbidden = checkTransaction(this.#context, this.#connection, transactionalId, records, partition);
    if (forbidden !== KAFKA_ERROR.NONE) {
      this.#refuse(t, p, index, refusal(forbidden));
      return;
    }
    const keyless = this.#keyless.get(records);
    if (keyless !== undefined) {
      this.#refuse(t, p, index, keyless);
      return;
    }
    this.#open++;
    const transactional = isTransactional(records);
    const acks = this.#request.acks === -1 ? -1 : 1;
    partition.appendBatch(records, { acks, origin: 'client', transactional }, (error, baseOffset) => {
      if (error !== null) this.#refuse(t, p, index, ofError(error));
      else {
        this.#responses[t]!.partitionResponses[p] = {
          index,
          errorCode: KAFKA_ERROR.NONE,
          baseOffset,
          logAppendTimeMs: hasLogAppendTime(records) ? maxTimestampOf(records) : -1,
          logStartOffset: partition.logStartOffset,
        };
      }
      this.#outcome();
    });
  }

  #refuse(t: number, p: number, index: number, { code, message, indexes = [] }: Refusal): void {
    this.#context.metrics.error(code);
    const recordErrors = indexes.map((batchIndex) => ({ batchIndex, batchIndexErrorMessage: message }));
    this.#responses[t]!.partitionResponses[p] = {
      index,
      errorCode: code,
      baseOffset: -1,
      errorMessage: message,
      recordErrors,
    };
    // With acks=0 there is no answer: closing is the only way to tell, and Kafka's.
    if (this.#request.acks === 0) this.#connection.close('produce with acks=0 failed');
  }

  #outcome(): void {
    this.#open--;
    if (this.#open > 0 || this.#answered) return;
    this.#answered = true;
    this.#timer?.cancel();
    this.#done({ responses: this.#responses });
  }

  /** acks=all waits for replicas elsewhere no longer than the client said. What is stored here stays stored. */
  #limitWait(): void {
    this.#timer = this.#context.env.clock.after(Math.max(0, this.#request.timeoutMs), () => {
      if (this.#answered) return;
      this.#answered = true;
      const { topicData } = this.#request;
      const responses = this.#responses.map(({ name, partitionResponses }, t) => ({
        name,
        partitionResponses: Array.from(
          partitionResponses,
          (known, p): PartitionResponse =>
            known ?? {
              index: topicData[t]!.partitionData[p]!.index,
              errorCode: KAFKA_ERROR.REQUEST_TIMED_OUT,
              baseOffset: -1,
            },
        ),
      }));
      this.#done({ responses });
    });
  }
}

const ofError = (error: HeadwaterError): Refusal => refusal(error.kafkaCode, error.message);

function produceNow(
  context: KafkaContext,
  request: Request,
  version: number,
  connection: ClientConnection,
  keyless: Keyless,
): typeof NO_RESPONSE | Promise<Response> {
  if (request.acks === 0) {
    new Production(context, request, version, connection, keyless, () => {}).run();
    return NO_RESPONSE;
  }
  return new Promise((resolve) => {
    new Production(context, request, version, connection, keyless, resolve).run();
  });
}

/** Looks for keyless records where the topic forbids them. A promise only when a batch is compressed. */
function inspect({ log }: KafkaContext, { topicData }: Request): Keyless | Promise<Keyless> {
  if (!topicData.some(({ name }) => needsKeys(log.topic(name)))) return NOTHING_KEYLESS;
  const found = new Map<Uint8Array, KeylessRefusal>();
  const waiting: Promise<void>[] = [];
  for (const { name, partitionData } of topicData) {
    if (!needsKeys(log.topic(name))) continue;
    for (const { records } of partitionData) {
      if (records === null) continue;
      const keep = (refused: KeylessRefusal | null): void => {
        if (refused !== null) found.set(records, refused);
      };
      const refused = findKeyless(records);
      if (refused instanceof Promise) waiting.push(refused.then(keep));
      else keep(refused);
    }
  }
  return waiting.length === 0 ? found : Promise.all(waiting).then(() => found);
}

/** Connections whose last request is still being looked at: what comes behind it waits, to keep the order. */
const inspected = new WeakMap<ClientConnection, Promise<unknown>>();

export const produceHandler = handler({
  api: produce,
  pipelined: true,
  deviations: ['Requests pipelined on one connection are stored by one synced write instead of one after the other.'],
  handle(context, request, version, connection) {
    const before = inspected.get(connection);
    const keyless = inspect(context, request);
    if (before === undefined && !(keyless instanceof Promise)) {
      return produceNow(context, request, version, connection, keyless);
    }
    const turn = Promise.all([keyless, before]);
    inspected.set(connection, turn);
    return turn.then(([found]): Awaited<ReturnType<typeof produceNow>> | Promise<Response> => {
      if (inspected.get(connection) === turn) inspected.delete(connection);
      return produceNow(context, request, version, connection, found);
    });
  },
});
