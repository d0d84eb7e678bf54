/**
 * Where a transactional link goes on in a partition: the position that its last committed transaction carried, checked by the
 * records before it (a data directory may have been put back from an older copy: then its records part from upstream's).
 */
import type { Cluster } from '../client/cluster.ts';
import { type ConsumedRecord, Consumer } from '../client/consumer.ts';
import { decodeMarker } from '../wire/batch/control-batch.ts';
import { baseOffsetOf, isControl, producerIdOf, recordCountOf } from '../wire/batch/record-batch.ts';
import type { Cursor } from './cursor.ts';
import { type EdgeLog, findBefore, findByTime, type UpstreamLog } from './evidence.ts';
import { OurRecords } from './our-records.ts';

const BACKWARD_STEPS = 64;
const STEP_BYTES = 1_024;

export interface PositionSources {
  readonly edge: EdgeLog;
  readonly upstream: UpstreamLog;
  readonly producerId: number;
  readonly cursor: Cursor | null;
  /** Of the group; null: none. */
  readonly committed: number | null;
  /** What readers with read_committed see, from an offset upstream on. */
  readRecords(from: number): AsyncIterable<ConsumedRecord>;
}

/** Upstream's last batch of our producer whose transaction was committed. */
async function lastCommitted(upstream: UpstreamLog, producerId: number): Promise<Uint8Array | null> {
  const { start, end } = await upstream.range();
  let committed = false;
  let next = end;
  for (let step = 0; step < BACKWARD_STEPS && next > start; step++) {
    const [batch] = await upstream.read(next - 1, STEP_BYTES);
    if (batch === undefined) return null;
    next = baseOffsetOf(batch);
    if (producerIdOf(batch) !== producerId || recordCountOf(batch) === 0) continue;
    if (isControl(batch)) committed = decodeMarker(batch)?.type === 'commit';
    else if (committed) return batch;
  }
  return null;
}

/** Behind the last of our records that upstream has as well, compared from the cursor on. */
async function endOfCommon({ edge, cursor, readRecords }: PositionSources): Promise<number> {
  const from = Math.max(edge.start, cursor?.offset ?? edge.start);
  const ours = new OurRecords(edge, from);
  for await (const theirs of readRecords(cursor?.upstreamNext ?? 0)) if (!(await ours.matchesRecord(theirs))) break;
  await ours.close();
  return Math.max(cursor?.offset ?? edge.start, ours.common);
}

export async function transactionalPosition(sources: PositionSources): Promise<number> {
  const { edge, upstream, producerId, cursor, committed } = sources;
  const theirs = await lastCommitted(upstream, producerId);
  let claimed = committed ?? cursor?.offset ?? null;
  // What was skipped behind the last commit (the ledger has it) is in the cursor only.
  if (committed !== null && cursor !== null && cursor.sequence === committed)
    claimed = Math.max(committed, cursor.offset);
  if (theirs === null) return claimed === null ? edge.start : claimed <= edge.end ? claimed : endOfCommon(sources);
  if (claimed === null) return (await findByTime(theirs, edge)) ?? edge.start;
  if (claimed <= edge.end) {
    const found = await findBefore(edge, committed ?? claimed, theirs, 0);
    if (found !== null) return Math.max(found, claimed);
  }
  return endOfCommon(sources);
}

/** What readers with read_committed see of a partition upstream, from an offset on to its present end. */
export async function* committedRecords(
  cluster: Cluster,
  topic: string,
  partition: number,
  upstream: UpstreamLog,
  from: number,
): AsyncGenerator<ConsumedRecord> {
  const consumer = new Consumer(cluster, { isolation: 'read_committed', maxWaitMs: 100, maxBytes: 256 * 1024 });
  const { start, end } = await upstream.range();
  await consumer.assign([{ topic, partition, offset: Math.min(Math.max(start, from), end) }]);
  for (;;) {
    const before = consumer.positions()[0]!.offset;
    if (before >= end) return;
    yield* await consumer.poll();
    const { offset, error } = consumer.positions()[0]!;
    // Nothing is known of what is behind it: an end here would be taken for the end of what upstream has.
    if (error !== null) throw error;
    // An open transaction of somebody else: nothing of ours is behind it.
    if (offset === before) return;
  }
}
