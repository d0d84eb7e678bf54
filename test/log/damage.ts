/** A real data directory, damaged one file at a time; what the log makes of it, checked from outside. */
import { cp, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import type { LogPartition } from '../../src/log/partition.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { append, appendBatch, openOn, producedBatch, topicSpec, valuesOf } from './records.ts';

export const DAMAGE_OPTIONS = { writeBufferBytes: 12_000, sliceBytes: 40_000 };

/** Every acknowledged value by partition name, at its offset. */
export type Expected = ReadonlyMap<string, readonly string[]>;

export interface Prepared {
  readonly directory: string;
  readonly expected: Expected;
  readonly files: readonly string[];
}

/** A directory as a kill leaves it (not closed), with sealed slices, several chunks and a tail. `rounds`: of 50 appends. */
export async function prepare(rounds: number): Promise<Prepared> {
  const work = await mkdtemp(join(tmpdir(), 'headwater-damage-'));
  const live = join(work, 'live');
  const store = await openLevelStore(live);
  const log = await openOn(store, DAMAGE_OPTIONS);
  const partitions: LogPartition[] = [];
  for (const name of ['a', 'b']) partitions.push(...(await log.createTopic(topicSpec(name, 2))).partitions);
  for (let round = 0; round < rounds; round++) {
    const text = (i: number) => `r${round}.${i} ${'x'.repeat((i * 37) % 150)}`;
    await Promise.all(
      partitions.flatMap((partition, p) => Array.from({ length: 12 }, (_, i) => append(partition, text(p * 100 + i)))),
    );
    await appendBatch(partitions[0]!, producedBatch([text(7)], { id: 5, sequence: round }));
  }
  const expected = new Map<string, string[]>();
  for (const partition of partitions) expected.set(partition.name, await valuesOf(partition));
  const directory = join(work, 'image');
  await cp(live, directory, { recursive: true });
  await log.close();
  await store.close();
  await rm(live, { recursive: true });
  const files = (await readdir(directory, { recursive: true })).sort();
  const regular: string[] = [];
  for (const file of files) {
    if ((await stat(join(directory, file))).isFile() && !/LOCK$|LOG$|LOG\.old$/.test(file)) regular.push(file);
  }
  return { directory, expected, files: regular };
}

export type DamageKind = 'removed' | 'emptied' | 'zeroed' | 'cut' | 'flipped' | 'overwritten';
export const DAMAGE_KINDS: readonly DamageKind[] = ['removed', 'emptied', 'zeroed', 'cut', 'flipped', 'overwritten'];

/** Damages one file; `unit` is uniform in [0, 1). */
export async function damage(file: string, kind: DamageKind, unit: () => number): Promise<void> {
  if (kind === 'removed') return rm(file);
  if (kind === 'emptied') return truncate(file, 0);
  const bytes = await readFile(file);
  if (bytes.length === 0) return;
  const at = Math.floor(unit() * bytes.length);
  if (kind === 'cut') return truncate(file, at);
  if (kind === 'zeroed') bytes.fill(0);
  if (kind === 'flipped') bytes[at]! ^= 1 << Math.floor(unit() * 8);
  if (kind === 'overwritten')
    for (let i = at; i < Math.min(bytes.length, at + 512); i++) bytes[i] = Math.floor(unit() * 256);
  await writeFile(file, bytes);
}

async function ledgerOf(log: HeadwaterLog): Promise<Set<string>> {
  const lost = new Set<string>();
  for await (const entry of log.ledger.entries()) {
    for (let offset = entry.firstOffset; offset <= Math.min(entry.lastOffset, 100_000); offset++) {
      lost.add(`${entry.topic}-${entry.partition}:${offset}`);
    }
  }
  return lost;
}

/**
 * Opens a damaged copy and compares. Returns what is wrong: a refusal to start, a wrong value served, a value neither
 * served nor in the ledger, an offset given again.
 */
export async function problemsOf(directory: string, expected: Expected): Promise<string[]> {
  const problems: string[] = [];
  /** First offset that a cut tail gave again. */
  const reused = new Map<string, number>();
  const store = await openLevelStore(directory);
  const log = await openOn(store, DAMAGE_OPTIONS);
  try {
    const served = new Map<string, Set<string>>();
    for (const [name, wanted] of expected) {
      const [topic, index] = name.split('-');
      const partition = log.topic(topic!)?.partitions[Number(index)];
      if (partition === undefined) {
        problems.push(`${name} is gone`);
        continue;
      }
      const values = new Set(await valuesOf(partition));
      served.set(name, values);
      const known = new Set(wanted);
      for (const value of values) if (!known.has(value)) problems.push(`${name} serves ${value.slice(0, 40)}`);
      const offset = await append(partition, 'after the damage');
      if (offset < wanted.length) {
        // Cut where a torn write may end too: nobody can tell. A reader can, by the leader epoch (KIP-101).
        const seen = partition.endOffsetForEpoch(0);
        if (seen === null || seen.endOffset > offset) problems.push(`${name} gives offset ${offset} again, unnoticed`);
        reused.set(name, offset);
      }
    }
    // What was found while reading is on its way into the ledger.
    await log.meta.write([]);
    const lost = await ledgerOf(log);
    for (const [name, wanted] of expected) {
      for (const [offset, value] of wanted.entries()) {
        if (served.get(name)?.has(value) === true) {
          if (lost.has(`${name}:${offset}`)) problems.push(`${name}: ${offset} is in the ledger and served`);
        } else if (offset >= (reused.get(name) ?? wanted.length)) {
          // Told by the epoch, see above.
        } else if (!lost.has(`${name}:${offset}`))
          problems.push(`${name}: ${offset} is neither served nor in the ledger`);
      }
    }
  } finally {
    await log.close();
    await store.close();
  }
  return problems;
}

/** Copies the image, damages one file of the copy, and returns what is wrong then. */
export async function tryCase(
  prepared: Prepared,
  file: string,
  kind: DamageKind,
  unit: () => number,
): Promise<string[]> {
  const copy = await mkdtemp(join(tmpdir(), 'headwater-damaged-'));
  try {
    await cp(prepared.directory, copy, { recursive: true });
    await damage(join(copy, file), kind, unit);
    return await problemsOf(copy, prepared.expected);
  } catch (error) {
    return [`refused: ${error instanceof Error ? error.message : String(error)}`];
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}
