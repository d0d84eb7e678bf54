import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import type { HeadwaterError } from '../../src/errors.ts';
import { Links } from '../../src/links/links.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { openLog } from '../../src/log/log.ts';
import type { Partition } from '../../src/log/types.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { FakeKafka } from './fake-kafka.ts';
import { DEFAULTS, until } from './harness.ts';

let kafka: FakeKafka;
let log: HeadwaterLog;
let links: Links;

beforeEach(async () => {
  kafka = await FakeKafka.start();
  const metrics = new Metrics();
  log = await openLog({ store: new MemoryDisk().mount(), env: systemEnv, metrics, logger: silentLogger });
  const settings = { ...DEFAULTS, 'bootstrap.servers': [kafka.bootstrap], replicas: 'sync' as const };
  links = new Links(new Map([['cloud', settings]]), {
    env: systemEnv,
    logger: silentLogger,
    metrics,
    log,
    meta: log.meta,
    ledger: log.ledger,
    broker: 'edge',
    priorityOf: () => 4,
    replicaMaxLagMs: 300,
  });
});
afterEach(async () => {
  await links.stop();
  await log.close();
  await kafka.stop();
});

function append(partition: Partition, value: string, acks: 1 | -1): Promise<number> {
  return new Promise((resolve, reject) => {
    const record = { key: null, value: Buffer.from(value), headers: [], timestamp: -1 };
    partition.appendRecord(record, acks, (error: HeadwaterError | null, offset) =>
      error === null ? resolve(offset) : reject(error),
    );
  });
}

describe('a sync link', () => {
  it('is in the ISR once it has caught up; acks=all waits for it, and is refused while it lags', async () => {
    const config = new Map([['min.insync.replicas', '2']]);
    const topic = await log.createTopic({ name: 'alarms', partitions: 1, config });
    const partition = topic.partitions[0]!;
    await append(partition, 'before', 1);
    await expect(append(partition, 'alone', -1)).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' });
    await links.start();
    await until(() => partition.inSyncReplicas.length === 2, 'in the ISR');
    expect(partition.inSyncReplicas).toEqual(partition.replicas);

    expect(await append(partition, 'both', -1)).toBe(1);
    expect(kafka.partition('edge.alarms').values()).toEqual(['before', 'both']);
    expect(partition.highWatermark).toBe(2);

    await kafka.stop();
    expect(await append(partition, 'stored here', 1)).toBe(2);
    expect(partition.highWatermark).toBe(2);
    await until(() => partition.inSyncReplicas.length === 1, 'out of the ISR');
    await expect(append(partition, 'refused', -1)).rejects.toMatchObject({ code: 'NOT_ENOUGH_REPLICAS' });

    await kafka.listen();
    await until(() => partition.inSyncReplicas.length === 2, 'in the ISR again');
    expect(await append(partition, 'again', -1)).toBe(3);
    expect(kafka.partition('edge.alarms').values()).toEqual(['before', 'both', 'stored here', 'again']);
  });
});
