/**
 * How far each partition had come, written in place beside the databases and not synced: what a damaged store has lost of
 * its end is then known exactly, and no offset is given twice. Behind a commit at once when there was none for a while,
 * otherwise at most ten times a second. A power cut may leave older stamps: they are lower bounds. It also keeps the high
 * watermark, as Kafka's replication-offset-checkpoint does.
 *
 *   slot = crc32 u32 | version u8 | replicated u8 | 0 u16 | partitionId u32 | cutBefore u32 | end u64 | highWatermark u64     32 bytes, big-endian
 */
import { crc32 } from 'node:zlib';
import type { Clock } from '../env.ts';
import type { Logger } from '../logger.ts';
import type { Scratch, Store } from '../store/store.ts';

export interface EndStamp {
  /** Every offset below it was given. */
  readonly end: number;
  readonly highWatermark: number;
  /** A replica besides this broker was in sync: what lay behind the high watermark had to wait for it. */
  readonly replicated: boolean;
  /** The last truncation that it knows of (cuts.ts). */
  readonly cutBefore: number;
}

/** A partition as the stamps see it. */
export interface Stamped {
  readonly id: number;
  readonly logEndOffset: number;
  readonly highWatermark: number;
  readonly replicated: boolean;
  readonly cutBefore: number;
  /** It waits to be stamped. */
  stampQueued: boolean;
}

export const STAMP_FILE = 'ends';
export const STAMP_INTERVAL_MS = 100;
const VERSION = 1;
const SLOT_BYTES = 32;
/** Written as a whole: neighbours in a page cost nothing more. */
const PAGE_BYTES = 4096;

function encodeSlot(
  buffer: Buffer,
  slot: number,
  { id, logEndOffset, highWatermark, replicated, cutBefore }: Stamped,
): void {
  const at = slot * SLOT_BYTES;
  buffer.fill(0, at, at + SLOT_BYTES);
  buffer[at + 4] = VERSION;
  buffer[at + 5] = replicated ? 1 : 0;
  buffer.writeUInt32BE(id, at + 8);
  buffer.writeUInt32BE(cutBefore, at + 12);
  buffer.writeBigUInt64BE(BigInt(logEndOffset), at + 16);
  buffer.writeBigUInt64BE(BigInt(highWatermark), at + 24);
  buffer.writeUInt32BE(crc32(buffer.subarray(at + 4, at + SLOT_BYTES)), at);
}

/** The stamps in the bytes of the file, by partition id, with their slots. Damaged slots are as good as absent. */
export function parseStamps(bytes: Uint8Array): Map<number, EndStamp & { slot: number }> {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = new Map<number, EndStamp & { slot: number }>();
  for (let slot = 0; (slot + 1) * SLOT_BYTES <= buffer.length; slot++) {
    const at = slot * SLOT_BYTES;
    if (buffer[at + 4] !== VERSION) continue;
    if (crc32(buffer.subarray(at + 4, at + SLOT_BYTES)) !== buffer.readUInt32BE(at)) continue;
    const end = Number(buffer.readBigUInt64BE(at + 16));
    const highWatermark = Number(buffer.readBigUInt64BE(at + 24));
    const id = buffer.readUInt32BE(at + 8);
    // Two slots of one partition: a swap of pages. The larger one is the later one.
    const cutBefore = buffer.readUInt32BE(at + 12);
    const other = found.get(id);
    if (other !== undefined && (cutBefore < other.cutBefore || (cutBefore === other.cutBefore && end < other.end)))
      continue;
    found.set(id, { end, highWatermark, replicated: buffer[at + 5] === 1, cutBefore, slot });
  }
  return found;
}

export class EndStamps {
  readonly #file: Scratch;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #slots = new Map<number, number>();
  #free: number[] = [];
  #next = 0;
  #buffer: Buffer;
  #queued: Stamped[] = [];
  readonly #dirtyPages = new Set<number>();
  #state: 'idle' | 'soon' | 'writing' | 'resting' | 'closed' = 'idle';
  #writing: Promise<void> = Promise.resolve();
  #warned = false;

