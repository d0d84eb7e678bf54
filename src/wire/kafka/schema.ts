/**
 * The language of the message tables: one row per field, in wire order: name, type, the versions that carry it, the
 * versions in which it may be null, the versions in which it is a tagged field (KIP-482) and its default. The TypeScript
 * types are inferred from the rows; codec.ts compiles encoders and decoders from them.
 */

/** `3`, `3-7` or `3+`. */
export type Versions = string;

export type WireType =
  | 'bool'
  | 'int8'
  | 'int16'
  | 'uint16'
  | 'int32'
  | 'int64'
  | 'float64'
  | 'string'
  | 'uuid'
  | 'bytes'
  | 'records'
  | 'array'
  | 'struct';

/** A default is required on every row that some version of its surrounding struct does not carry. */
export interface Options<Value> {
  readonly nullable?: Versions;
  readonly tagged?: readonly [versions: Versions, tag: number];
  readonly default?: Value | null;
}

/** `Out` is what decoding gives, `In` what encoding takes; `Optional`: the encoder fills in the default. */
export interface Row<Out = unknown, In = unknown, Optional extends boolean = boolean> {
  readonly type: WireType;
  readonly versions: Versions;
  readonly options: Options<unknown>;
  /** The fields of a struct or of an array's structs. */
  readonly fields?: Fields;
  /** The type of an array's elements. */
  readonly element?: Row;
  /** Types only; never there. */
  readonly phantom?: { readonly out: Out; readonly in: In; readonly optional: Optional };
}

export type Fields = { readonly [name: string]: Row };

type OutOf<R> = R extends Row<infer Out, unknown, boolean> ? Out : never;
type InOf<R> = R extends Row<unknown, infer In, boolean> ? In : never;
type OptionalKeys<F extends Fields> = {
  [K in keyof F]: F[K] extends Row<unknown, unknown, infer Optional> ? (Optional extends true ? K : never) : never;
}[keyof F];

/** What the decoder gives: every field is there, those the version does not carry with their default. */
export type Decoded<F extends Fields> = { -readonly [K in keyof F]: OutOf<F[K]> };
/** What the encoder takes: fields with a default may be left out. */
export type Encodable<F extends Fields> = {
  readonly [K in Exclude<keyof F, OptionalKeys<F>>]: InOf<F[K]>;
} & { readonly [K in OptionalKeys<F>]?: InOf<F[K]> | undefined };

type OrNull<O, T> = O extends { readonly nullable: string } ? T | null : T;
type HasDefault<O> = O extends { readonly default: unknown }
  ? true
  : O extends { readonly tagged: unknown }
    ? true
    : false;
type Scalar<O, Out, In = Out> = Row<OrNull<O, Out>, OrNull<O, In>, HasDefault<O>>;

type Declare<Out, In = Out> = <const O extends Options<Out> = Record<never, never>>(
  versions: Versions,
  options?: O,
) => Scalar<O, Out, In>;

const scalar =
  <Out, In = Out>(type: WireType): Declare<Out, In> =>
  (versions, options) => ({ type, versions, options: options ?? {} });

export const bool = scalar<boolean>('bool');
export const int8 = scalar<number>('int8');
export const int16 = scalar<number>('int16');
export const uint16 = scalar<number>('uint16');
export const int32 = scalar<number>('int32');
/** As a JS number: exact up to 2^53. */
export const int64 = scalar<number>('int64');
export const float64 = scalar<number>('float64');
export const string = scalar<string>('string');
/** 32 hex digits. */
export const uuid = scalar<string>('uuid');
export const bytes = scalar<Uint8Array>('bytes');
/** Record batches: decoded as one view of the frame; encoded from one range or a list of them, without copying. */
export const records = scalar<Uint8Array, Uint8Array | readonly Uint8Array[]>('records');

/** An array of scalars. */
export function arrayOf<Out, In, const O extends Options<readonly Out[]> = Record<never, never>>(
  element: Declare<Out, In>,
  versions: Versions,
  options?: O,
): Scalar<O, Out[], readonly In[]> {
  return { type: 'array', versions, options: options ?? {}, element: element('0+') as Row };
}

/** An array of structs. */
export function array<F extends Fields, const O extends Options<readonly never[]> = Record<never, never>>(
  versions: Versions,
  fields: F,
  options?: O,
): Scalar<O, Decoded<F>[], readonly Encodable<F>[]> {
  return { type: 'array', versions, options: options ?? {}, fields };
}

export function struct<F extends Fields, const O extends Options<never> = Record<never, never>>(
  versions: Versions,
  fields: F,
  options?: O,
): Scalar<O, Decoded<F>, Encodable<F>> {
  return { type: 'struct', versions, options: options ?? {}, fields };
}

/** One API: its key, the versions served, and the two tables. */
export interface Api<Request extends Fields = Fields, Response extends Fields = Fields> {
  readonly key: number;
  readonly name: string;
  /** Versions that are decoded and encoded, both ends inclusive. */
  readonly range: readonly [min: number, max: number];
  /** What ApiVersions says; differs from `range` only for Produce (KAFKA-18659). */
  readonly advertise: readonly [min: number, max: number];
  /** First version with compact lengths and tagged fields (KIP-482); null: never. */
  readonly flexibleFrom: number | null;
  readonly request: Request;
  readonly response: Response;
}

export function api<Request extends Fields, Response extends Fields>(
  definition: Api<Request, Response>,
): Api<Request, Response> {
  return definition;
}

export type RequestOf<A extends Api> = Decoded<A['request']>;
export type ResponseOf<A extends Api> = Decoded<A['response']>;
export type RequestInput<A extends Api> = Encodable<A['request']>;
export type ResponseInput<A extends Api> = Encodable<A['response']>;

/** The topic id that means "none". */
export const ZERO_UUID = '00000000000000000000000000000000';

/** `3`, `3-7`, `3+` as numbers. */
export function parseVersions(versions: Versions): readonly [min: number, max: number] {
  const match = /^(\d+)(?:-(\d+)|(\+))?$/.exec(versions);
  if (match === null) throw new TypeError(`"${versions}" is not a version range`);
  const min = Number(match[1]);
  return [min, match[3] === '+' ? Number.POSITIVE_INFINITY : Number(match[2] ?? match[1])];
}
