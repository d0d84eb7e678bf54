import { describe, expect, it } from 'vitest';
import { HeadwaterError } from '../../src/errors.ts';
import type { Appended, Log } from '../../src/log/types.ts';
import { appendMarkers } from '../../src/transactions/markers.ts';
import { newTransaction, type TxnValue } from '../../src/transactions/step.ts';
import { decodeMarker } from '../../src/wire/batch/control-batch.ts';
import { producerEpochOf, producerIdOf, validateBatch } from '../../src/wire/batch/record-batch.ts';
import { turns, VirtualClock } from '../support/virtual-env.ts';

const value: TxnValue = { ...newTransaction(7, 1_000), state: 'PrepareCommit', epoch: 3 };
const named = { topic: 't', topicId: 'id', partition: 0 };

/** A log of one partition that answers each append with the next of `answers` (null: stored). */
function logOf(answers: (HeadwaterError | null)[]) {
  const appended: Uint8Array[] = [];
  const drained: (() => void)[] = [];
  const partition = {
    appendBatch(batch: Uint8Array, options: { origin: string }, done: Appended) {
      expect(options.origin).toBe('coordinator');
      appended.push(batch);
      done(answers.shift() ?? null, 0);
    },
  };
  const topic = (name: string) => (name === 't' ? { id: 'id', partitions: [partition] } : undefined);
  const log = { topic, whenDrained: (task: () => void) => drained.push(task) } as unknown as Log;
  return { log, appended, drained };
}

describe('markers', () => {
  it('are control batches with the id and epoch of the producer', async () => {
    const { log, appended } = logOf([]);
    await appendMarkers(log, new VirtualClock(), value, [named]);
    validateBatch(appended[0]!);
    expect(decodeMarker(appended[0]!)).toEqual({ type: 'commit', coordinatorEpoch: 0 });
    expect([producerIdOf(appended[0]!), producerEpochOf(appended[0]!)]).toEqual([7, 3]);
    await appendMarkers(log, new VirtualClock(), { ...value, state: 'PrepareAbort' }, [named]);
    expect(decodeMarker(appended[1]!)!.type).toBe('abort');
  });

  it('wait while the append queue is full', async () => {
    const { log, appended, drained } = logOf([new HeadwaterError('QUOTA_EXCEEDED', 'full'), null]);
    const done = appendMarkers(log, new VirtualClock(), value, [named]);
    await turns();
    expect([appended.length, drained.length]).toEqual([1, 1]);
    drained[0]!();
    expect(await done).toEqual({ failed: [], error: null });
    expect(appended.length).toBe(2);
  });

  it('that cannot be stored are named, to be tried again', async () => {
    const full = new HeadwaterError('DISK_FULL', 'full');
    expect(await appendMarkers(logOf([full]).log, new VirtualClock(), value, [named])).toEqual({
      failed: [named],
      error: full,
    });
  });

  it('are not needed where the topic is gone, or another of its name is there', async () => {
    const { log, appended } = logOf([new HeadwaterError('UNKNOWN_TOPIC', 'gone')]);
    const gone = [{ ...named, topic: 'u' }, { ...named, topicId: 'older' }, { ...named, partition: 1 }, named];
    expect((await appendMarkers(log, new VirtualClock(), value, gone)).failed).toEqual([]);
    expect(appended.length).toBe(1);
  });
});