  private constructor(file: Scratch, clock: Clock, logger: Logger, bytes: Uint8Array) {
    this.#file = file;
    this.#clock = clock;
    this.#logger = logger;
    this.#buffer = Buffer.alloc(Math.max(PAGE_BYTES, Math.ceil(bytes.byteLength / PAGE_BYTES) * PAGE_BYTES));
    this.#buffer.set(bytes);
    this.#next = Math.floor(bytes.byteLength / SLOT_BYTES);
  }

  /** What is there, and the writer of what follows. */
  static async load(
    store: Store,
    clock: Clock,
    logger: Logger,
  ): Promise<{ stamps: EndStamps; found: ReadonlyMap<number, EndStamp> }> {
    const file = await store.openScratch(STAMP_FILE);
    const bytes = await file.read();
    const stamps = new EndStamps(file, clock, logger, bytes);
    const found = parseStamps(bytes);
    for (const [id, { slot }] of found) stamps.#slots.set(id, slot);
    return { stamps, found };
  }

  /** Only these partitions exist: the slots of others are free. */
  retain(ids: ReadonlySet<number>): void {
    for (const id of this.#slots.keys()) if (!ids.has(id)) this.#slots.delete(id);
    const taken = new Set(this.#slots.values());
    this.#free = [];
    for (let slot = 0; slot < this.#next; slot++) if (!taken.has(slot)) this.#free.push(slot);
  }

  /** The partition is gone; its id is never used again. */
  forget(id: number): void {
    const slot = this.#slots.get(id);
    if (slot === undefined) return;
    this.#slots.delete(id);
    this.#free.push(slot);
  }

  /** Its log end or high watermark moved. */
  note(partition: Stamped): void {
    if (partition.stampQueued) return;
    partition.stampQueued = true;
    this.#queued.push(partition);
    if (this.#state !== 'idle') return;
    this.#state = 'soon';
    this.#clock.soon(() => void this.#run());
  }

  async #run(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'writing';
    this.#writing = this.#write();
    await this.#writing;
    if ((this.#state as string) === 'closed') return;
    this.#state = 'resting';
    this.#clock.after(STAMP_INTERVAL_MS, () => {
      if (this.#state !== 'resting') return;
      if (this.#queued.length === 0) this.#state = 'idle';
      else void this.#run();
    });
  }

  #slotOf(id: number): number {
    let slot = this.#slots.get(id);
    if (slot !== undefined) return slot;
    slot = this.#free.pop() ?? this.#next++;
    this.#slots.set(id, slot);
    if ((slot + 1) * SLOT_BYTES > this.#buffer.length) {
      this.#buffer = Buffer.concat([this.#buffer, Buffer.alloc(this.#buffer.length)]);
    }
    return slot;
  }

  async #write(): Promise<void> {
    for (const partition of this.#queued) {
      partition.stampQueued = false;
      const slot = this.#slotOf(partition.id);
      encodeSlot(this.#buffer, slot, partition);
      this.#dirtyPages.add(Math.floor((slot * SLOT_BYTES) / PAGE_BYTES));
    }
    this.#queued = [];
    try {
      for (const page of this.#dirtyPages) {
        const at = page * PAGE_BYTES;
        // A copy: the page may be stamped again while it is written.
        await this.#file.write(Buffer.from(this.#buffer.subarray(at, at + PAGE_BYTES)), at);
        this.#dirtyPages.delete(page);
      }
    } catch (error) {
      // A full disk: the next stamp tries again; until then the older ones are lower bounds.
      if (!this.#warned) this.#logger.warn({ error }, 'log ends could not be stamped');
      this.#warned = true;
    }
  }

  /** Writes what is due and closes the file. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    await this.#writing;
    await this.#write();
    await this.#file.close();
  }
}
