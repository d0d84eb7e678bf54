/** Transaction markers: a control batch of one record (attribute bits 4 and 5) that takes one offset. */
import { HeadwaterError } from '../../errors.ts';
import { isControl } from './record-batch.ts';
import { RecordCursor } from './record-cursor.ts';
import { encodeBatch } from './record-encoder.ts';

export type MarkerType = 'abort' | 'commit';

export interface Marker {
  readonly type: MarkerType;
  readonly coordinatorEpoch: number;
}

export interface MarkerBatch extends Marker {
  readonly producerId: number;
  readonly producerEpoch: number;
  /** Milliseconds since 1970. */
  readonly timestamp: number;
}

const TYPES: readonly MarkerType[] = ['abort', 'commit'];

export function encodeMarker(marker: MarkerBatch): Buffer {
  const key = Buffer.alloc(4);
  key.writeInt16BE(TYPES.indexOf(marker.type), 2);
  const value = Buffer.alloc(6);
  value.writeInt32BE(marker.coordinatorEpoch, 2);
  return encodeBatch([{ key, value, headers: [], timestamp: marker.timestamp }], {
    now: marker.timestamp,
    producerId: marker.producerId,
    producerEpoch: marker.producerEpoch,
    transactional: true,
    control: true,
  });
}

/** The marker in a control batch; null when it is a control record of another kind (a later Kafka's). */
export function decodeMarker(batch: Uint8Array): Marker | null {
  if (!isControl(batch)) throw new HeadwaterError('INVALID_RECORD', 'not a control batch');
  const cursor = new RecordCursor(batch);
  const key = cursor.next() ? cursor.key : null;
  if (key === null || key.length < 4) throw new HeadwaterError('CORRUPT_BATCH', 'a control batch without a key');
  const type = TYPES[key.readInt16BE(2)];
  if (type === undefined) return null;
  const value = cursor.value;
  if (value === null || value.length < 6) throw new HeadwaterError('CORRUPT_BATCH', 'a marker without an epoch');
  return { type, coordinatorEpoch: value.readInt32BE(2) };
}
