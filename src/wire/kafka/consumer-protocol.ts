/**
 * What members of a group with protocol type `consumer` put into JoinGroup metadata and SyncGroup assignments. The
 * coordinator carries these bytes unread, except to know a group's topics (OffsetDelete, retention of offsets).
 */
import { HeadwaterError } from '../../errors.ts';
import { Reader } from '../bytes/reader.ts';
import { Writer } from '../bytes/writer.ts';
import { type Codec, compileStruct } from './codec.ts';
import { array, arrayOf, bytes, type Decoded, type Encodable, type Fields, int32, string } from './schema.ts';

const VERSION_MAX = 3;

const subscription = {
  topics: arrayOf(string, '0+'),
  userData: bytes('0+', { nullable: '0+', default: null }),
  ownedPartitions: array('1+', { topic: string('1+'), partitions: arrayOf(int32, '1+') }, { default: [] }),
  generationId: int32('2+', { default: -1 }),
  rackId: string('3+', { nullable: '3+', default: null }),
} as const satisfies Fields;

const assignment = {
  assignedPartitions: array('0+', { topic: string('0+'), partitions: arrayOf(int32, '0+') }),
  userData: bytes('0+', { nullable: '0+', default: null }),
} as const satisfies Fields;

export type ConsumerSubscription = Decoded<typeof subscription>;
export type ConsumerAssignment = Decoded<typeof assignment>;

function decode(fields: Fields, data: Uint8Array): unknown {
  const reader = new Reader(data);
  const version = reader.int16();
  if (version < 0) throw new HeadwaterError('MALFORMED', `consumer protocol version ${version}, must be 0 or more`);
  // A newer version only appends fields: what is known of it is read.
  return codecOf(fields, Math.min(version, VERSION_MAX)).read(reader);
}

function encode(fields: Fields, version: number, value: unknown): Buffer {
  const writer = new Writer();
  writer.int16(version);
  codecOf(fields, version).write(writer, value);
  return writer.toBytes();
}

function codecOf(fields: Fields, version: number): Codec {
  return compileStruct(fields, version, false);
}

/** Throws MALFORMED. */
export function decodeSubscription(data: Uint8Array): ConsumerSubscription {
  return decode(subscription, data) as ConsumerSubscription;
}

export function encodeSubscription(value: Encodable<typeof subscription>, version = 1): Buffer {
  return encode(subscription, version, value);
}

/** Throws MALFORMED. */
export function decodeAssignment(data: Uint8Array): ConsumerAssignment {
  return decode(assignment, data) as ConsumerAssignment;
}

export function encodeAssignment(value: Encodable<typeof assignment>, version = 1): Buffer {
  return encode(assignment, version, value);
}
