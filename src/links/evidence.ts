/**
 * Position by evidence. After a crash, a lost connection, an old data directory or a long outage, what upstream holds says
 * where to go on: its last batch of our producer bears the sequence, and its records can be compared with ours.
 *
 * Why not only resend and let upstream drop the copy (KIP-98)? It knows the last five batches of a producer, and forgets a
 * producer after a day (`producer.id.expiration.ms`): beyond that a resend would be stored twice. And a restored data
 * directory gives new records the sequences of old ones: a copy would be "recognised" that is none, and lost.
 *
 * A batch upstream may hold a run of ours (runs.ts): it is compared with as many of our batches as it has records.
 */
import {
  addToSequence,
  baseOffsetOf,
  baseSequenceOf,
  baseTimestampOf,
  lastOffsetDeltaOf,
  lastSequenceOf,
  maxTimestampOf,
  nextOffsetOf,
  producerEpochOf,
  producerIdOf,
} from '../wire/batch/record-batch.ts';
import { beginsWith, lastMatch, type Matched } from './content-search.ts';
import type { Forwarded } from './outgoing.ts';
import { sameRun } from './runs.ts';

const SEQUENCES = 2_147_483_648;
/** Batches looked at from the end of the upstream partition backwards, one small fetch each. */
const BACKWARD_STEPS = 16;
const STEP_BYTES = 1_024;
const SCAN_BYTES = 256 * 1024;

export interface UpstreamLog {
  /** First offset, and the one after the last record that may be read. */
  range(): Promise<{ readonly start: number; readonly end: number }>;
  /** Whole batches, the first contains `offset`; at least one if there is one. */
  read(offset: number, maxBytes: number): Promise<readonly Uint8Array[]>;
}

export interface EdgeLog {
  readonly start: number;
  /** Offsets below it may be sent. */
  readonly end: number;
  /** From the batch that contains `offset`; batches that are not for upstream are left out. */
  read(
    offset: number,
    maxBytes: number,
  ): Promise<{ readonly batches: readonly Forwarded[]; readonly nextOffset: number }>;
  offsetForTimestamp(timestamp: number): Promise<number | null>;
}

/** The part of a cursor that evidence is compared with. */
export interface Position {
  readonly offset: number;
  readonly sequence: number;
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly upstreamNext: number;
}

export interface Located {
  /**
   * `confirmed`: upstream has exactly what the cursor says. `advanced`: more of ours, `rewound`: less (it lost
   * acknowledged records). `diverged`: it has records under our sequences that are not ours any more (an old data
   * directory was restored): only another producer may go on.
   */
  readonly kind: 'confirmed' | 'advanced' | 'rewound' | 'diverged';
  readonly offset: number;
  readonly sequence: number;
  readonly upstreamNext: number;
}

/** `a - b` of two sequences, from -2^30 to 2^30. */
export function sequenceDistance(a: number, b: number): number {
  const distance = (((a - b) % SEQUENCES) + SEQUENCES) % SEQUENCES;
  return distance >= SEQUENCES / 2 ? distance - SEQUENCES : distance;
}

async function* backwards(upstream: UpstreamLog, from: number, end: number): AsyncGenerator<Uint8Array> {
  let next = end;
  for (let step = 0; step < BACKWARD_STEPS && next > from; step++) {
    const [batch] = await upstream.read(next - 1, STEP_BYTES);
    if (batch === undefined) return;
    yield batch;
    next = baseOffsetOf(batch);
  }
}

async function* forwards(upstream: UpstreamLog, from: number, end: number): AsyncGenerator<Uint8Array> {
  for (let next = from; next < end; ) {
    const batches = await upstream.read(next, SCAN_BYTES);
    if (batches.length === 0) return;
    for (const batch of batches) {
      if (nextOffsetOf(batch) > next) yield batch;
      next = Math.max(next, nextOffsetOf(batch));
    }
  }
}

async function* edgeBatches(edge: EdgeLog, from: number): AsyncGenerator<Forwarded> {
  for (let next = from; next < edge.end; ) {
    const { batches, nextOffset } = await edge.read(next, SCAN_BYTES);
    for (const batch of batches) if (nextOffsetOf(batch.source) > next) yield batch;
    if (nextOffset <= next) return;
    next = nextOffset;
  }
}

/**
 * Sequence of our first batch from the cursor on. Retention may have removed some that upstream has: they count one each
 * (what was never sent, such as control batches, cannot be told any more; then nothing will match).
 */
