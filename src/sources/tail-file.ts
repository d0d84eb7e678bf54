/**
 * One file that is followed. A step reads a stretch from the position on, frames it, appends what is not stored yet and
 * moves the position once all of it is synced. What a step left half done (an append that failed, a crash) is known
 * afterwards from the partitions' producer state: those records are skipped when the stretch is read again.
 */
import type { Topic } from '../log/types.ts';
import { crc32c } from '../wire/batch/crc32c.ts';
import { addToSequence } from '../wire/batch/record-batch.ts';
import { type Appender, ProducerLost } from './appender.ts';
import type { FileFacts, TailHandle } from './files.ts';
import { type Frame, frame } from './framing.ts';
import type { Position, PositionStore, Recipe } from './positions.ts';
import { type Keyed, keyer, recordsByPartition } from './records.ts';

const PRINT_BYTES = 256;
const SEQUENCES = 2 ** 31;
/** At most so many records go into one step: what a crash may leave to be skipped. */
export const STEP_RECORDS_MAX = 10_000;

export interface FileHost {
  readonly name: string;
  readonly positions: PositionStore;
  readonly appender: Appender;
  /** One for all files of a source: they take turns. */
  readonly buffer: (bytes: number) => Buffer;
  readonly headers: readonly string[];
  readonly multilineTimeoutMs: number;
  /** Milliseconds, monotonic. */
  now(): number;
  topic(): Promise<Topic>;
  recipe(topic: Topic): Recipe;
  truncated(path: string): void;
  stored(records: number, bytes: number, cut: number): void;
}

export class TailFile {
  readonly id: number;
  readonly #host: FileHost;
  readonly #handle: TailHandle;
  /** Where it is now; null: it has no name among the watched any more. */
  path: string | null;
  size = 0;
  /** The last time there was something new, monotonic. */
  quietSince: number;
  /** When it lost its name, monotonic; null: it has it. */
  rotatedAt: number | null = null;
  /** Set by the source: it has waited long enough since the file lost its name. */
  ended = false;
  /** The end was reached at least once. */
  caughtUp = false;
  /** Records from the position on that are stored already, by partition; null: not known yet. */
  #skip: number[] | null = null;
  #keyed: { readonly recipe: Recipe; readonly key: Keyed; readonly start: RegExp | null } | null = null;

  constructor(host: FileHost, id: number, handle: TailHandle, path: string | null) {
    this.#host = host;
    this.id = id;
    this.#handle = handle;
    this.path = path;
    this.quietSince = host.now();
  }

  get position(): Position {
    return this.#host.positions.get(this.id)!;
  }

  /** There is nothing in it that is not stored. */
  get finished(): boolean {
    return this.caughtUp && this.position.offset >= this.size;
  }

  get backlogBytes(): number {
    return Math.max(0, this.size - this.position.offset);
  }

