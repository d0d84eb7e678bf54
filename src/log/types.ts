/**
 * What the edges (mqtt, kafka, links) see of the log: topics, partitions, appends with a completion, bounded reads and
 * waiters. Offsets and timestamps are plain numbers (exact up to 2^53). The classes behind it: log.ts, partition.ts.
 */
import type { HeadwaterError } from '../errors.ts';
import type { TopicConfig } from './topic-config.ts';

/** acks of a produce: 1 = answered after the local synced write, -1 ("all") = after every in-sync replica has it. */
export type Acks = 1 | -1;

/**
 * Called exactly once per append, in the continuation of the synced write that stored it, or with an error (then
 * nothing was stored). `baseOffset` is that of the first record; for a batch recognised as a duplicate it is the
 * original's. A function and not a promise: appends are the hot path.
 */
export type Appended = (error: HeadwaterError | null, baseOffset: number) => void;

export interface RecordHeader {
  readonly key: string;
  readonly value: Uint8Array | null;
}

/** 32-bit hashes by which a record can be found again, unsigned; what they are of is the appender's affair. */
export type Labels = Uint32Array;

/** What a reader wants: records that have all labels of one of these. Never empty. */
export type LabelQuery = readonly Labels[];

/** A single record on its way in (MQTT). The log packs the records that wait for one commit into one batch. */
export interface LogRecord {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  readonly headers: readonly RecordHeader[];
  /** Milliseconds since 1970; -1: the log stamps it. */
  readonly timestamp: number;
  /** Lets a reader pass over it (key-filter.ts); without them it is always read. Never changed. */
  readonly labels?: Labels;
}

/** What one commit added to one partition, handed to commit listeners before any waiter is woken. */
export interface Committed {
  readonly partition: Partition;
  readonly baseOffset: number;
  readonly lastOffset: number;
  /** The stored RecordBatch v2 bytes. Valid as long as it is referenced; never written to again. */
  readonly batch: Uint8Array;
  /** The records, when they came as records: spares listeners the decoding. Offsets ascend by one from `baseOffset`. */
  readonly records: readonly LogRecord[] | null;
}

export type CommitListener = (committed: Committed) => void;

/** Woken when the partition's high watermark, last stable offset or existence changes. Registered until `cancelWait`. */
export interface Waiter {
  wake(partition: Partition): void;
}

export interface ReadOptions {
  /** First offset wanted. The answer starts with the whole batch that contains it. */
  readonly from: number;
  /** Stop before the batch whose base offset is at or above this (high watermark, last stable offset or log end). */
  readonly upTo: number;
  /** At least one batch is returned whatever its size (KIP-74) unless `allowNone`. */
  readonly maxBytes: number;
  /** A first batch above `maxBytes` is not returned: the answer is empty and `nextOffset` is `from`. */
  readonly allowNone?: boolean;
  /**
   * Batches that hold nothing of this may be left out, and a long way without any ends the read early: `nextOffset` then
   * is where to go on. Everything that is wanted is in the answer, and mostly other things too.
   */
  readonly only?: LabelQuery;
}

/** Whole stored batches, in offset order, without holes except those compaction left. */
export interface ReadResult {
  readonly batches: readonly Uint8Array[];
  readonly bytes: number;
  /** Offset to ask for next. */
  readonly nextOffset: number;
}

export interface AbortedTransaction {
  readonly producerId: number;
  readonly firstOffset: number;
  /** Offset of the abort marker. */
  readonly lastOffset: number;
}

/** A producer with an id, as a partition remembers it. */
export interface ActiveProducer {
  readonly producerId: number;
  readonly producerEpoch: number;
  /** -1: none in this epoch. */
  readonly lastSequence: number;
  /** Milliseconds since 1970. */
  readonly lastTimestamp: number;
  /** -1: no open transaction. */
  readonly transactionStartOffset: number;
}

/** A replica elsewhere (a sync link) as the high watermark sees it. */
export interface Replica {
  /** Numeric broker id shown in Metadata. */
  readonly id: number;
  /** The offset up to which the replica confirmed. Moves the high watermark when the replica is in sync. */
  advance(logEndOffset: number): void;
  readonly inSync: boolean;
  remove(): void;
}

export interface Partition {
  readonly topic: Topic;
  readonly index: number;
  /** First offset that can be read. */
  readonly logStartOffset: number;
  /** Offset that the next record will get: everything below it is stored (synced). */
  readonly logEndOffset: number;
  /** Everything below it is on every in-sync replica; consumers see no further. Equal to the log end without replicas. */
  readonly highWatermark: number;
  /** min(high watermark, first offset of the oldest open transaction). */
  readonly lastStableOffset: number;
  readonly leaderEpoch: number;
  /** Bytes of live batches. */
  readonly sizeBytes: number;
  /** In-sync replica ids, this broker's first. */
  readonly inSyncReplicas: readonly number[];
  readonly replicas: readonly number[];

