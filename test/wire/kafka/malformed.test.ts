import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HeadwaterError } from '../../../src/errors.ts';
import {
  decodeRequest,
  decodeResponse,
  encodeRequest,
  encodeResponse,
  readRequestHeader,
} from '../../../src/wire/kafka/message.ts';
import { apis } from './apis.ts';
import { structOf } from './arbitrary.ts';

/** Runs `decode`; anything but success or MALFORMED is a bug. */
function survives(decode: () => unknown): void {
  try {
    decode();
  } catch (error) {
    if (!(error instanceof HeadwaterError) || error.code !== 'MALFORMED') throw error;
  }
}

const mutations = fc.array(
  fc.record({ at: fc.nat(), value: fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), width: fc.constantFrom(1, 2, 4) }),
  { minLength: 1, maxLength: 4 },
);

type Mutation = { at: number; value: number; width: number };

function mutated(frame: Buffer, changes: readonly Mutation[], cut: number): Buffer {
  const copy = Buffer.from(frame);
  for (const { at, value, width } of changes) {
    const start = 8 + (at % Math.max(1, copy.length - 8));
    copy.fill(value, start, Math.min(copy.length, start + width));
  }
  return copy.subarray(0, copy.length - (cut % 3 === 0 ? cut % copy.length : 0));
}

describe.each(apis.map((api) => [api.name, api] as const))('%s', (_name, api) => {
  test('mutated and truncated messages decode or are MALFORMED, in every version', () => {
    for (let version = api.range[0]; version <= api.range[1]; version++) {
      fc.assert(
        fc.property(
          structOf(api.request, version),
          structOf(api.response, version),
          mutations,
          fc.nat({ max: 60 }),
          (request, response, changes, cut) => {
            const sent = Buffer.concat(encodeRequest(api, version, 1, 'c', request)).subarray(4);
            survives(() => decodeRequest(api, version, mutated(sent, changes, cut)));
            const answered = Buffer.concat(encodeResponse(api, version, 1, response)).subarray(4);
            survives(() => decodeResponse(api, version, mutated(answered, changes, cut)));
          },
        ),
        { numRuns: 25 },
      );
    }
  });

  test('random bytes decode or are MALFORMED', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        survives(() => readRequestHeader(bytes));
        for (let version = api.range[0]; version <= api.range[1]; version++) {
          survives(() => decodeRequest(api, version, bytes));
          survives(() => decodeResponse(api, version, bytes));
        }
      }),
      { numRuns: 40 },
    );
  });
});

test('the elements of a whole message are bounded, so that a frame cannot multiply in memory', () => {
  const metadata = apis.find((api) => api.name === 'Metadata')!;
  // Non-flexible: an empty topic name takes two bytes, the object for it a hundred.
  const frame = Buffer.alloc(10 + 4 + 2 * 1_000_000);
  frame.writeInt16BE(-1, 8);
  frame.writeInt32BE(1_000_000, 10);
  expect(() => decodeRequest(metadata, 1, frame)).toThrow(expect.objectContaining({ code: 'MALFORMED' }));
});

test('a tag that comes twice, out of order or with a wrong size is MALFORMED', () => {
  const apiVersions = apis.find((api) => api.name === 'ApiVersions')!;
  // Header with clientId null and no tags, name "a", version "b", then the tag section under test.
  const withTags = (...tags: number[]): Buffer =>
    Buffer.from([0, 18, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0, 2, 0x61, 2, 0x62, ...tags]);
  expect(decodeRequest(apiVersions, 3, withTags(1, 5, 2, 0, 0)).body).toMatchObject({ clientSoftwareName: 'a' });
  for (const tags of [[2, 5, 0, 5, 0], [2, 5, 0, 4, 0], [1, 5, 9, 0], [200], [1]]) {
    expect(() => decodeRequest(apiVersions, 3, withTags(...tags))).toThrow(
      expect.objectContaining({ code: 'MALFORMED' }),
    );
  }
});