function firstSequence({ offset, sequence }: Position, { start }: EdgeLog, first: Forwarded | undefined): number {
  if (first === undefined || start <= offset) return sequence;
  // The batch that the log begins in may reach back before it.
  const base = Math.max(offset, Math.min(start, baseOffsetOf(first.source)));
  return addToSequence(sequence, base - offset);
}

/** Our batches from `offset` on that make up `count` records; null when some batch goes over it, or too few are there. */
async function runOf(edge: EdgeLog, offset: number, count: number): Promise<readonly Forwarded[] | null> {
  const run: Forwarded[] = [];
  let records = 0;
  for await (const mine of edgeBatches(edge, offset)) {
    run.push(mine);
    records += mine.count;
    if (records >= count) return records === count ? run : null;
  }
  return null;
}

/** The offset behind those of our batches from `offset` on that `theirs` begins with; null: none. */
async function startOf(edge: EdgeLog, offset: number, theirs: Uint8Array): Promise<number | null> {
  const last = (await beginsWith(theirs, edgeBatches(edge, Math.max(offset, edge.start)))).at(-1);
  return last === undefined ? null : nextOffsetOf(last.source);
}

function isOurs(batch: Uint8Array, position: Position): boolean {
  return producerIdOf(batch) === position.producerId && producerEpochOf(batch) === position.producerEpoch;
}

/** Upstream's last batch of our producer at or after `from`. Others may write there too. */
async function lastOfOurs(
  position: Position,
  upstream: UpstreamLog,
  from: number,
  end: number,
): Promise<Uint8Array | null> {
  let reached = end;
  for await (const batch of backwards(upstream, from, end)) {
    if (isOurs(batch, position)) return batch;
    reached = baseOffsetOf(batch);
  }
  if (reached <= from) return null;
  let last: Uint8Array | null = null;
  for await (const batch of forwards(upstream, from, reached)) if (isOurs(batch, position)) last = batch;
  return last;
}

/** Compares our batches with those upstream, from the cursor on; where they part, a new producer begins. */
async function divergence(position: Position, edge: EdgeLog, upstream: UpstreamLog, end: number): Promise<Located> {
  const { start } = await upstream.range();
  const ours = edgeBatches(edge, Math.max(position.offset, edge.start));
  let offset = position.offset;
  let mine = await ours.next();
  let sequence = firstSequence(position, edge, mine.done ? undefined : mine.value);
  for await (const theirs of forwards(upstream, Math.max(start, position.upstreamNext), end)) {
    if (!isOurs(theirs, position)) continue;
    // Of what retention removed here there is nothing to compare.
    if (sequenceDistance(baseSequenceOf(theirs), sequence) < 0 && edge.start > position.offset) continue;
    // Upstream's retention may have removed the first ones: those it had.
    while (!mine.done && sequenceDistance(baseSequenceOf(theirs), sequence) > 0) {
      sequence = addToSequence(sequence, mine.value.count);
      offset = nextOffsetOf(mine.value.source);
      mine = await ours.next();
    }
    if (baseSequenceOf(theirs) !== sequence) break;
    const run: Forwarded[] = [];
    const count = lastOffsetDeltaOf(theirs) + 1;
    let records = 0;
    for (; !mine.done && records < count; mine = await ours.next()) {
      run.push(mine.value);
      records += mine.value.count;
    }
    if (records !== count || !sameRun(run, theirs)) {
      offset = (await startOf(edge, offset, theirs)) ?? offset;
      break;
    }
    sequence = addToSequence(sequence, records);
    offset = nextOffsetOf(run.at(-1)!.source);
  }
  await ours.return(undefined);
  return { kind: 'diverged', offset, sequence: offset % SEQUENCES, upstreamNext: end };
}

async function ahead(
  position: Position,
  theirs: Uint8Array,
  edge: EdgeLog,
  upstream: UpstreamLog,
  end: number,
): Promise<Located> {
  const due = addToSequence(lastSequenceOf(theirs), 1);
  const count = lastOffsetDeltaOf(theirs) + 1;
  let sequence = -1;
  // The last ones read, as many as hold `count` records.
  const run: Forwarded[] = [];
  let records = 0;
  for await (const mine of edgeBatches(edge, Math.max(position.offset, edge.start))) {
    sequence = addToSequence(sequence < 0 ? firstSequence(position, edge, mine) : sequence, mine.count);
    run.push(mine);
    records += mine.count;
    while (records - run[0]!.count >= count) records -= run.shift()!.count;
    if (sequenceDistance(due, sequence) > 0) continue;
    if (sequence === due && records === count && sameRun(run, theirs)) {
      return { kind: 'advanced', offset: nextOffsetOf(mine.source), sequence, upstreamNext: nextOffsetOf(theirs) };
    }
    break;
  }
  return divergence(position, edge, upstream, end);
}