  /**
   * Appends one RecordBatch v2 exactly as received; the base offset and leader epoch are patched into `batch` in place,
   * so the buffer belongs to the log from here on. Checks lengths, CRC, magic, size, sequence and configuration first:
   * what is refused is reported through `done` (possibly before this returns).
   */
  appendBatch(batch: Uint8Array, options: AppendOptions, done: Appended): void;
  /** Appends one record; `done` gets its offset. Key, value and header bytes must not change afterwards. */
  appendRecord(record: LogRecord, acks: Acks, done: Appended): void;

  read(options: ReadOptions): Promise<ReadResult>;
  /** The first record with timestamp >= `timestamp`, or null. */
  offsetForTimestamp(timestamp: number): Promise<{ offset: number; timestamp: number } | null>;
  /** What reads say of the time of the record at `offset` that was stored (or sent elsewhere) with `timestamp`, ms. */
  correctedTime(offset: number, timestamp: number): number;
  /** The record with the largest timestamp (ListOffsets -3), or null when the log is empty. */
  offsetOfMaxTimestamp(): Promise<{ offset: number; timestamp: number } | null>;
  /** KIP-101: end offset of the largest epoch <= `epoch`; null when unknown. */
  endOffsetForEpoch(epoch: number): { epoch: number; endOffset: number } | null;
  abortedTransactions(from: number, upTo: number): readonly AbortedTransaction[];
  /** For DescribeProducers. */
  activeProducers(): readonly ActiveProducer[];
  /** Moves the log start (DeleteRecords). -1 = the high watermark. Resolves with the new log start when durable. */
  deleteRecordsBefore(offset: number): Promise<number>;

  wait(waiter: Waiter): void;
  cancelWait(waiter: Waiter): void;
  /** Joins the replica set (a sync link); the high watermark waits for it while it is in sync. */
  addReplica(id: number, maxLagMs: number): Replica;
}

export interface AppendOptions {
  readonly acks: Acks;
  /** `client`: control batches are refused. `replication`: offsets must continue the log and are kept. */
  readonly origin: 'client' | 'coordinator' | 'replication';
  /** A transactional batch is accepted only when the producer added this partition (checked by the coordinator). */
  readonly transactional?: boolean;
}

export interface Topic {
  readonly name: string;
  /** 16 random bytes as 32 hex digits; new when a topic of the same name is created again. */
  readonly id: string;
  /** Never reused; the partition ids in the store derive from the catalog. */
  readonly partitions: readonly Partition[];
  readonly config: TopicConfig;
  /** Kafka names that were set explicitly, as the text they were set with. */
  readonly overrides: ReadonlyMap<string, string>;
  /** Not for clients to delete or produce to. */
  readonly internal: boolean;
}

export interface TopicSpec {
  readonly name: string;
  /** -1: num.partitions. */
  readonly partitions: number;
  /** Kafka's names and text values. */
  readonly config: ReadonlyMap<string, string>;
  readonly internal?: boolean;
  /** 32 hex digits: the id it has where it is copied from; a new one without it. */
  readonly id?: string;
}

export type TopicEvent = { readonly kind: 'created' | 'deleted' | 'altered'; readonly topic: Topic };

export interface Log {
  /** By name, in name order when iterated through `topicNames`. */
  topic(name: string): Topic | undefined;
  topicById(id: string): Topic | undefined;
  topics(): Iterable<Topic>;
  /** Validates name, partitions and config (INVALID_TOPIC, INVALID_PARTITIONS, INVALID_CONFIG, TOPIC_EXISTS); with
   * `validateOnly` nothing is created. Resolves when durable. DISK_FULL unless it is `configured` (log.ts). */
  createTopic(spec: TopicSpec, options?: { validateOnly?: boolean; configured?: boolean }): Promise<Topic>;
  deleteTopic(name: string): Promise<void>;
  /** `total` must be above the present number. */
  createPartitions(name: string, total: number, options?: { validateOnly?: boolean }): Promise<void>;
  /** null removes an override. */
  alterTopic(
    name: string,
    changes: ReadonlyMap<string, string | null>,
    options?: { validateOnly?: boolean },
  ): Promise<void>;
  onTopicEvent(listener: (event: TopicEvent) => void): void;
  onCommit(listener: CommitListener): void;
  /**
   * Bytes waiting to be committed. Above APPEND_QUEUE_MAX_BYTES the edges stop reading sockets until `whenDrained`
   * calls back; an append above it is refused with QUOTA_EXCEEDED.
   */
  readonly queuedBytes: number;
  whenDrained(task: () => void): void;
  /** A new producer id, never given before, also across restarts. Kept here because recovery knows the largest seen. */
  nextProducerId(): Promise<number>;
  /** Stops accepting, commits what is queued, answers everyone, closes the store's databases. */
  close(): Promise<void>;
}
