/** Takes the position of a partition from its cursor and what upstream holds. */
import type { Cursor } from './cursor.ts';
import { type EdgeLog, type Located, locate, locateFresh } from './evidence.ts';
import type { Leader, Upstream } from './upstream.ts';

const SEQUENCES = 2_147_483_648;

export interface PositionRequest {
  readonly upstream: Upstream;
  readonly leader: Leader;
  readonly edge: EdgeLog;
  readonly upstreamTopic: string;
  readonly upstreamPartition: number;
  readonly cursor: Cursor | null;
  /** Upstream refused our sequence here before: if evidence says nothing new, it must be another producer. */
  readonly refusedBefore: boolean;
}

export interface TakenPosition {
  readonly cursor: Cursor;
  readonly kind: Located['kind'];
}

/** Another topic or cluster has nothing of ours under these sequences. */
function isElsewhere(cursor: Cursor, { leader, upstreamTopic, upstreamPartition }: PositionRequest): boolean {
  return (
    cursor.upstreamTopic !== upstreamTopic ||
    cursor.upstreamPartition !== upstreamPartition ||
    cursor.clusterId !== leader.clusterId ||
    cursor.upstreamTopicId !== leader.topic.id
  );
}

/** The cursor to go on with. It must be durable before anything is sent: its producer may be a new one. */
export async function takePosition(request: PositionRequest): Promise<TakenPosition> {
  const { upstream, leader, edge, upstreamTopic, upstreamPartition, cursor } = request;
  const reader = upstream.reader(leader, upstreamPartition);
  let found: Located;
  let keepsProducer = false;
  if (cursor === null) found = await locateFresh(edge, reader);
  else if (isElsewhere(cursor, request)) {
    const { end } = await reader.range();
    found = { kind: 'diverged', offset: cursor.offset, sequence: cursor.offset % SEQUENCES, upstreamNext: end };
  } else {
    found = await locate(cursor, edge, reader);
    keepsProducer = found.kind !== 'diverged' && !(found.kind === 'confirmed' && request.refusedBefore);
  }
  const producer =
    keepsProducer && cursor !== null
      ? { id: cursor.producerId, epoch: cursor.producerEpoch }
      : await upstream.newProducer();
  return {
    kind: found.kind,
    cursor: {
      offset: found.offset,
      sequence: found.sequence,
      producerId: producer.id,
      producerEpoch: producer.epoch,
      upstreamNext: found.upstreamNext,
      upstreamTopic,
      upstreamPartition,
      upstreamTopicId: leader.topic.id,
      clusterId: leader.clusterId,
      selection: cursor?.selection ?? '',
    },
  };
}
