/**
 * One Fetch on its way: reads what is there, waits for more when that is less than the client asked for, reads on from
 * where it stopped, answers. Nothing is read twice and nothing beyond the byte limits is held.
 */
import type { Timer } from '../env.ts';
import { asHeadwaterError } from '../errors.ts';
import { FETCH_ANSWER_MAX_BYTES, KAFKA_OUTPUT_MAX_BYTES, KAFKA_RESPONSE_MAX_BYTES } from '../limits.ts';
import type { Partition, Waiter } from '../log/types.ts';
import { CODECS, codecNumberOf } from '../wire/batch/record-batch.ts';
import type { fetch } from '../wire/kafka/api/01-fetch.ts';
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import type { RequestOf, ResponseInput } from '../wire/kafka/schema.ts';
import type { KafkaContext } from './context.ts';
import type { ClientConnection } from './handler.ts';
import { checkLeaderEpoch, checkLeads, findTopic, missingTopic } from './partitions.ts';

type Request = RequestOf<typeof fetch>;
type Response = ResponseInput<typeof fetch>;
type PartitionResponse = Response['responses'][number]['partitions'][number];
type PartitionRequest = Request['topics'][number]['partitions'][number];

const READ_COMMITTED = 1;
/** What a response takes beside its batches, per partition: counted against KAFKA_RESPONSE_MAX_BYTES. */
const PARTITION_OVERHEAD_BYTES = 96;

const ZSTD = CODECS.indexOf('zstd');

/** One partition of the request and what was read of it so far. */
interface Share {
  readonly request: PartitionRequest;
  readonly partition: Partition | null;
  errorCode: number;
  diverging: { epoch: number; endOffset: number } | null;
  batches: Uint8Array[];
  bytes: number;
  nextOffset: number;
  /** The next batch does not fit into what is left. */
  full: boolean;
}

/** The follower of our pair, if the request is one of its; whoever may alter the cluster may be it. */
function replicaOf({ pair, identity }: KafkaContext, request: Request, connection: ClientConnection): number {
  const id = Math.max(request.replicaId, request.replicaState.replicaId);
  return pair !== null && id !== identity.nodeId && connection.allows('alter', 'cluster', '') ? id : -1;
}

/** Of a partition that has more, while there is room: a read of less costs more than it gives. */
const SHARE_MIN_BYTES = 64 * 1024;

export class FetchOperation implements Waiter {
  readonly #context: KafkaContext;
  readonly #connection: ClientConnection;
  readonly #request: Request;
  readonly #version: number;
  readonly #topics: { readonly topic: string; readonly topicId: string; readonly shares: Share[] }[] = [];
  readonly #committed: boolean;
  /** -1: a consumer. */
  readonly #replicaId: number;
  #bytesLeft: number;
  #bytes = 0;
  #failed = false;
  /** `reading` again when woken meanwhile. */
  #state: 'reading' | 'waiting' | 'answered' = 'reading';
  #woken = false;
  #timer: Timer | null = null;
  #stopListening: (() => void) | null = null;
  #resolve: ((answer: Response) => void) | null = null;

  constructor(context: KafkaContext, request: Request, version: number, connection: ClientConnection) {
    this.#context = context;
    this.#connection = connection;
    this.#request = request;
    this.#version = version;
    this.#committed = request.isolationLevel === READ_COMMITTED;
    this.#replicaId = replicaOf(context, request, connection);
    let partitions = 0;
    for (const { topic, topicId, partitions: wanted } of request.topics) {
      this.#topics.push({ topic, topicId, shares: wanted.map((one) => this.#share(topic, topicId, one)) });
      partitions += wanted.length;
    }
    const room = KAFKA_OUTPUT_MAX_BYTES - context.outputBytes;
    const limit = KAFKA_RESPONSE_MAX_BYTES - partitions * PARTITION_OVERHEAD_BYTES;
    this.#bytesLeft = Math.max(0, Math.min(limit, FETCH_ANSWER_MAX_BYTES, request.maxBytes, room));
  }

