import { beforeEach, describe, expect, it } from 'vitest';
import { MemoryDisk } from '../../src/store/memory.ts';
import { seededRandom } from '../support/virtual-env.ts';
import { type Producer, TxnBench } from './harness.ts';

let bench: TxnBench;
let producer: Producer;

beforeEach(async () => {
  bench = await new TxnBench().start();
  producer = await bench.producer('tx');
});

const partition = (index = 0) => bench.log.topic('t')!.partitions[index]!;
const committedOffset = () => bench.groups.offsets.fetch('g', 't', [0], false)[0]!.offset;

describe('InitProducerId', () => {
  it('without a transactional id gives a fresh id with epoch 0 each time, also after restarts', async () => {
    const ids = new Set<number>();
    for (let i = 0; i < 6; i++) {
      const { producerId, epoch } = await bench.settled(bench.transactions.initProducerId(null, 0, null));
      expect(epoch).toBe(0);
      ids.add(producerId);
      if (i % 2 === 1) await bench.restart();
    }
    expect(ids.size).toBe(6);
    expect(ids.has(producer.identity.producerId)).toBe(false);
  });

  it('again keeps the id and raises the epoch, across a restart too', async () => {
    await bench.restart();
    const again = await bench.producer('tx');
    expect(again.identity).toEqual({ ...producer.identity, epoch: producer.identity.epoch + 1 });
  });

  it.each([
    ['', 60_000, 42],
    ['tx', 0, 50],
    ['tx', -1, 50],
    ['tx', 900_001, 50],
    ['tx', 900_000, 0],
  ])('of %j with a timeout of %i ms answers %i', async (id, timeoutMs, error) => {
    expect((await bench.init(id, null, timeoutMs)).error).toBe(error);
  });

  it('while a transaction is open aborts it, says CONCURRENT_TRANSACTIONS, and fences the old producer', async () => {
    await producer.add(0);
    expect(await producer.send(0, 'lost')).toBe(0);
    expect((await bench.init('tx')).error).toBe(51);
    const next = await bench.producer('tx');
    expect(next.identity.epoch).toBe(producer.identity.epoch + 2);
    expect(await producer.send(0, 'zombie')).toBe(47);
    expect(await producer.add(0)).toBe(90);
    expect(await producer.end(true)).toBe(90);
    expect(await bench.readCommitted(0)).toEqual([]);
    expect(partition().lastStableOffset).toBe(partition().logEndOffset);
  });
});

