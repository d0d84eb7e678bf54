import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { describe, expect, it } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import { HeadwaterError } from '../../src/errors.ts';
import { resolveTopicConfig } from '../../src/log/topic-config.ts';
import type { Appended, Log, Topic } from '../../src/log/types.ts';
import { Appender } from '../../src/sources/appender.ts';

const RECORD = { key: null, value: Buffer.from('a line'), headers: [], timestamp: 1_700_000_000_000 };

/** An appender to a log of which only what it uses is there. */
function appender(appendBatch: (done: Appended) => void, queue = { bytes: 0, whenDrained: (_: () => void) => {} }) {
  const log = {
    get queuedBytes() {
      return queue.bytes;
    },
    whenDrained: (task: () => void) => queue.whenDrained(task),
  } as unknown as Log;
  const partition = { appendBatch: (_: Uint8Array, _options: object, done: Appended) => appendBatch(done) };
  const topic = { config: resolveTopicConfig(new Map()), partitions: [partition] } as unknown as Topic;
  const stopping = new AbortController();
  const one = new Appender(log, systemEnv.clock, 1, stopping.signal);
  let acknowledged = 0;
  return {
    stopping,
    append: () =>
      one.append(topic, 0, [RECORD], {
        producerId: 1,
        sequence: acknowledged,
        acknowledged: (count) => {
          acknowledged += count;
        },
      }),
    acknowledged: () => acknowledged,
  };
}

describe('an appender', () => {
  it('leaves nothing in memory of what is stored, however much that was', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const { append, acknowledged } = appender((done) => done(null, 0));
    const times = 20_000;
    const some = async () => {
      for (let n = 0; n < times; n++) await append();
      collect();
      return process.memoryUsage().heapUsed;
    };
    await some();
    const before = await some();
    const grown = ((await some()) - before) / times;
    expect(acknowledged()).toBe(3 * times);
    expect(grown).toBeLessThan(50);
  });

  it('ends when the source stops, also while it waits for replicas or for the queue', async () => {
    const stopped = new HeadwaterError('SHUTTING_DOWN', 'the source is stopped');
    const replicas = appender(() => {});
    const queue = appender((done) => done(null, 0), { bytes: Number.MAX_SAFE_INTEGER, whenDrained: () => {} });
    for (const { append, stopping, acknowledged } of [replicas, queue]) {
      const waiting = append();
      stopping.abort(stopped);
      await expect(waiting).rejects.toBe(stopped);
      // Stopped is stopped, for what comes later as well.
      await expect(append()).rejects.toBe(stopped);
      expect(acknowledged()).toBe(0);
    }
  });

  it('goes on when the queue has room, and says what the log refused', async () => {
    const queue = { bytes: Number.MAX_SAFE_INTEGER, whenDrained: (task: () => void) => setImmediate(task) };
    const { append, acknowledged } = appender((done) => done(null, 0), queue);
    await append();
    expect(acknowledged()).toBe(1);
    const refused = new HeadwaterError('DISK_FULL', 'no space');
    await expect(appender((done) => done(refused, -1)).append()).rejects.toBe(refused);
  });
});
