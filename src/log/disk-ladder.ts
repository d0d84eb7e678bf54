/**
 * Watches the free space and climbs the ladder of disk-states.ts: asks retention for room, refuses appends before LevelDB
 * meets a full disk, gives the reserve back at the last step and takes it again when there is space. Nothing needs a
 * restart: what failed is opened again as soon as the disk has room.
 */
import type { Clock, Timer } from '../env.ts';
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import type { Metrics, Series } from '../metrics.ts';
import type { Store } from '../store/store.ts';
import {
  DISK_STEPS,
  type DiskFullPolicy,
  type DiskMarks,
  type DiskState,
  diskMarks,
  diskSight,
  isRefused,
} from './disk-states.ts';

/** How often the free space is read; sooner when appends have used half of what was free, or a write has failed. */
const LOOK_INTERVAL_MS = 1_000;
/** A record is written to LevelDB's log and again to a table before the log goes. */
const WRITES_PER_BYTE = 2;

export interface DiskOptions {
  /** disk.low.bytes. */
  readonly lowBytes: number;
  /** disk.reserve.bytes; 0: none. */
  readonly reserveBytes: number;
  /** disk.full of a topic. */
  readonly policy: (topic: string) => DiskFullPolicy;
}

/** What the ladder asks of the log. */
export interface DiskHelp {
  /** Lets old records go until about `bytes` are free. Resolves with whether anything went. */
  makeRoom(bytes: number): Promise<boolean>;
  /** Whether the last write of records or metadata failed. */
  failed(): boolean;
  /** Writes nothing, so that what failed is opened again. */
  heal(): Promise<void>;
}

export interface DiskLadderParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly store: Store;
  readonly options: DiskOptions;
}

export class DiskLadder {
  readonly #parts: DiskLadderParts;
  readonly #marks: DiskMarks;
  readonly #refusals: Series;
  readonly #refusedChanges: Series;
  #help: DiskHelp | null = null;
  #state: DiskState = 'ok';
  #freeBytes = 0;
  #reserved = 0;
  #reserveFailed = false;
  #lookFailed = false;
  /** Bytes that may still be written before the next look. */
  #allowance = Number.POSITIVE_INFINITY;
  /** The allowance at which the next look is due early. */
  #lookBelow = 0;
  #metFull = false;
  #somethingGivesWay = true;
  #looking: Promise<void> | null = null;
  #givingWay: Promise<void> | null = null;
  #timer: Timer | null = null;
  #closed = false;

