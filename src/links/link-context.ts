/** What the partitions of a Kafka link share. */
import type { Connection } from '../client/connection.ts';
import type { Env } from '../env.ts';
import type { Logger } from '../logger.ts';
import type { Series } from '../metrics.ts';
import type { BatchCompressor } from '../wire/batch/record-encoder.ts';
import type { ByteBudget } from './byte-budget.ts';
import type { CursorStore } from './cursor.ts';
import type { PartitionLink } from './partition-link.ts';
import type { Selection } from './selection.ts';
import type { Sender } from './sender.ts';
import type { Leader, Upstream } from './upstream.ts';

export interface LostRange {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly firstOffset: number;
  /** Inclusive. */
  readonly lastOffset: number;
  readonly reason: string;
}

export interface LinkContext {
  readonly env: Env;
  readonly logger: Logger;
  readonly upstream: Upstream;
  readonly cursors: CursorStore;
  readonly memory: ByteBudget;
  readonly settings: { readonly backoffBaseMs: number; readonly backoffMaxMs: number };
  /** This broker's name when upstream partitions are chosen by hash; null: partitions keep their number. */
  readonly broker: string | null;
  /** What is sent, and in what form. */
  readonly selection: Selection;
  /** For batches that are not compressed; null: as they are stored. */
  readonly codec: BatchCompressor | null;
  /** `oversize: skip`. */
  readonly skipsOversize: boolean;
  /** A sync link's broker id; null for an async one. */
  readonly replicaId: number | null;
  readonly replicaMaxLagMs: number;
  readonly counters: {
    /** Batches sent more than once. */
    readonly resends: Series;
    /** Records that upstream had already: found by evidence or dropped by it as copies. */
    readonly avoided: Series;
    /** Records given up because upstream takes none of their size. */
    readonly oversize: Series;
    refused(error: string): void;
  };
  /** Resolves with the leader when the link is connected and not paused. */
  connect(partition: PartitionLink): Promise<Leader>;
  /** Only a few partitions look upstream at the same time. */
  locating(task: () => Promise<void>): Promise<void>;
  senderOf(connection: Connection): Sender;
  maySend(): boolean;
  /** How much to read at once: less when the uplink is slow. */
  readBytes(min: number, max: number): number;
  delivered(records: number, bytes: number): void;
  /** To the ledger, in one write with the cursors. */
  recordLoss(loss: LostRange): Promise<void>;
}