describe('a transaction', () => {
  it('is invisible to read_committed until it commits', async () => {
    await producer.add(0, 1);
    await producer.send(0, 'a');
    await producer.send(1, 'b');
    expect(partition().highWatermark).toBe(1);
    expect(partition().lastStableOffset).toBe(0);
    expect(await bench.readCommitted(0)).toEqual([]);
    expect(await producer.end(true)).toBe(0);
    expect(await bench.readCommitted(0)).toEqual(['a']);
    expect(await bench.readCommitted(1)).toEqual(['b']);
    expect(partition().logEndOffset).toBe(2); // the marker takes an offset
  });

  it('that aborts is never seen, and its marker names it', async () => {
    await producer.add(0);
    await producer.send(0, 'a');
    expect(await producer.end(false)).toBe(0);
    expect(await bench.readCommitted(0)).toEqual([]);
    expect(partition().abortedTransactions(0, 10)).toEqual([
      { producerId: producer.identity.producerId, firstOffset: 0, lastOffset: 1 },
    ]);
  });

  it('follows another of the same producer at once', async () => {
    for (let i = 0; i < 5; i++) {
      expect(await producer.add(0)).toBe(0);
      expect(await producer.send(0, `v${i}`)).toBe(0);
      expect(await producer.end(i % 2 === 0)).toBe(0);
    }
    expect(await bench.readCommitted(0)).toEqual(['v0', 'v2', 'v4']);
  });

  it('refuses what was not added with INVALID_TXN_STATE', async () => {
    expect(await producer.send(0, 'a')).toBe(48);
    await producer.add(0);
    expect(await producer.send(1, 'a')).toBe(48);
    expect(await producer.commitOffset('g', 0, 1)).toBe(48);
    expect(partition(1).logEndOffset).toBe(0);
  });

  it('that is empty cannot end, and may end twice the same way', async () => {
    expect(await producer.end(true)).toBe(48);
    await producer.add(0);
    expect(await producer.end(true)).toBe(0);
    expect(await producer.end(true)).toBe(0);
    expect(await producer.end(false)).toBe(48);
  });

  it('of an unknown id is INVALID_PRODUCER_ID_MAPPING', async () => {
    const nobody = { producerId: 1, epoch: 0 };
    expect(await bench.settled(bench.transactions.end('nobody', nobody, true))).toBe(49);
    expect(await bench.settled(bench.transactions.addGroup('nobody', nobody, 'g'))).toBe(49);
    expect(await bench.settled(bench.transactions.addGroup('', nobody, 'g'))).toBe(42);
    expect(bench.transactions.admits('nobody', 1, 0, partition())).toBe(49);
  });

  it('commits offsets with its records, or not at all', async () => {
    await producer.addGroup('g');
    expect(await producer.commitOffset('g', 0, 5)).toBe(0);
    expect(committedOffset()).toBe(-1);
    await producer.end(false);
    expect(committedOffset()).toBe(-1);
    await producer.addGroup('g');
    await producer.commitOffset('g', 0, 6);
    await producer.end(true);
    expect(committedOffset()).toBe(6);
    await bench.restart();
    expect(committedOffset()).toBe(6);
  });

  it('with a partition of a topic that is deleted meanwhile still ends', async () => {
    await producer.add(0);
    await producer.send(0, 'a');
    await bench.settled(bench.log.deleteTopic('t'));
    expect(await producer.end(true)).toBe(0);
    expect(bench.transactions.describe('tx').value!.state).toBe('CompleteCommit');
  });
});

describe('transaction.timeout.ms', () => {
  it('aborts with a raised epoch', async () => {
    const slow = await bench.producer('slow', 10_000);
    await slow.add(0);
    await slow.send(0, 'late');
    await bench.clock.advance(9_999);
    expect(bench.transactions.describe('slow').value!.state).toBe('Ongoing');
    await bench.clock.advance(1);
    await bench.quiet();
    expect(bench.transactions.describe('slow').value).toMatchObject({
      state: 'CompleteAbort',
      epoch: slow.identity.epoch + 1,
    });
    expect(await slow.end(true)).toBe(90);
    expect(await slow.send(0, 'later')).toBe(47);
    expect(await bench.readCommitted(0)).toEqual([]);
  });

  it('begins with the first partition, and anew after a restart', async () => {
    const slow = await bench.producer('slow', 10_000);
    await bench.clock.advance(9_000);
    await slow.add(0);
    await bench.clock.advance(9_000);
    await slow.add(1);
    await bench.restart();
    await bench.clock.advance(9_999);
    expect(bench.transactions.describe('slow').value!.state).toBe('Ongoing');
    await bench.clock.advance(1);
    await bench.quiet();
    expect(bench.transactions.describe('slow').value!.state).toBe('CompleteAbort');
  });

  it('is not shortened by a wall clock that steps', async () => {
    await producer.add(0);
    bench.clock.setWall(bench.clock.now() + 56 * 365 * 86_400_000);
    await bench.clock.advance(59_999);
    expect(bench.transactions.describe('tx').value!.state).toBe('Ongoing');
  });
});

