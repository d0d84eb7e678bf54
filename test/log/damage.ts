/** A real data directory, damaged one file at a time; what the log makes of it, checked from outside. */
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseStamps, STAMP_FILE, STAMP_INTERVAL_MS } from '../../src/log/end-stamps.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import type { LogPartition } from '../../src/log/partition.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { append, appendBatch, openOn, producedBatch, TestClock, topicSpec, valuesOf } from './records.ts';

export const DAMAGE_OPTIONS = { writeBufferBytes: 12_000, sliceBytes: 40_000 };

/** What one partition held when the image was taken. */
export interface ExpectedPartition {
  readonly start: number;
  readonly end: number;
  /** `offset:value` of every acknowledged record that was not let go. */
  readonly values: ReadonlyMap<number, string>;
}

/** By partition name. */
export type Expected = ReadonlyMap<string, ExpectedPartition>;

export interface Prepared {
  readonly directory: string;
  readonly expected: Expected;
  /** All files, relative to the directory. */
  readonly files: readonly string[];
}

export interface ImageOptions {
  /** Of 50 appends each. */
  readonly rounds: number;
  /** Stopped cleanly; otherwise as a kill leaves it. */
  readonly stopped?: boolean;
  /** Uniform in [0, 1). */
  readonly unit?: () => number;
  /** Where the image lies; a memory file system makes cases quick. */
  readonly below?: string;
}

function offsetOf(value: string): number {
  return Number(value.slice(0, value.indexOf(':')));
}

/** A directory with sealed slices, several chunks, a tail, and a topic whose front was let go. */
export async function prepare(options: ImageOptions): Promise<Prepared> {
  const { rounds, stopped = false, unit = () => 0.5, below = tmpdir() } = options;
  const work = await mkdtemp(join(below, 'headwater-damage-'));
  const live = join(work, 'live');
  const store = await openLevelStore(live);
  const clock = new TestClock();
  const log = await openOn(store, DAMAGE_OPTIONS, clock);
  const partitions: LogPartition[] = [];
  for (const name of ['a', 'b']) partitions.push(...(await log.createTopic(topicSpec(name, 2))).partitions);
  const trimmed = partitions[3]!;
  for (let round = 0; round < rounds; round++) {
    const text = (i: number) => `r${round}.${i} ${'x'.repeat((i * 37) % 150)}`;
    await Promise.all(
      partitions.flatMap((partition, p) => Array.from({ length: 12 }, (_, i) => append(partition, text(p * 100 + i)))),
    );
    await appendBatch(partitions[0]!, producedBatch([text(7)], { id: 5, sequence: round }));
    if (unit() < 0.2) await trimmed.deleteRecordsBefore(Math.floor(trimmed.logEndOffset * unit()));
  }
  const expected = new Map<string, ExpectedPartition>();
  for (const partition of partitions) {
    const values = new Map<number, string>();
    for (const value of await valuesOf(partition)) values.set(offsetOf(value), value);
    expected.set(partition.name, { start: partition.logStartOffset, end: partition.logEndOffset, values });
  }
  const directory = join(work, 'image');
  await stamped(live, partitions, clock);
  if (!stopped) await copyLive(live, directory);
  await log.close();
  await store.close();
  if (stopped) await cp(live, directory, { recursive: true });
  await rm(live, { recursive: true });
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
  const prepared = { directory, expected, files };
  const sound = await tryCase(prepared, null, 'removed', unit);
  if (sound.problems.length > 0 || sound.lost > 0)
    throw new Error(`the image is damaged: ${sound.problems.join('; ')}`);
  return prepared;
}

