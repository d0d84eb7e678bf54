import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from './crc32c.ts';
import type { Frame } from './frames.ts';
import { decodeBody, encodeBody, encodeFrame, FrameReader, MAX_BODY, open, seal } from './frames.ts';

/** Written by the C library: device/test/golden.c. */
const golden = JSON.parse(readFileSync(new URL('../golden/golden.json', import.meta.url), 'utf8')) as Record<
  string,
  string
>;
const bytes = (name: string): Buffer => Buffer.from(golden[name]!, 'hex');

const stamp = { boot: 1, ticks: 0x0123456789ab };
const FRAMES: Record<string, Frame> = {
  hello: {
    type: 'hello',
    version: 1,
    epoch: 0xcafe0001,
    acked: 0,
    next: 2,
    now: stamp,
    ticksPerSecond: 32768,
    maxCommand: 64,
    id: 'dev-1',
    kind: 'thermometer',
  },
  welcome: { type: 'welcome', version: 1, epoch: 0xcafe0001, last: 0, window: 64, time: 1767225600000 },
  data: { type: 'data', back: 0, sequence: 1, stamp, record: bytes('record') },
  ping: { type: 'ping', token: 7 },
  pong: { type: 'pong', token: 7, now: stamp },
  command: { type: 'command', id: 258, payload: Buffer.from('led on') },
  result: { type: 'result', id: 258, status: 3 },
  ack: { type: 'ack', epoch: 0xcafe0001, acked: 1, received: 1, window: 64 },
  who: { type: 'who', version: 1 },
};

function readAll(chunks: readonly Uint8Array[]): { frames: Frame[]; bad: number } {
  const frames: Frame[] = [];
  const reader = new FrameReader((frame) => frames.push(structuredClone(frame)));
  for (const chunk of chunks) reader.push(chunk);
  return { frames, bad: reader.bad };
}

describe('frames', () => {
  it.each(Object.keys(FRAMES))('%s is the same bytes as the C library sends or takes', (name) => {
    expect(encodeFrame(FRAMES[name]!).toString('hex')).toBe(golden[name]);
    const body = open(bytes(name).subarray(0, -1))!;
    const frame = decodeBody(body)!;
    const plain = (value: Frame): object => JSON.parse(JSON.stringify(value));
    expect(plain(frame)).toEqual(plain(FRAMES[name]!));
  });

  it('CRC-32C has the check value of its definition', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  it('any body survives the line in any pieces, between noise', () => {
    const body = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: MAX_BODY }),
      fc.integer({ min: 1, max: MAX_BODY }).map((size) => new Uint8Array(size)),
      fc.integer({ min: 1, max: MAX_BODY }).map((size) => new Uint8Array(size).fill(255)),
    );
    fc.assert(
      fc.property(body, (given) => {
        const frame = seal(given);
        expect(frame.length).toBe(given.length + 6);
        expect(frame.indexOf(0)).toBe(frame.length - 1);
        expect(open(Buffer.from(frame.subarray(0, -1)))).toEqual(Buffer.from(given));
      }),
    );
  });

  it('a bad byte costs one frame', () => {
    const sent = encodeFrame(FRAMES['ack']!);
    for (let at = 0; at < sent.length; at++) {
      for (const value of [0, sent[at]! ^ 1, 0xff]) {
        if (value === sent[at]) continue;
        const broken = Buffer.from(sent);
        broken[at] = value;
        const { frames } = readAll([sent, broken, Buffer.from([0]), sent]);
        expect(frames.filter((frame) => frame.type === 'ack').length).toBe(2);
      }
    }
  });

  it('a stream without an end is dropped up to its zero, without being kept', () => {
    const { frames, bad } = readAll([Buffer.alloc(100_000, 1), Buffer.from([0]), encodeFrame(FRAMES['ping']!)]);
    expect(bad).toBe(1);
    expect(frames.map((frame) => frame.type)).toEqual(['ping']);
  });

  it('noise never throws', () => {
    fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), (chunks) => void readAll(chunks)));
    fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: MAX_BODY }), (body) => void decodeBody(body)));
  });

  it('a body beyond 250 bytes is refused', () => {
    expect(() => encodeBody({ type: 'command', id: 1, payload: Buffer.alloc(246) })).toThrow(RangeError);
  });
});
