/**
 * Whole messages: frame size, header and body, both directions. A header is v1/v0 before an API's first flexible version and v2/v1
 * from it on, except that ApiVersions responses always bear header v0 (KIP-511): a client does not know yet what the server speaks.
 */
import { HeadwaterError } from '../../errors.ts';
import { Reader } from '../bytes/reader.ts';
import { Writer } from '../bytes/writer.ts';
import { type Codec, compileStruct, nullableString } from './codec.ts';
import type { Api, RequestInput, RequestOf, ResponseInput, ResponseOf } from './schema.ts';

const API_VERSIONS_KEY = 18;

interface Compiled {
  readonly request: Codec;
  readonly response: Codec;
  readonly flexible: boolean;
  readonly flexibleResponseHeader: boolean;
}

/** Compiled on first use: a broker that only ever sees one client's versions holds only those. */
const compiled = new WeakMap<Api, (Compiled | undefined)[]>();

function compile(api: Api, version: number): Compiled {
  let versions = compiled.get(api);
  if (versions === undefined) {
    versions = [];
    compiled.set(api, versions);
  }
  const known = versions[version];
  if (known !== undefined) return known;
  if (!isSupported(api, version)) {
    throw new HeadwaterError(
      'INVALID_REQUEST',
      `${api.name} version ${version}: supported are ${api.range[0]} to ${api.range[1]}`,
    );
  }
  const flexible = api.flexibleFrom !== null && version >= api.flexibleFrom;
  const made: Compiled = {
    request: compileStruct(api.request, version, flexible),
    response: compileStruct(api.response, version, flexible),
    flexible,
    flexibleResponseHeader: flexible && api.key !== API_VERSIONS_KEY,
  };
  versions[version] = made;
  return made;
}

export function isSupported(api: Api, version: number): boolean {
  return version >= api.range[0] && version <= api.range[1];
}

/** The part of a request header that every version of it begins with. */
export interface RequestHeader {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly correlationId: number;
}

export interface DecodedRequest<A extends Api> {
  readonly clientId: string | null;
  readonly body: RequestOf<A>;
}

/** The first eight bytes of a request (`frame` without its size). */
export function readRequestHeader(frame: Uint8Array): RequestHeader {
  const reader = new Reader(frame);
  return { apiKey: reader.int16(), apiVersion: reader.int16(), correlationId: reader.int32() };
}

function skipTags(reader: Reader): void {
  const count = reader.count(reader.uvarint(), 2);
  for (let i = 0; i < count; i++) {
    reader.uvarint();
    reader.skip(reader.uvarint());
  }
}

/** Decodes a request (`frame` without its size). Surplus bytes are tolerated: librdkafka sends some. */
export function decodeRequest<A extends Api>(api: A, version: number, frame: Uint8Array): DecodedRequest<A> {
  const { request, flexible } = compile(api, version);
  const reader = new Reader(frame, 8);
  const clientId = nullableString.read(reader) as string | null;
  if (flexible) skipTags(reader);
  return { clientId, body: request.read(reader) as RequestOf<A> };
}

/** A request as chunks, its size in front. */
export function encodeRequest<A extends Api>(
  api: A,
  version: number,
  correlationId: number,
  clientId: string | null,
  body: RequestInput<A>,
): Uint8Array[] {
  const { request, flexible } = compile(api, version);
  const writer = new Writer();
  writer.int32(0);
  writer.int16(api.key);
  writer.int16(version);
  writer.int32(correlationId);
  nullableString.write(writer, clientId);
  if (flexible) writer.uvarint(0);
  request.write(writer, body);
  return writer.framed();
}

/** A response as chunks, its size in front. */
export function encodeResponse<A extends Api>(
  api: A,
  version: number,
  correlationId: number,
  body: ResponseInput<A>,
): Uint8Array[] {
  const { response, flexibleResponseHeader } = compile(api, version);
  const writer = new Writer();
  writer.int32(0);
  writer.int32(correlationId);
  if (flexibleResponseHeader) writer.uvarint(0);
  response.write(writer, body);
  return writer.framed();
}

/** The correlation id of a response (`frame` without its size): tells which request's table decodes the rest. */
export function readCorrelationId(frame: Uint8Array): number {
  return new Reader(frame).int32();
}

/** Decodes a response (`frame` without its size). */
export function decodeResponse<A extends Api>(api: A, version: number, frame: Uint8Array): ResponseOf<A> {
  const { response, flexibleResponseHeader } = compile(api, version);
  const reader = new Reader(frame, 4);
  if (flexibleResponseHeader) skipTags(reader);
  return response.read(reader) as ResponseOf<A>;
}