/** Until the log ends stand in their file: what came in the last tenth of a second may not. */
async function stamped(live: string, partitions: readonly LogPartition[], clock: TestClock): Promise<void> {
  for (;;) {
    const found = parseStamps(readFileSync(join(live, `${STAMP_FILE}.file`)));
    if (partitions.every((partition) => found.get(partition.id)?.end === partition.logEndOffset)) return;
    clock.advance(STAMP_INTERVAL_MS);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Names and sizes of all files below. */
function listing(directory: string): string {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((path) => `${path} ${statSync(path, { throwIfNoEntry: false })?.size}`)
    .join('\n');
}

/** A copy as of one moment: LevelDB works in the background, so until nothing changed while it was taken. */
async function copyLive(live: string, to: string): Promise<void> {
  for (;;) {
    const before = listing(live);
    const copied = await cp(live, to, { recursive: true }).then(
      () => true,
      () => false,
    );
    if (copied && listing(live) === before) return;
    await rm(to, { recursive: true, force: true });
  }
}

/** `cut-tail`: the last block is zeros, as a file system leaves it whose data came too late. */
export const DAMAGE_KINDS = [
  'removed',
  'emptied',
  'zeroed',
  'cut',
  'cut-tail',
  'zeroed-block',
  'flipped',
  'overwritten',
  'appended',
  'swapped',
] as const;
export type DamageKind = (typeof DAMAGE_KINDS)[number];

const BLOCK_BYTES = 512;

/** What becomes of a file's bytes. */
function damaged(bytes: Buffer, kind: DamageKind, unit: () => number): Uint8Array {
  const at = Math.floor(unit() * bytes.length);
  const noise = Buffer.from(Array.from({ length: 1 + Math.floor(unit() * BLOCK_BYTES) }, () => unit() * 256));
  const block = at - (at % BLOCK_BYTES);
  switch (kind) {
    case 'emptied':
      return Buffer.alloc(0);
    case 'zeroed':
      return bytes.fill(0);
    case 'cut':
      return bytes.subarray(0, at);
    case 'cut-tail':
      return bytes.fill(0, Math.max(0, bytes.length - 1 - Math.floor(unit() * 4096)));
    case 'zeroed-block':
      return bytes.fill(0, block, Math.min(bytes.length, block + BLOCK_BYTES));
    case 'flipped':
      if (bytes.length > 0) bytes[at]! ^= 1 << Math.floor(unit() * 8);
      return bytes;
    case 'overwritten':
      bytes.set(noise.subarray(0, bytes.length - at), at);
      return bytes;
    default:
      return Buffer.concat([bytes, noise]);
  }
}

/** Damages one file (`swapped`: and the one it changes places with, in the same directory); `unit` is uniform in [0, 1). */
export function damage(directory: string, file: string, kind: DamageKind, unit: () => number): void {
  const path = join(directory, file);
  if (kind === 'removed') {
    rmSync(path);
    return;
  }
  if (kind !== 'swapped') {
    writeFileSync(path, damaged(readFileSync(path), kind, unit));
    return;
  }
  const others = readdirSync(dirname(path), { withFileTypes: true })
    .filter((entry) => entry.isFile() && join(dirname(path), entry.name) !== path)
    .map((entry) => join(dirname(path), entry.name))
    .sort();
  const other = others[Math.floor(unit() * others.length)];
  if (other === undefined) return;
  const [ours, theirs] = [readFileSync(path), readFileSync(other)];
  writeFileSync(path, theirs);
  writeFileSync(other, ours);
}

/** Offsets in the ledger as lost, by partition name; what is there twice, or was never given, is a problem. */
async function ledgerOf(log: HeadwaterLog, expected: Expected, problems: string[]): Promise<Map<string, Set<number>>> {
  const lost = new Map<string, Set<number>>([...expected.keys()].map((name) => [name, new Set()]));
  for await (const { topic, partition, firstOffset, lastOffset, reason } of log.ledger.entries()) {
    const name = `${topic}-${partition}`;
    const { end } = expected.get(name)!;
    if (reason.startsWith('skipped')) {
      if (firstOffset < end) problems.push(`${name}: ${firstOffset} counts as skipped and was given`);
      continue;
    }
    if (lastOffset >= end) problems.push(`${name}: ${lastOffset} is in the ledger and was never given`);
    for (let offset = firstOffset; offset <= Math.min(lastOffset, end - 1); offset++) {
      if (lost.get(name)!.has(offset)) problems.push(`${name}: ${offset} is in the ledger twice`);
      lost.get(name)!.add(offset);
    }
  }
  return lost;
}

/** What a case came to. */
export interface CaseResult {
  /**
   * A refusal to start, a wrong value served, a value neither served nor in the ledger, or both, an offset given again:
   * empty, or a bug.
   */
  readonly problems: readonly string[];
  /** Records that the damage took with it, all of them in the ledger. */
  readonly lost: number;
}

const AFTER = 'after the damage';

/** Opens a damaged copy and compares; `again`: after a kill that followed, too. */
export async function resultOf(directory: string, expected: Expected, again = false): Promise<CaseResult> {
  const problems: string[] = [];
  let lost = 0;
  const store = await openLevelStore(directory);
  try {
    const log = await openOn(store, DAMAGE_OPTIONS);
    const served = new Map<string, Set<number>>();
    for (const [name, { values, end }] of expected) {
      const [topic, index] = name.split('-');
      const partition = log.topic(topic!)?.partitions[Number(index)];
      if (partition === undefined) {
        problems.push(`${name} is gone`);
        continue;
      }
      const found = new Set<number>();
      for (const value of await valuesOf(partition)) {
        const offset = offsetOf(value);
        found.add(offset);
        const right = offset >= end ? value.endsWith(AFTER) : !values.has(offset) || values.get(offset) === value;
        if (!right) problems.push(`${name} serves ${value.slice(0, 40)}`);
      }
      served.set(name, found);
      if (again) continue;
      const offset = await append(partition, AFTER);
      if (offset < end) problems.push(`${name} gives offset ${offset} again`);
    }
    // What was found while reading is on its way into the ledger.
    await log.meta.write([]);
    const ledger = await ledgerOf(log, expected, problems);
    for (const [name, { values, start }] of expected) {
      for (const offset of values.keys()) {
        const inLedger = ledger.get(name)!.has(offset);
        if (served.get(name)?.has(offset) === true) {
          if (inLedger) problems.push(`${name}: ${offset} is in the ledger and served`);
        } else if (inLedger) lost++;
        else problems.push(`${name}: ${offset} is neither served nor in the ledger`);
      }
      for (let offset = 0; offset < start; offset++) {
        if (ledger.get(name)!.has(offset)) problems.push(`${name}: ${offset} was let go and is in the ledger`);
      }
    }
    if (again) await log.close();
    else {
      // As a kill leaves it, or nearly: the databases are closed, the log is not.
      await log.meta.close();
      for (const slice of log.slices.all.values()) await log.slices.close(slice);
    }
  } finally {
    await store.close();
  }
  if (again || problems.length > 0) return { problems, lost };
  const second = await resultOf(directory, expected, true);
  return { problems: second.problems.map((problem) => `after the next start: ${problem}`), lost };
}

function copyTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) copyTree(source, target);
    else copyFileSync(source, target);
  }
}

/** Copies the image, damages one file of the copy (null: none), and says what came of it. */
export async function tryCase(
  prepared: Prepared,
  file: string | null,
  kind: DamageKind,
  unit: () => number,
): Promise<CaseResult> {
  const copy = mkdtempSync(join(dirname(prepared.directory), 'case-'));
  try {
    copyTree(prepared.directory, copy);
    if (file !== null) damage(copy, file, kind, unit);
    return await resultOf(copy, prepared.expected);
  } catch (error) {
    const what = error instanceof Error ? (error.stack ?? error.message) : String(error);
    return { problems: [`refused: ${what}`], lost: 0 };
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}
