import { expect, it } from 'vitest';
import { parseBatchKey, parseSliceName } from '../../src/store/keys.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import type { Database, Store } from '../../src/store/store.ts';
import { append, openOn, topicSpec } from './records.ts';

/** A store whose slices take their time to force a chunk out; `events` has the order of what reaches it. */
function slow(store: Store, events: string[]): Store {
  const watched = (database: Database): Database => ({
    get: (key) => database.get(key),
    scan: (range) => database.scan(range),
    close: () => database.close(),
    batch() {
      const batch = database.batch();
      const chunks = new Set<number>();
      return {
        get byteLength() {
          return batch.byteLength;
        },
        get count() {
          return batch.count;
        },
        put(key, value) {
          chunks.add(parseBatchKey(key)!.chunkId);
          batch.put(key, value);
        },
        del: (key) => batch.del(key),
        discard: () => batch.discard(),
        commit() {
          for (const chunk of chunks) events.push(`chunk ${chunk}`);
          return batch.commit();
        },
      };
    },
    async compact(from, to) {
      events.push('forced');
      // Longer than the next chunks take to fill.
      await new Promise((resolve) => setTimeout(resolve, 20));
      await database.compact(from, to);
    },
  });
  return new Proxy(store, {
    get(target, name) {
      if (name === 'open') {
        return async (...args: Parameters<Store['open']>) => {
          const database = await target.open(...args);
          return parseSliceName(args[0]) === null ? database : watched(database);
        };
      }
      const value = Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

it('a chunk gets the memtable when the one before it has left, however slow the disk is: tables never overlap', async () => {
  const events: string[] = [];
  const store = slow(new MemoryDisk().mount(), events);
  const log = await openOn(store, { writeBufferBytes: 4_000, sliceBytes: 60_000 });
  const topic = await log.createTopic(topicSpec('t', 3));
  for (let i = 0; i < 60; i++)
    await Promise.all(topic.partitions.map((partition) => append(partition, `${i} ${'x'.repeat(200)}`)));
  await log.close();
  // Between two chunks' commits the first of them was forced out, once.
  const order = events.filter((event, i) => event !== events[i - 1] || event === 'forced');
  const chunks = order.filter((event) => event !== 'forced');
  expect(chunks.length).toBeGreaterThan(10);
  expect(new Set(chunks).size).toBe(chunks.length);
  expect(order).toEqual(chunks.flatMap((chunk) => [chunk, 'forced']));
});