  constructor(parts: DiskLadderParts) {
    this.#parts = parts;
    this.#marks = diskMarks(parts.options.lowBytes);
    const { metrics } = parts;
    metrics.gauge('headwater_disk_state', 'Step of the disk ladder: 1 at the present one', () =>
      Object.keys(DISK_STEPS).map((state) => ({ labels: { state }, value: state === this.#state ? 1 : 0 })),
    );
    metrics.gauge('headwater_disk_free_bytes', 'Free bytes of the file system', () => this.#freeBytes);
    metrics.gauge('headwater_disk_reserved_bytes', 'Bytes of the reserve that are held', () => this.#reserved);
    this.#refusals = metrics.counter('headwater_disk_refused_appends_total', 'Appends refused for want of space');
    this.#refusedChanges = metrics.counter(
      'headwater_disk_refused_changes_total',
      'New topics and partitions, and commits of offsets, refused for want of space',
    );
  }

  get state(): DiskState {
    return this.#state;
  }

  /** Free bytes when the disk was looked at last. */
  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** Before anything of the log is opened: a start on a full disk needs the reserve. Resolves with the free bytes. */
  async prepare(): Promise<number> {
    const { store } = this.#parts;
    const free = await store.freeBytes();
    if (free >= this.#marks.full) return free;
    await store.reserve(0);
    return store.freeBytes();
  }

  /** The first look is done when it resolves. */
  async start(help: DiskHelp): Promise<void> {
    this.#help = help;
    this.#reserved = await this.#parts.store.reserved();
    this.#freeBytes = await this.#parts.store.freeBytes();
    this.#allow();
    this.#timer = this.#parts.clock.every(LOOK_INTERVAL_MS, () => void this.look());
    void this.look();
  }

  /** A write has met a full disk. */
  metFull(): void {
    this.#metFull = true;
    void this.look();
  }

  /** Why an append of this size to the topic is refused now; null: it is not, and counts. */
  refusal(topic: string, bytes: number): HeadwaterError | null {
    const cost = bytes * WRITES_PER_BYTE;
    const refused = this.#state === 'full' && isRefused('full', this.#policy(topic), this.#somethingGivesWay);
    if (refused || cost > this.#allowance) {
      this.#refusals.value++;
      if (!refused) void this.look();
      return new HeadwaterError(
        'DISK_FULL',
        `the disk of the data directory has ${this.#freeBytes} bytes free: nothing is appended to ${topic} until there is space`,
      );
    }
    this.#allowance -= cost;
    if (this.#allowance < this.#lookBelow) void this.look();
    return null;
  }

  /**
   * Why what adds to the metadata is refused now; null: it is not. What is left then is for what takes away: deletions and
   * retention need room to write down what goes.
   */
  changeRefusal(change: string): HeadwaterError | null {
    if (this.#state !== 'full' || (this.#somethingGivesWay && this.#allowance > 0)) return null;
    this.#refusedChanges.value++;
    return new HeadwaterError(
      'DISK_FULL',
      `the disk of the data directory has ${this.#freeBytes} bytes free: no ${change} until there is space`,
    );
  }

  #policy(topic: string): DiskFullPolicy {
    return this.#parts.options.policy(topic);
  }

  /** Reads the free space and takes the step that is due; a call while one runs shares it. */
  look(): Promise<void> {
    if (this.#closed || this.#help === null) return Promise.resolve();
    this.#looking ??= this.#look(this.#help)
      .then(() => {
        this.#lookFailed = false;
      })
      .catch((error: unknown) => {
        if (!this.#lookFailed) this.#parts.logger.warn({ error }, 'the free space could not be read');
        this.#lookFailed = true;
      })
      .finally(() => {
        this.#looking = null;
        if (this.#metFull && !this.#closed) void this.look();
      });
    return this.#looking;
  }

  async #look(help: DiskHelp): Promise<void> {
    const metFull = this.#metFull;
    this.#metFull = false;
    this.#freeBytes = await this.#parts.store.freeBytes();
    const sight = metFull ? 'none' : diskSight(this.#available(), this.#marks);
    let next = DISK_STEPS[this.#state][sight];
    // Out of `full` only when writing works again, and with the reserve in hand: the next time it is needed again.
    if (next !== 'full' && help.failed()) await help.heal();
    if (this.#state === 'full' && next !== 'full' && help.failed()) next = 'full';
    if (next !== 'full' && !(await this.#holdReserve())) next = 'full';
    if (next === 'full') await this.#releaseReserve();
    this.#step(next);
    this.#allow();
    if (next === 'ok') this.#somethingGivesWay = true;
    else this.#giveWay(help);
  }

  /** Free bytes beside the reserve, whether it is held or owed. */
  #available(): number {
    return this.#freeBytes - (this.#parts.options.reserveBytes - this.#reserved);
  }

  #allow(): void {
    this.#allowance = Math.max(0, this.#available() - this.#marks.floor);
    this.#lookBelow = this.#allowance / 2;
  }

  #step(next: DiskState): void {
    const before = this.#state;
    if (next === before) return;
    this.#state = next;
    const { logger } = this.#parts;
    const facts = { from: before, to: next, freeBytes: this.#freeBytes };
    if (next === 'ok') logger.info(facts, 'the disk has space again');
    else if (next === 'low' && before === 'full') logger.warn(facts, 'the disk has some space again: appends go on');
    else if (next === 'low') logger.warn(facts, 'the disk is nearly full: topics with disk.full: drop-oldest give way');
    else logger.error(facts, 'the disk is full: appends are refused, reading goes on; free space or add a disk');
  }

  /** Returns false when there is no room for it. */
  async #holdReserve(): Promise<boolean> {
    const { store, options, logger } = this.#parts;
    if (this.#reserved === options.reserveBytes) return true;
    try {
      await store.reserve(options.reserveBytes);
      this.#reserved = options.reserveBytes;
      this.#freeBytes = await store.freeBytes();
      this.#reserveFailed = false;
      return true;
    } catch (error) {
      this.#reserved = 0;
      if (asHeadwaterError(error).code === 'DISK_FULL') return false;
      if (!this.#reserveFailed) logger.warn({ error }, 'the reserve of the disk could not be written');
      this.#reserveFailed = true;
      return true;
    }
  }

  async #releaseReserve(): Promise<void> {
    if (this.#reserved === 0) return;
    await this.#parts.store.reserve(0);
    this.#reserved = 0;
    this.#freeBytes = await this.#parts.store.freeBytes();
  }

  #giveWay(help: DiskHelp): void {
    const wanted = this.#marks.roomy - this.#available();
    if (wanted <= 0 || this.#givingWay !== null) return;
    this.#givingWay = help
      .makeRoom(wanted)
      .then((went) => {
        this.#somethingGivesWay = went;
      })
      .catch((error: unknown) => {
        this.#somethingGivesWay = false;
        this.#parts.logger.debug({ error }, 'making room on the disk failed; the next look tries again');
      })
      .finally(() => {
        this.#givingWay = null;
        if (this.#somethingGivesWay) void this.look();
      });
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#looking;
    await this.#givingWay;
  }
}
