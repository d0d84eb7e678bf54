import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  readCorrelationId,
  readRequestHeader,
} from '../../../src/wire/kafka/message.ts';
import { type Api, type Fields, parseVersions, type Row, ZERO_UUID } from '../../../src/wire/kafka/schema.ts';

const folder = new URL('../../../src/wire/kafka/api/', import.meta.url);
const apis: Api[] = [];
for (const file of readdirSync(folder)) {
  const module = (await import(new URL(file, folder).href)) as Record<string, Api>;
  apis.push(...Object.values(module));
}

const carries = (versions: string | undefined, version: number): boolean => {
  if (versions === undefined) return false;
  const [min, max] = parseVersions(versions);
  return version >= min && version <= max;
};

const uuids = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((value) => Buffer.from(value).toString('hex'));
const ranges = fc.uint8Array({ maxLength: 40 }).map((value) => Buffer.from(value));
const scalars: Record<string, fc.Arbitrary<unknown>> = {
  bool: fc.boolean(),
  int8: fc.integer({ min: -128, max: 127 }),
  int16: fc.integer({ min: -32_768, max: 32_767 }),
  uint16: fc.integer({ min: 0, max: 65_535 }),
  int32: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  int64: fc.maxSafeInteger(),
  float64: fc.double({ noNaN: true }),
  string: fc.string({ unit: 'grapheme', maxLength: 12 }),
  uuid: uuids,
  bytes: ranges,
  records: ranges,
};

function arbitraryOf(row: Row, version: number): fc.Arbitrary<unknown> {
  let value: fc.Arbitrary<unknown>;
  if (row.type === 'array') {
    const element = row.fields === undefined ? arbitraryOf(row.element!, version) : structOf(row.fields, version);
    value = fc.array(element, { maxLength: 3 });
  } else if (row.type === 'struct') value = structOf(row.fields!, version);
  else value = scalars[row.type]!;
  return carries(row.options.nullable, version) ? fc.option(value, { nil: null, freq: 4 }) : value;
}

/** Objects with every field the version carries; the others are left out. */
function structOf(fields: Fields, version: number): fc.Arbitrary<Record<string, unknown>> {
  const model: Record<string, fc.Arbitrary<unknown>> = {};
  for (const [name, row] of Object.entries(fields)) {
    if (carries(row.versions, version)) model[name] = arbitraryOf(row, version);
  }
  return fc.record(model);
}

const empties: Record<string, unknown> = {
  bool: false,
  string: '',
  uuid: ZERO_UUID,
  array: [],
  bytes: Buffer.alloc(0),
};

/** What decoding must give for `value`: the same, with the fields the version does not carry filled in. */
function completed(fields: Fields, value: Record<string, unknown>, version: number): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, row] of Object.entries(fields)) {
    const inner = value[name];
    const fill = (one: unknown): unknown =>
      row.fields === undefined || one === null ? one : completed(row.fields, one as Record<string, unknown>, version);
    if (inner === undefined) {
      if (row.options.default !== undefined) result[name] = row.options.default;
      else result[name] = row.type === 'struct' ? completed(row.fields!, {}, version) : (empties[row.type] ?? 0);
    } else result[name] = row.type === 'array' && inner !== null ? (inner as unknown[]).map(fill) : fill(inner);
  }
  return result;
}

function checkRows(fields: Fields, range: readonly [number, number], path: string): void {
  for (const [name, row] of Object.entries(fields)) {
    const [min, max] = parseVersions(row.versions);
    const covers = min <= range[0] && max >= range[1];
    const hasDefault = row.options.default !== undefined || row.type === 'struct';
    expect(covers || hasDefault, `${path}.${name} is not in every version and needs a default`).toBe(true);
    if (row.fields !== undefined) {
      checkRows(row.fields, [Math.max(min, range[0]), Math.min(max, range[1])], `${path}.${name}`);
    }
  }
}

test('every API key is described once', () => {
  expect(new Set(apis.map((api) => api.key)).size).toBe(apis.length);
  expect(apis.length).toBeGreaterThanOrEqual(46);
});

describe.each(apis.map((api) => [api.name, api] as const))('%s', (_name, api) => {
  test('has a default on every row that some version does not carry', () => {
    checkRows(api.request, api.range, 'request');
    checkRows(api.response, api.range, 'response');
  });

  for (let version = api.range[0]; version <= api.range[1]; version++) {
    test(`version ${version} requests and responses survive encoding and decoding`, () => {
      fc.assert(
        fc.property(
          structOf(api.request, version),
          structOf(api.response, version),
          scalars['int32']!,
          fc.option(fc.string({ maxLength: 8 }), { nil: null }),
          (request, response, correlation, clientId) => {
            const correlationId = correlation as number;
            const sent = Buffer.concat(encodeRequest(api, version, correlationId, clientId, request));
            expect(sent.readInt32BE(0)).toBe(sent.length - 4);
            expect(readRequestHeader(sent.subarray(4))).toEqual({
              apiKey: api.key,
              apiVersion: version,
              correlationId,
            });
            const decoded = decodeRequest(api, version, sent.subarray(4));
            expect(decoded.clientId).toBe(clientId);
            expect(decoded.body).toEqual(completed(api.request, request, version));
            const answered = Buffer.concat(encodeResponse(api, version, correlationId, response));
            expect(answered.readInt32BE(0)).toBe(answered.length - 4);
            expect(readCorrelationId(answered.subarray(4))).toBe(correlationId);
            expect(decodeResponse(api, version, answered.subarray(4))).toEqual(
              completed(api.response, response, version),
            );
          },
        ),
        { numRuns: 12 },
      );
    });
  }
});