/** Upstream lost records that it had acknowledged (acks=1 and a dead leader): we still have them. */
async function behind(position: Position, theirs: Uint8Array, edge: EdgeLog, end: number): Promise<Located> {
  const sequence = addToSequence(lastSequenceOf(theirs), 1);
  const offset = position.offset + sequenceDistance(sequence, position.sequence);
  const rewound: Located = { kind: 'rewound', offset, sequence, upstreamNext: nextOffsetOf(theirs) };
  if (offset <= edge.start) return rewound;
  const count = lastOffsetDeltaOf(theirs) + 1;
  const run = await runOf(edge, Math.max(edge.start, offset - count), Math.min(count, offset - edge.start));
  const last = run?.at(-1);
  if (run !== null && last !== undefined && nextOffsetOf(last.source) === offset) {
    // Of a run that retention cut here, the end is all there is to compare.
    const cut = offset - count < edge.start;
    if (cut ? maxTimestampOf(last.source) === maxTimestampOf(theirs) : sameRun(run, theirs)) return rewound;
  }
  return { kind: 'diverged', offset: position.offset, sequence: position.offset % SEQUENCES, upstreamNext: end };
}

/** Where to go on, for a cursor that was kept. */
export async function locate(position: Position, edge: EdgeLog, upstream: UpstreamLog): Promise<Located> {
  const { start, end } = await upstream.range();
  const truncated = end < position.upstreamNext;
  const from = truncated ? start : Math.max(start, position.upstreamNext);
  const theirs = await lastOfOurs(position, upstream, from, end);
  const { offset, sequence } = position;
  if (theirs === null) {
    return { kind: 'confirmed', offset, sequence, upstreamNext: Math.min(position.upstreamNext, end) };
  }
  const distance = sequenceDistance(addToSequence(lastSequenceOf(theirs), 1), sequence);
  if (distance > 0) return ahead(position, theirs, edge, upstream, end);
  if (distance < 0) return behind(position, theirs, edge, end);
  return { kind: 'confirmed', offset, sequence, upstreamNext: nextOffsetOf(theirs) };
}

/** The offset behind the records of ours that `theirs` holds, and nothing else; null when it is not such a batch. */
async function matchOf(edge: EdgeLog, theirs: Uint8Array): Promise<number | null> {
  for (const candidate of [baseSequenceOf(theirs), await edge.offsetForTimestamp(baseTimestampOf(theirs))]) {
    if (candidate === null || candidate < edge.start || candidate >= edge.end) continue;
    const run = await runOf(edge, candidate, lastOffsetDeltaOf(theirs) + 1);
    if (run !== null && sameRun(run, theirs)) return nextOffsetOf(run.at(-1)!.source);
  }
  return null;
}

/**
 * Where to begin without a cursor: after the last batch upstream that holds records of ours (the metadata was lost), or
 * at the log start. First sequences are offsets, so a batch upstream says which of ours to look at; its time says it too.
 */
export async function locateFresh(edge: EdgeLog, upstream: UpstreamLog): Promise<Located> {
  const { start, end } = await upstream.range();
  const behindOurs = (offset: number): Located => {
    return { kind: 'advanced', offset, sequence: offset % SEQUENCES, upstreamNext: end };
  };
  const fresh = { ...behindOurs(edge.start), kind: 'confirmed' } as const;
  if (edge.start >= edge.end) return fresh;
  let reached = end;
  for await (const theirs of backwards(upstream, start, end)) {
    const offset = await matchOf(edge, theirs);
    if (offset !== null)
      return behindOurs(await endOfCommon(edge, upstream, { offset, upstreamNext: nextOffsetOf(theirs) }));
    reached = baseOffsetOf(theirs);
  }
  const read = async (offset: number) => (await upstream.read(offset, STEP_BYTES))[0];
  const matched = await lastMatch({ start, end: reached }, read, (theirs) => matchOf(edge, theirs));
  const common = await endOfCommon(edge, upstream, matched ?? { offset: edge.start, upstreamNext: start });
  return common > edge.start ? behindOurs(common) : fresh;
}

/** Upstream's next batch may begin with records of ours and go on with others. */
async function endOfCommon(edge: EdgeLog, upstream: UpstreamLog, { offset, upstreamNext }: Matched): Promise<number> {
  const { end } = await upstream.range();
  if (upstreamNext >= end) return offset;
  const [theirs] = await upstream.read(upstreamNext, SCAN_BYTES);
  return theirs === undefined ? offset : ((await startOf(edge, offset, theirs)) ?? offset);
}