describe('a restart', () => {
  it('keeps an open transaction open: its producer goes on and commits', async () => {
    await producer.add(0);
    await producer.send(0, 'a');
    await bench.restart();
    expect(await bench.readCommitted(0)).toEqual([]);
    expect(await producer.send(0, 'b')).toBe(0);
    expect(await producer.end(true)).toBe(0);
    expect(await bench.readCommitted(0)).toEqual(['a', 'b']);
  });

  it.each([true, false])(
    'finishes what was prepared (commit: %s), whichever write the power went at',
    async (commit) => {
      for (let at = 1; at <= 6; at++) {
        const disk = new MemoryDisk();
        bench = await new TxnBench({}, disk).start();
        producer = await bench.producer('tx');
        await producer.add(0, 1);
        await producer.addGroup('g');
        await producer.send(0, 'a');
        await producer.send(1, 'b');
        await producer.commitOffset('g', 0, 9);
        disk.arm({ kind: 'write', at, code: 'STORE_FAILED' });
        const error = await producer.end(commit);
        const decided = bench.transactions.describe('tx').value!.state !== 'Ongoing';
        expect(error === 0).toBe(decided);
        disk.arm();
        await bench.restart();
        if (!decided) expect(await producer.end(commit)).toBe(0);
        expect(bench.transactions.describe('tx').value!.state).toBe(commit ? 'CompleteCommit' : 'CompleteAbort');
        expect(await bench.readCommitted(0)).toEqual(commit ? ['a'] : []);
        expect(await bench.readCommitted(1)).toEqual(commit ? ['b'] : []);
        expect(committedOffset()).toBe(commit ? 9 : -1);
        expect(bench.groups.offsets.fetch('g', 't', [0], true)[0]!.error).toBe(0);
        for (const one of bench.log.topic('t')!.partitions) expect(one.lastStableOffset).toBe(one.logEndOffset);
      }
    },
  );

  it('is not needed: what could not be stored is tried again a second later', async () => {
    await producer.add(0);
    await producer.send(0, 'a');
    bench.disk.arm({ kind: 'write', at: 2, code: 'DISK_FULL' });
    expect(await producer.end(true)).toBe(0);
    expect(bench.transactions.describe('tx').value!.state).toBe('PrepareCommit');
    expect(await producer.add(0)).toBe(51);
    await bench.clock.advance(1_000);
    await bench.quiet();
    expect(bench.transactions.describe('tx').value!.state).toBe('CompleteCommit');
    expect(await bench.readCommitted(0)).toEqual(['a']);
  });
});

describe('a broker that follows another', () => {
  it('carries out nothing that was open or prepared while it led, neither then nor when it leads again', async () => {
    const other = await bench.producer('open');
    await other.add(1);
    await producer.add(0);
    await producer.addGroup('g');
    await producer.send(0, 'a');
    await producer.commitOffset('g', 0, 9);
    bench.disk.arm({ kind: 'write', at: 2, code: 'DISK_FULL' });
    expect(await producer.end(true)).toBe(0);
    expect(bench.transactions.describe('tx').value!.state).toBe('PrepareCommit');
    const { logEndOffset } = partition();
    for (const follows of [true, false]) {
      bench.follows = follows;
      await bench.restart();
      await bench.clock.advance(3_600_000);
      await bench.quiet();
      expect(bench.transactions.list({ states: [], producerIds: [], longerThanMs: -1, pattern: null })).toMatchObject({
        transactions: [],
      });
      expect(committedOffset()).toBe(-1);
      expect(bench.groups.offsets.fetch('g', 't', [0], true)[0]!.error).toBe(0);
      expect(partition().logEndOffset).toBe(logEndOffset);
    }
    // Nobody who was served in the earlier lead writes any more.
    expect(await producer.send(0, 'zombie')).toBe(49);
    expect((await bench.init('tx')).error).toBe(0);
  });
});

describe('random transactions of three producers with restarts', () => {
  for (let seed = 1; seed <= 8; seed++) {
    it(`show exactly what was committed, in order (seed ${seed})`, async () => {
      const random = seededRandom(seed);
      const pick = (below: number) => Math.floor(random.unit() * below);
      bench = await new TxnBench().start();
      const committed: string[][] = [[], [], []];
      const producers: Producer[] = [];
      for (let i = 0; i < 3; i++) producers.push(await bench.producer(`p${i}`));
      const staged: string[][][] = [0, 1, 2].map(() => [[], [], []]);
      let n = 0;
      for (let step = 0; step < 120; step++) {
        const i = pick(3);
        const p = producers[i]!;
        const index = pick(3);
        const action = pick(12);
        if (action < 8) {
          expect(await p.add(index)).toBe(0);
          const value = `${i}:${n++}`;
          expect(await p.send(index, value)).toBe(0);
          staged[i]![index]!.push(value);
        } else if (action < 10) {
          const commit = pick(2) === 0;
          const open = bench.transactions.describe(`p${i}`).value!.state === 'Ongoing';
          const error = await p.end(commit);
          if (!open) continue;
          expect(error).toBe(0);
          if (commit) for (const [at, values] of staged[i]!.entries()) committed[at]!.push(...values);
          staged[i] = [[], [], []];
        } else if (action === 10) {
          const open = bench.transactions.describe(`p${i}`).value!.state === 'Ongoing';
          if (open) expect((await bench.init(`p${i}`)).error).toBe(51);
          producers[i] = await bench.producer(`p${i}`);
          staged[i] = [[], [], []];
        } else {
          await bench.restart();
        }
      }
      for (const [i, p] of producers.entries()) {
        if (bench.transactions.describe(`p${i}`).value!.state === 'Ongoing') await p.end(false);
      }
      for (let index = 0; index < 3; index++) {
        const seen = await bench.readCommitted(index);
        expect([...seen].sort()).toEqual([...committed[index]!].sort());
        for (let i = 0; i < 3; i++) {
          const mine = (values: string[]) => values.filter((value) => value.startsWith(`${i}:`));
          expect(mine(seen)).toEqual(mine(committed[index]!));
        }
      }
    });
  }
});