  /** Whether there is more to do at once. Rejects when something failed: nothing is lost, the next step tries again. */
  async step(): Promise<boolean> {
    const facts = await this.#handle.facts();
    if (facts.size !== this.size) this.quietSince = this.#host.now();
    this.size = facts.size;
    if (facts.size < this.position.offset || (facts.size > this.position.offset && !(await this.#sameBeginning()))) {
      await this.#restart(facts);
    }
    if (this.position.offset >= facts.size) {
      this.caughtUp = true;
      return false;
    }
    const topic = await this.#host.topic();
    await this.#settle(topic);
    return await this.#readOn(topic);
  }

  /** The file was cut off and written anew (copytruncate): it begins again, under a new producer. */
  async #restart(facts: FileFacts): Promise<void> {
    this.#host.truncated(this.position.path);
    this.#skip = null;
    const { device, inode } = facts;
    const fresh = { device, inode, offset: 0, printBytes: 0, print: 0, lanes: [], cuts: [], doneAt: null };
    this.#host.positions.set(this.id, { ...this.position, ...fresh });
    await this.#host.positions.flush();
  }

  async #sameBeginning(): Promise<boolean> {
    const { printBytes, print } = this.position;
    return printBytes === 0 || (await fingerprint(this.#handle, printBytes)) === print;
  }

  /** Finds out what is stored beyond the position, and takes over what has changed since it was written. */
  async #settle(topic: Topic): Promise<void> {
    const { positions } = this.#host;
    let changed = false;
    if (this.position.topicId !== topic.id) {
      positions.set(this.id, { ...this.position, topicId: topic.id, lanes: [] });
      this.#skip = null;
      changed = true;
    }
    this.#skip ??= await this.#storedBeyond(topic);
    const recipe = this.#host.recipe(topic);
    const skipping = this.#skip.some((count) => count > 0);
    if (!skipping && JSON.stringify(recipe) !== JSON.stringify(this.position.recipe)) {
      positions.set(this.id, { ...this.position, recipe });
      changed = true;
    }
    const lanes = [...this.position.lanes];
    if (lanes.length < this.position.recipe.partitions) {
      const id = lanes[0]?.[0] ?? (await this.#host.appender.newProducer());
      while (lanes.length < this.position.recipe.partitions) lanes.push([id, 0]);
      positions.set(this.id, { ...this.position, lanes });
      changed = true;
    }
    while (this.#skip.length < lanes.length) this.#skip.push(0);
    if (!changed) return;
    // Before the first record: what is skipped after a crash must be records of this very file.
    if (this.position.printBytes === 0) positions.set(this.id, { ...this.position, ...(await this.#beginning()) });
    await positions.flush();
  }

  async #beginning(): Promise<Pick<Position, 'printBytes' | 'print'>> {
    const printBytes = Math.min(PRINT_BYTES, this.size);
    return { printBytes, print: await fingerprint(this.#handle, printBytes) };
  }

  /** By partition: records with our producer id that are numbered above what the position says. */
  async #storedBeyond(topic: Topic): Promise<number[]> {
    const skip: number[] = [];
    const lanes = [...this.position.lanes];
    let renewed = false;
    for (const [index, [producerId, sequence]] of lanes.entries()) {
      const known = topic.partitions[index]?.activeProducers().find((producer) => producer.producerId === producerId);
      const last = known?.lastSequence ?? -1;
      if (last < 0) {
        skip.push(0);
        continue;
      }
      const beyond = (last + 1 - sequence + SEQUENCES) % SEQUENCES;
      if (beyond <= SEQUENCES / 2) skip.push(beyond);
      else {
        // The partition lost records that were stored (damage): its numbering cannot go on.
        lanes[index] = [await this.#host.appender.newProducer(), 0];
        renewed = true;
        skip.push(0);
      }
    }
    if (renewed) {
      this.#host.positions.set(this.id, { ...this.position, lanes });
      await this.#host.positions.flush();
    }
    return skip;
  }

  async #readOn(topic: Topic): Promise<boolean> {
    const { position } = this;
    const { recipe } = position;
    const keyed = this.#keyedFor(recipe);
    const buffer = this.#host.buffer(recipe.maxBytes);
    const wanted = Math.min(buffer.length, this.size - position.offset);
    const got = await this.#handle.read(buffer, wanted, position.offset);
    const bytes = buffer.subarray(0, got);
    const framing = { start: keyed.start, maxBytes: recipe.maxBytes };
    const framed = frame(bytes, position.offset, framing, position.cuts);
    if (framed.frames.length === 0) {
      this.caughtUp = true;
      return this.#cutWhenQuiet(framed.next, framed.wholeLines, position.offset + got);
    }
    const frames = framed.frames.slice(0, STEP_RECORDS_MAX);
    const end = frames[frames.length - 1]!.end;
    const counts = await this.#append(topic, frames, keyed.key);
    await this.#advance(end, counts);
    this.#host.stored(frames.length, end - position.offset, framed.cut);
    const more = frames.length < framed.frames.length || wanted === buffer.length;
    if (!more) this.caughtUp = true;
    return more;
  }

  #keyedFor(recipe: Recipe): { readonly key: Keyed; readonly start: RegExp | null } {
    if (this.#keyed?.recipe !== recipe) {
      const start = recipe.start === null ? null : new RegExp(recipe.start);
      this.#keyed = { recipe, start, key: keyer(recipe, this.#host.name, this.position.path) };
    }
    return this.#keyed;
  }

  /** Nothing came for a while: what is there is a record, whatever follows. Decided durably before it is acted upon. */
  async #cutWhenQuiet(from: number, wholeLines: number, end: number): Promise<boolean> {
    const quiet = this.#host.now() - this.quietSince;
    // A line without its end: only a file that was rotated away gets no more of it.
    const at = this.rotatedAt !== null && this.ended ? end : wholeLines;
    if (at <= from || quiet < this.#host.multilineTimeoutMs || end < this.size) return false;
    this.#host.positions.set(this.id, { ...this.position, cuts: [...this.position.cuts, at] });
    await this.#host.positions.flush();
    return true;
  }

  /** All of them are stored when it resolves; gives how many there are by partition. */
  async #append(topic: Topic, frames: readonly Frame[], key: Keyed): Promise<ReadonlyMap<number, number>> {
    const { appender, headers, name } = this.#host;
    const { path, lanes } = this.position;
    const groups = recordsByPartition(frames, key, headers, { source: name, path });
    const skip = this.#skip!;
    await settleAll(
      [...groups].map(async ([index, records]) => {
        const [producerId, sequence] = lanes[index]!;
        const skipped = Math.min(skip[index]!, records.length);
        try {
          await appender.append(topic, index, records.slice(skipped), {
            producerId,
            sequence: addToSequence(sequence, skipped),
            acknowledged: (count) => {
              skip[index] = skip[index]! + count;
            },
          });
        } catch (error) {
          if (error instanceof ProducerLost) await this.#renew(index);
          throw error;
        }
      }),
    );
    return new Map([...groups].map(([index, records]) => [index, records.length]));
  }

  /** The partition does not know where our numbers stand (it was damaged): they begin anew. */
  async #renew(index: number): Promise<void> {
    const fresh = [await this.#host.appender.newProducer(), 0] as const;
    const lanes = this.position.lanes.map((lane, i) => (i === index ? fresh : lane));
    this.#host.positions.set(this.id, { ...this.position, lanes });
    await this.#host.positions.flush();
  }

  /** Offset and sequences move together: a position that is written in between would double or lose records. */
  async #advance(offset: number, counts: ReadonlyMap<number, number>): Promise<void> {
    const { printBytes } = this.position;
    const beginning = printBytes < Math.min(PRINT_BYTES, this.size) ? await this.#beginning() : {};
    const skip = this.#skip!;
    const lanes = this.position.lanes.map(([producerId, sequence], index) => {
      const count = counts.get(index) ?? 0;
      skip[index] = skip[index]! - count;
      return [producerId, addToSequence(sequence, count)] as const;
    });
    const cuts = this.position.cuts.filter((cut) => cut > offset);
    this.#host.positions.set(this.id, { ...this.position, offset, lanes, ...beginning, cuts });
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** All of them end before the first failure is thrown. */
async function settleAll(tasks: readonly Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(tasks)).find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** CRC-32C of the first `length` bytes; -1 when the file is shorter. */
export async function fingerprint(handle: TailHandle, length: number): Promise<number> {
  const head = Buffer.alloc(length);
  return (await handle.read(head, length, 0)) === length ? crc32c(head) : -1;
}
