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
import { type Fields, parseVersions, ZERO_UUID } from '../../../src/wire/kafka/schema.ts';

import { apis } from './apis.ts';
import { structOf } from './arbitrary.ts';

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
          fc.integer(),
          fc.option(fc.string({ maxLength: 8 }), { nil: null }),
          (request, response, correlationId, clientId) => {
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