describe('what tools ask', () => {
  it('DescribeTransactions shows state, partitions and times', async () => {
    await producer.add(1, 2);
    expect(bench.transactions.describe('tx')).toMatchObject({
      error: 0,
      value: {
        state: 'Ongoing',
        timeoutMs: 60_000,
        startedAt: bench.clock.now(),
        partitions: [{ partition: 1 }, { partition: 2 }],
      },
    });
    expect(bench.transactions.describe('nobody').error).toBe(105);
    expect(bench.transactions.describe('').error).toBe(42);
  });

  it('ListTransactions filters by state, producer, duration and pattern', async () => {
    await producer.add(0);
    const other = await bench.producer('other');
    const ask = (changes: object) =>
      bench.transactions
        .list({ states: [], producerIds: [], longerThanMs: -1, pattern: null, ...changes })
        .transactions.map(({ transactionalId }) => transactionalId);
    expect(ask({})).toEqual(['tx', 'other']);
    expect(ask({ states: ['Ongoing'] })).toEqual(['tx']);
    expect(ask({ producerIds: [other.identity.producerId] })).toEqual(['other']);
    expect(ask({ longerThanMs: 0 })).toEqual([]);
    await bench.clock.advance(1_000);
    expect(ask({ longerThanMs: 500 })).toEqual(['tx']);
    expect(ask({ pattern: 'o.*' })).toEqual(['other']);
    const bad = bench.transactions.list({ states: ['Odd'], producerIds: [], longerThanMs: -1, pattern: '(a+)+' });
    expect(bad).toMatchObject({ error: 128, unknownStates: ['Odd'] });
  });

  it('DescribeProducers shows where the open transaction began', async () => {
    await producer.add(0);
    await producer.send(0, 'a');
    const [active] = partition().activeProducers();
    expect(active).toMatchObject({
      producerId: producer.identity.producerId,
      lastSequence: 0,
      transactionStartOffset: 0,
    });
    await producer.end(true);
    expect(partition().activeProducers()[0]!.transactionStartOffset).toBe(-1);
  });
});

describe('an idle transactional id', () => {
  it('ages from when it was truly used, when the clock was stepped since', async () => {
    await bench.producer('stepped');
    bench.early = 10 * 86_400_000;
    bench.clock.setWall(bench.clock.now() + bench.early);
    await bench.clock.advance(3_600_000);
    await bench.quiet();
    expect(bench.transactions.describe('stepped').error).toBe(0);
  });

  it('is forgotten after transactional.id.expiration.ms, only on trusted time', async () => {
    bench.trusted = false;
    await bench.producer('unstamped');
    await bench.clock.advance(8 * 86_400_000);
    expect(bench.transactions.describe('tx').error).toBe(0);
    bench.trusted = true;
    await bench.clock.advance(3_600_000);
    await bench.quiet();
    expect(bench.transactions.describe('tx').error).toBe(105);
    expect(bench.transactions.describe('unstamped').error).toBe(0);
    await bench.restart();
    expect(bench.transactions.describe('tx').error).toBe(105);
  });
});
