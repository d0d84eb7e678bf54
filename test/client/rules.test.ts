import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { assignRange } from '../../src/client/assignor.ts';
import { FrameReader } from '../../src/client/frames.ts';
import { parseAddresses } from '../../src/client/host.ts';

describe('FrameReader', () => {
  it('gives the same frames however the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 50 })),
        fc.array(fc.integer({ min: 1, max: 40 })),
        (frames, cuts) => {
          const stream = Buffer.concat(
            frames.flatMap((frame) => {
              const size = Buffer.alloc(4);
              size.writeInt32BE(frame.length);
              return [size, Buffer.from(frame)];
            }),
          );
          const reader = new FrameReader(100);
          const found: string[] = [];
          let at = 0;
          for (let cut = 0; at < stream.length; cut++) {
            const next = Math.min(stream.length, at + (cuts[cut % cuts.length] ?? 7));
            reader.push(stream.subarray(at, next), (frame) => found.push(frame.toString('hex')));
            at = next;
          }
          expect(found).toEqual(frames.map((frame) => Buffer.from(frame).toString('hex')));
        },
      ),
    );
  });

  it('refuses a size above its bound, or below zero, before the bytes come', () => {
    for (const size of [101, -1, 2 ** 31 - 1]) {
      const head = Buffer.alloc(4);
      head.writeInt32BE(size);
      expect(() => new FrameReader(100).push(head, () => {})).toThrow(`a frame of ${size} bytes`);
    }
  });
});

describe('addresses', () => {
  it('are host:port, with 9092 by default and brackets for IPv6', () => {
    expect(parseAddresses(' a:1, b ,[::1]:5')).toEqual([
      { host: 'a', port: 1 },
      { host: 'b', port: 9092 },
      { host: '::1', port: 5 },
    ]);
  });

  it.each(['a:0', 'a:70000', 'a:b', '', ' , ', 'http://x:1'])('"%s" is refused', (text) => {
    expect(() => parseAddresses(text)).toThrow('bootstrap.servers');
  });
});

describe('the range assignor', () => {
  const member = (memberId: string, topics: string[], instanceId: string | null = null) => ({
    memberId,
    topics,
    instanceId,
  });

  it('gives consecutive partitions, the first members one more, as the Java client does', () => {
    const assigned = assignRange([member('c2', ['t']), member('c1', ['t'])], new Map([['t', [0, 1, 2, 3, 4]]]));
    expect(assigned.get('c1')).toEqual([{ topic: 't', partitions: [0, 1, 2] }]);
    expect(assigned.get('c2')).toEqual([{ topic: 't', partitions: [3, 4] }]);
  });

  it('puts static members first and leaves out who did not subscribe', () => {
    const members = [member('a', ['t', 'u']), member('z', ['t'], 'instance-1')];
    const assigned = assignRange(
      members,
      new Map([
        ['t', [0, 1]],
        ['u', [0]],
      ]),
    );
    expect(assigned.get('z')).toEqual([{ topic: 't', partitions: [0] }]);
    expect(assigned.get('a')).toEqual([
      { topic: 't', partitions: [1] },
      { topic: 'u', partitions: [0] },
    ]);
  });

  it('gives every partition to exactly one member', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 0, max: 40 }), (count, partitions) => {
        const all = Array.from({ length: partitions }, (_, index) => index);
        const members = Array.from({ length: count }, (_, index) => member(`m${index}`, ['t']));
        const given = [...assignRange(members, new Map([['t', all]])).values()].flat();
        expect(given.flatMap((one) => one.partitions).sort((a, b) => a - b)).toEqual(all);
      }),
    );
  });
});
