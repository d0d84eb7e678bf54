/**
 * Position by evidence. After a crash, a lost connection, an old data directory or a long outage, what upstream holds says
 * where to go on: its last batch of our producer bears the sequence, and its records can be compared with ours.
 *
 * Why not only resend and let upstream drop the copy (KIP-98)? It knows the last five batches of a producer, and forgets a
 * producer after a day (`producer.id.expiration.ms`): beyond that a resend would be stored twice. And a restored data
 * directory gives new records the sequences of old ones: a copy would be "recognised" that is none, and lost.
 *
 * Ours and theirs are compared record by record: where upstream's batches begin and end says nothing (a run of ours, a part of
 * one, a batch compressed on the way, one that upstream compacted).
 */
import {
  addToSequence,
  baseOffsetOf,
  baseSequenceOf,
  baseTimestampOf,
  lastOffsetDeltaOf,
  lastSequenceOf,
  nextOffsetOf,
  producerEpochOf,
  producerIdOf,
  recordCountOf,
} from '../wire/batch/record-batch.ts';
import { lastMatch, type Matched } from './content-search.ts';
import { countBetween, OurRecords } from './our-records.ts';
import type { Forwarded } from './outgoing.ts';

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
  /** Records from `offset` on as they go upstream; what is not for upstream is left out. */
  read(
    offset: number,
    maxBytes: number,
  ): Promise<{ readonly batches: readonly Forwarded[]; readonly nextOffset: number }>;
  offsetForTimestamp(timestamp: number): Promise<number | null>;
  /** What `read` says of the time of the record at `offset` that once went upstream with `timestamp`. */
  correctedTime(offset: number, timestamp: number): number;
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

/**
 * The log start, or the cursor, with its sequence. Retention may have removed records that upstream has: they count one each
 * (what was never sent, such as control batches, cannot be told any more; then nothing will match).
 */
function startOf({ offset, sequence }: Position, { start }: EdgeLog): { offset: number; sequence: number } {
  if (start <= offset) return { offset, sequence };
  return { offset: start, sequence: addToSequence(sequence, start - offset) };
}

const countOf = (batch: Uint8Array): number => lastOffsetDeltaOf(batch) + 1;

/** Records of one time that are compared with the first one of a batch upstream. */
const CANDIDATES = 64;

/** Finds `theirs` in our log by the time of its first record; behind it, or null. */
export async function findByTime(theirs: Uint8Array, edge: EdgeLog): Promise<number | null> {
  const found = await edge.offsetForTimestamp(baseTimestampOf(theirs));
  if (found === null || found >= edge.end) return null;
  let offset = Math.max(found, edge.start);
  for (let candidate = 0; candidate < CANDIDATES; candidate++) {
    const ours = new OurRecords(edge, offset);
    if (await ours.matches(theirs)) return ours.offset;
    const next = new OurRecords(edge, offset);
    if (!(await next.skip(1))) return null;
    offset = next.offset;
  }
  return null;
}

/** Compares our records with those upstream, from the cursor on; where they part, a new producer begins. */
async function divergence(position: Position, edge: EdgeLog, upstream: UpstreamLog, end: number): Promise<Located> {
  const { start } = await upstream.range();
  let { offset, sequence } = startOf(position, edge);
  const ours = new OurRecords(edge, offset);
  if (edge.start > position.offset) offset = position.offset;
  for await (const theirs of forwards(upstream, Math.max(start, position.upstreamNext), end)) {
    if (!isOurs(theirs, position)) continue;
    const ahead = sequenceDistance(baseSequenceOf(theirs), sequence);
    // Of what retention removed here there is nothing to compare.
    if (ahead < 0 && edge.start > position.offset) continue;
    // Upstream's retention may have removed the first ones: those it had.
    if (ahead < 0 || !(await ours.skip(ahead))) break;
    if (ahead > 0) offset = ours.offset;
    sequence = addToSequence(sequence, ahead);
    if (!(await ours.matches(theirs))) {
      // It may begin with records of ours and go on with others.
      offset = Math.max(offset, ours.common);
      break;
    }
    sequence = addToSequence(sequence, countOf(theirs));
    offset = ours.offset;
  }
  await ours.close();
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
  const advanced = (offset: number): Located => {
    return { kind: 'advanced', offset, sequence: due, upstreamNext: nextOffsetOf(theirs) };
  };
  const from = startOf(position, edge);
  const before = sequenceDistance(baseSequenceOf(theirs), from.sequence);
  // All of it was removed here: nothing is left to compare.
  if (-before >= countOf(theirs) && edge.start > position.offset) {
    return advanced(position.offset + sequenceDistance(due, position.sequence));
  }
  const ours = new OurRecords(edge, from.offset);
  const same = (await ours.skip(Math.max(0, before))) && (await ours.matches(theirs, Math.max(0, -before)));
  await ours.close();
  if (same) return advanced(ours.offset);
  const found = edge.start > position.offset ? await findByTime(theirs, edge) : null;
  return found === null ? divergence(position, edge, upstream, end) : advanced(found);
}

/**
 * Whether `theirs` holds the records that are `lost` records before `offset` here: the offset behind them, or null. What
 * retention removed here counts as the same.
 */
export async function findBefore(
  edge: EdgeLog,
  offset: number,
  theirs: Uint8Array,
  lost: number,
): Promise<number | null> {
  const wanted = lost + countOf(theirs);
  // Of records that all went up there are as many as offsets; of a selection there are fewer.
  let reach = wanted;
  let from = Math.max(edge.start, offset - reach);
  let there = await countBetween(edge, from, offset);
  while (there < wanted && from > edge.start) {
    reach *= 4;
    from = Math.max(edge.start, offset - reach);
    there = await countBetween(edge, from, offset);
  }
  // From the log start on, or below it (the ledger says so).
  if (there <= lost && edge.start > offset - wanted) return Math.min(edge.start, offset - lost);
  if (there < lost) return null;
  const ours = new OurRecords(edge, from);
  const skipped = await ours.skip(Math.max(0, there - wanted));
  const same = skipped && (await ours.matches(theirs, Math.max(0, wanted - there)));
  await ours.close();
  return same ? ours.offset : null;
}

/** Upstream lost records that it had acknowledged (acks=1 and a dead leader): we still have them. */
async function behind(position: Position, theirs: Uint8Array, edge: EdgeLog, end: number): Promise<Located> {
  const sequence = addToSequence(lastSequenceOf(theirs), 1);
  const lost = sequenceDistance(position.sequence, sequence);
  const found = (await findBefore(edge, position.offset, theirs, lost)) ?? (await findByTime(theirs, edge));
  if (found !== null && found <= position.offset) {
    return { kind: 'rewound', offset: found, sequence, upstreamNext: nextOffsetOf(theirs) };
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
  if (recordCountOf(theirs) === 0) return null;
  const sequence = baseSequenceOf(theirs);
  if (sequence >= edge.start && sequence < edge.end) {
    const ours = new OurRecords(edge, sequence);
    const same = await ours.matches(theirs);
    await ours.close();
    if (same) return ours.offset;
  }
  return findByTime(theirs, edge);
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
  if (theirs === undefined || recordCountOf(theirs) === 0) return offset;
  const ours = new OurRecords(edge, Math.max(offset, edge.start));
  await ours.matches(theirs);
  await ours.close();
  return Math.max(offset, ours.common);
}
