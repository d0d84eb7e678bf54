import { beforeEach, describe, expect, it } from 'vitest';
import { QUOTA_CLIENTS_MAX, QUOTAS_MAX } from '../../src/limits.ts';
import { Quotas } from '../../src/quotas/quotas.ts';
import { META_DATABASE } from '../../src/store/keys.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { GroupCommitMetaStore } from '../../src/store/meta-store.ts';
import { VirtualClock } from '../support/virtual-env.ts';

let disk: MemoryDisk;
let clock: VirtualClock;

async function open(): Promise<Quotas> {
  const store = disk.mount();
  const meta = () => store.open(META_DATABASE, {});
  return Quotas.open(new GroupCommitMetaStore(await meta(), meta), clock);
}

beforeEach(() => {
  disk = new MemoryDisk();
  clock = new VirtualClock();
});

const rate = (value: number | null) => new Map([['producer_byte_rate', value]]);
const now = { validateOnly: false };

describe('client quotas', () => {
  it('bind nobody until there is one', async () => {
    const quotas = await open();
    expect(quotas.active).toBe(false);
    expect(quotas.charge('producer_byte_rate', 'u', 'c', 1e9)).toBe(0);
    await quotas.alter({ clientId: 'other' }, rate(1_000), now);
    expect(quotas.active).toBe(true);
    expect(quotas.charge('producer_byte_rate', 'u', 'c', 1e9)).toBe(0);
    expect(quotas.rateOf('producer_byte_rate', 'u', 'c')).toBe(Number.POSITIVE_INFINITY);
  });

  it('of a user are shared by its clients, those of a default are each their own', async () => {
    const quotas = await open();
    await quotas.alter({ user: 'u' }, rate(1_000), now);
    await quotas.alter({ clientId: null }, rate(1_000), now);
    expect(quotas.charge('producer_byte_rate', 'u', 'a', 1_000)).toBe(0);
    expect(quotas.charge('producer_byte_rate', 'u', 'b', 500)).toBe(500);
    expect(quotas.charge('producer_byte_rate', 'v', 'a', 1_000)).toBe(0);
    expect(quotas.charge('producer_byte_rate', 'v', 'b', 1_000)).toBe(0);
    expect(quotas.charge('producer_byte_rate', 'w', 'a', 100)).toBe(100);
    expect(quotas.charge('consumer_byte_rate', 'u', 'a', 1e9)).toBe(0);
  });

  it('come in with the clock', async () => {
    const quotas = await open();
    await quotas.alter({ clientId: 'c' }, rate(1_000), now);
    expect(quotas.charge('producer_byte_rate', 'u', 'c', 3_000)).toBe(2_000);
    await clock.advance(1_500);
    expect(quotas.charge('producer_byte_rate', 'u', 'c', 0)).toBe(500);
  });

  it('outlive the process, and a removed one does not come back', async () => {
    const quotas = await open();
    await quotas.alter(
      { user: 'u', clientId: null },
      new Map([
        ['consumer_byte_rate', 5],
        ['producer_byte_rate', 7],
      ]),
      now,
    );
    await quotas.alter({ user: '*' }, rate(9), now);
    await quotas.alter({ clientId: 'gone' }, rate(9), now);
    await quotas.alter({ clientId: 'gone' }, rate(null), now);
    disk.crash();
    const again = await open();
    expect([...again.all()].map(({ entity, rates }) => [entity, Object.fromEntries(rates)])).toEqual([
      [{ user: '*' }, { producer_byte_rate: 9 }],
      [
        { user: 'u', clientId: null },
        { consumer_byte_rate: 5, producer_byte_rate: 7 },
      ],
    ]);
  });

  it('that are only validated are not kept', async () => {
    const quotas = await open();
    await quotas.alter({ user: 'u' }, rate(5), { validateOnly: true });
    expect(quotas.active).toBe(false);
  });

  it.each([
    [{}, rate(1), 'for a user, a client id or both'],
    [{ user: '' }, rate(1), 'a name of 0 characters'],
    [{ clientId: 'x'.repeat(256) }, rate(1), 'a name of 256 characters'],
    [{ user: 'u' }, rate(0), 'producer_byte_rate: 0 is not a whole number'],
    [{ user: 'u' }, rate(1.5), 'producer_byte_rate: 1.5 is not a whole number'],
    [{ user: 'u' }, rate(Number.NaN), 'producer_byte_rate: NaN is not a whole number'],
    [{ user: 'u' }, new Map([['request_percentage', 5]]), 'there is no quota "request_percentage" here; known: '],
  ])('refuse %j by name', async (entity, changes, message) => {
    const quotas = await open();
    await expect(quotas.alter(entity, changes, now)).rejects.toThrow(message);
    expect(quotas.active).toBe(false);
  });

  it('are a thousand at most; those that are there can be changed', async () => {
    const quotas = await open();
    await Promise.all(Array.from({ length: QUOTAS_MAX }, (_, i) => quotas.alter({ user: `u${i}` }, rate(1), now)));
    await expect(quotas.alter({ user: 'one more' }, rate(1), now)).rejects.toThrow('there are 1000 quotas');
    await quotas.alter({ user: 'u7' }, rate(2), now);
    await quotas.alter({ user: 'u8' }, rate(null), now);
    await quotas.alter({ user: 'one more' }, rate(1), now);
    expect([...quotas.all()]).toHaveLength(QUOTAS_MAX);
  });

  it('remember a bounded number of clients', async () => {
    const quotas = await open();
    await quotas.alter({ clientId: null }, rate(1_000), now);
    expect(quotas.charge('producer_byte_rate', 'u', 'first', 2_000)).toBe(1_000);
    for (let i = 1; i < QUOTA_CLIENTS_MAX; i++) quotas.charge('producer_byte_rate', 'u', `c${i}`, 1);
    expect(quotas.charge('producer_byte_rate', 'u', 'first', 0)).toBe(1_000);
    quotas.charge('producer_byte_rate', 'u', 'one more', 1);
    expect(quotas.charge('producer_byte_rate', 'u', 'first', 0)).toBe(0);
  });
});