  /** Answers with what is there, or after maxWaitMs, or when minBytes have come, or when the connection ends. */
  async run(): Promise<Response> {
    await this.#read();
    if (this.#isEnough() || this.#request.maxWaitMs <= 0 || this.#connection.closed) return this.#answer();
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#state = 'waiting';
      for (const partition of this.#partitions()) partition.wait(this);
      this.#timer = this.#context.env.clock.after(this.#request.maxWaitMs, () => this.#finish());
      this.#stopListening = this.#connection.onClose(() => this.#finish());
      // What was committed between the read and the registration woke nobody.
      if (this.#hasMore()) this.wake();
    });
  }

  wake(): void {
    if (this.#state === 'reading') this.#woken = true;
    if (this.#state !== 'waiting') return;
    this.#state = 'reading';
    void this.#readOn();
  }

  async #readOn(): Promise<void> {
    do {
      this.#woken = false;
      this.#recheck();
      await this.#read();
      if (this.#finished() || this.#isEnough()) {
        this.#finish();
        return;
      }
    } while (this.#woken);
    this.#state = 'waiting';
  }

  #finished(): boolean {
    return this.#state === 'answered';
  }

  #finish(): void {
    if (this.#state === 'answered') return;
    this.#state = 'answered';
    this.#timer?.cancel();
    this.#stopListening?.();
    for (const partition of this.#partitions()) partition.cancelWait(this);
    this.#resolve?.(this.#answer());
  }

  *#shares(): Iterable<Share> {
    for (const { shares } of this.#topics) yield* shares;
  }

  *#partitions(): Iterable<Partition> {
    for (const { partition, errorCode } of this.#shares()) if (partition !== null && errorCode === 0) yield partition;
  }

  #isEnough(): boolean {
    return this.#failed || this.#bytes >= this.#request.minBytes || (this.#bytesLeft <= 0 && this.#bytes > 0);
  }

  #limit(partition: Partition): number {
    // A replica is what the high watermark waits for.
    if (this.#replicaId >= 0) return partition.logEndOffset;
    return this.#committed ? partition.lastStableOffset : partition.highWatermark;
  }

  #hasMore(): boolean {
    for (const { partition, errorCode, full, nextOffset } of this.#shares()) {
      if (partition !== null && errorCode === 0 && !full && nextOffset < this.#limit(partition)) return true;
    }
    return false;
  }

  #share(name: string, topicId: string, request: PartitionRequest): Share {
    const topic = findTopic(this.#context.log, name, topicId);
    const partition = topic?.partitions[request.partition] ?? null;
    const share: Share = {
      request,
      partition,
      errorCode: KAFKA_ERROR.NONE,
      diverging: null,
      batches: [],
      bytes: 0,
      nextOffset: request.fetchOffset,
      full: false,
    };
    if (topic !== undefined && !this.#connection.allows('read', 'topic', topic.name)) {
      this.#fail(share, KAFKA_ERROR.TOPIC_AUTHORIZATION_FAILED);
    } else if (topic === undefined) this.#fail(share, missingTopic(topicId));
    else if (partition === null) this.#fail(share, KAFKA_ERROR.UNKNOWN_TOPIC_OR_PARTITION);
    else this.#check(share, partition);
    return share;
  }

  #check(share: Share, partition: Partition): void {
    const { currentLeaderEpoch, fetchOffset, lastFetchedEpoch } = share.request;
    const epochError = checkLeads(this.#context) || checkLeaderEpoch(partition, currentLeaderEpoch);
    if (epochError !== KAFKA_ERROR.NONE) {
      this.#fail(share, epochError);
      return;
    }
    if (lastFetchedEpoch >= 0) {
      // KIP-595: a reader whose history left ours learns where.
      const known = partition.endOffsetForEpoch(lastFetchedEpoch);
      if (known === null || known.epoch < lastFetchedEpoch || known.endOffset < fetchOffset) {
        share.diverging = known ?? { epoch: -1, endOffset: -1 };
        share.full = true;
        this.#failed = true;
        return;
      }
    }
    if (fetchOffset < partition.logStartOffset || fetchOffset > partition.logEndOffset) {
      this.#fail(share, KAFKA_ERROR.OFFSET_OUT_OF_RANGE);
    } else if (this.#replicaId >= 0) this.#context.pair?.fetched(partition, this.#replicaId, fetchOffset);
  }

  #fail(share: Share, code: number): void {
    this.#context.metrics.error(code);
    share.errorCode = code;
    share.batches = [];
    this.#failed = true;
  }

  /** After a wake: topics may have been deleted and log starts moved. */
  #recheck(): void {
    for (const { topic: name, topicId, shares } of this.#topics) {
      const topic = findTopic(this.#context.log, name, topicId);
      for (const share of shares) {
        const { partition } = share;
        if (partition === null || share.errorCode !== 0 || topic?.partitions[partition.index] === partition) continue;
        partition.cancelWait(this);
        this.#fail(share, missingTopic(topicId));
      }
    }
  }

  *#readable(): Iterable<Share & { readonly partition: Partition }> {
    for (const share of this.#shares()) {
      const { partition, errorCode, full, nextOffset } = share;
      if (partition === null || errorCode !== 0 || full || nextOffset >= this.#limit(partition)) continue;
      yield share as Share & { readonly partition: Partition };
    }
  }

  async #read(): Promise<void> {
    const wanted = [...this.#readable()];
    for (const [i, share] of wanted.entries()) {
      const { partition, request } = share;
      const upTo = this.#limit(partition);
      // Each of those that have something gets its part of the answer: what was written at one time lies at one place, and is
      // read there for all of them, instead of a long way for the first and again for the next.
      const part = Math.max(SHARE_MIN_BYTES, Math.floor(this.#bytesLeft / (wanted.length - i)));
      const maxBytes = Math.min(request.partitionMaxBytes - share.bytes, this.#bytesLeft);
      // KIP-74: the first batch of the answer comes whatever its size, so that the client can go on.
      const allowNone = this.#bytes > 0;
      if (maxBytes <= 0 && allowNone) {
        share.full = true;
        continue;
      }
      try {
        const { nextOffset: from } = share;
        let result = await partition.read({ from, upTo, maxBytes: Math.max(0, Math.min(maxBytes, part)), allowNone });
        if (result.nextOffset === from && part < maxBytes && !this.#finished()) {
          // Its first batch is larger than its part, and there is room for it.
          result = await partition.read({ from, upTo, maxBytes, allowNone });
        }
        if (this.#finished()) return;
        this.#take(share, result.batches, result.bytes, result.nextOffset);
      } catch (error) {
        this.#fail(share, asHeadwaterError(error).kafkaCode);
      }
    }
  }

  #take(share: Share, batches: readonly Uint8Array[], bytes: number, nextOffset: number): void {
    if (batches.length === 0 && nextOffset === share.nextOffset) {
      share.full = true;
      return;
    }
    if (this.#version < 10 && batches.some((batch) => codecNumberOf(batch) === ZSTD)) {
      this.#fail(share, KAFKA_ERROR.UNSUPPORTED_COMPRESSION_TYPE);
      return;
    }
    for (const batch of batches) share.batches.push(batch);
    share.bytes += bytes;
    share.nextOffset = nextOffset;
    this.#bytes += bytes;
    this.#bytesLeft -= bytes;
  }

  #answer(): Response {
    this.#state = 'answered';
    return {
      responses: this.#topics.map(({ topic, topicId, shares }) => ({
        topic,
        topicId,
        partitions: shares.map((share) => this.#partitionAnswer(share)),
      })),
    };
  }

  #partitionAnswer({ request, partition, errorCode, batches, nextOffset, diverging }: Share): PartitionResponse {
    const readable = partition !== null && errorCode === KAFKA_ERROR.NONE;
    const aborted =
      readable && this.#committed && batches.length > 0
        ? partition.abortedTransactions(request.fetchOffset, nextOffset)
        : [];
    return {
      partitionIndex: request.partition,
      errorCode,
      highWatermark: readable ? partition.highWatermark : -1,
      lastStableOffset: readable ? partition.lastStableOffset : -1,
      logStartOffset: readable ? partition.logStartOffset : -1,
      ...(diverging === null ? null : { divergingEpoch: diverging }),
      abortedTransactions: this.#committed ? aborted : null,
      records: batches,
    };
  }
}
