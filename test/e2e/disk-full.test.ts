/**
 * A real broker on a real file system of 64 MB that is filled from outside and by the broker itself. Needs the right to
 * mount one: ext4 in a loop device, otherwise a tmpfs; a visible line says so where neither can be had.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import mqtt, { type MqttClient } from 'mqtt';
import { beforeAll, describe, expect, it } from 'vitest';
import { HEADWATER, TestBroker } from '../support/broker.ts';
import { run as runProgram } from '../support/process.ts';
import { kafkaOf, readTopic } from '../support/readback.ts';
import { atEnd, tempDir } from '../support/scope.ts';
import { eventually, pause } from '../support/wait.ts';

const DISK_BYTES = 64 * 1024 * 1024;
const QUOTA_EXCEEDED = 0x97;
const CONFIG = `
disk.low.bytes: 8MiB
disk.reserve.bytes: 4MiB
topics:
  alarms: {disk.full: reject, priority: 9}
  bulk: {disk.full: drop-oldest, priority: 0}
routes:
  - {mqtt: alarms/#, topic: alarms}
  - {mqtt: bulk/#, topic: bulk}
`;

const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: 'pipe' });

function mountExt4(work: string, place: string): void {
  const image = join(work, 'image');
  writeFileSync(image, '');
  truncateSync(image, DISK_BYTES);
  run('mkfs.ext4', '-q', '-F', '-m', '0', image);
  run('mount', '-o', 'loop', image, place);
}

/** The directory of the small file system, unmounted at the end; null where mounting is not possible. */
function smallDisk(): string | null {
  const work = tempDir('small-disk');
  const place = join(work, 'disk');
  mkdirSync(place);
  const ways = [
    () => mountExt4(work, place),
    () => run('mount', '-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', place),
  ];
  for (const way of ways) {
    try {
      way();
      atEnd(() => {
        run('umount', place);
      });
      return place;
    } catch {
      // The next way.
    }
  }
  process.stderr.write('NOTE: no file system can be mounted here: the test of a full disk did not run\n');
  return null;
}

/** Another program takes everything there is. */
function fill(file: string): void {
  const descriptor = openSync(file, 'w');
  try {
    for (const size of [1024 * 1024, 4_096]) {
      const chunk = randomBytes(size);
      try {
        for (;;) if (writeSync(descriptor, chunk) < size) break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Publishes with QoS 1, one after the other, and keeps book of the answers; a refusal is tried again. */
class Publisher {
  readonly acknowledged: string[] = [];
  refused = 0;
  #stopped = false;
  readonly #client: MqttClient;

  constructor(client: MqttClient) {
    this.#client = client;
  }

  async run(topic: string, payload: (n: number) => string, count = Number.POSITIVE_INFINITY): Promise<void> {
    for (let n = 0; !this.#stopped && n < count; ) {
      const value = payload(n);
      try {
        await this.#client.publishAsync(topic, value, { qos: 1 });
        this.acknowledged.push(value);
        n++;
      } catch (error) {
        if ((error as { code?: number }).code !== QUOTA_EXCEEDED) throw error;
        this.refused++;
        await pause(10);
      }
    }
  }

  stop(): void {
    this.#stopped = true;
  }
}

describe('a broker on a disk that is full', () => {
  let disk: string | null = null;
  let broker: TestBroker;

  beforeAll(async () => {
    disk = smallDisk();
    if (disk !== null) broker = await TestBroker.start({ data: join(disk, 'data'), config: CONFIG });
  });

  const state = () => broker.metric('headwater_disk_state', 'state="full"');

  const headwater = (...args: string[]) =>
    runProgram(HEADWATER, [...args, '--bootstrap', broker.bootstrap], { timeoutMs: 30_000 });

  /** New topics, partitions and offsets are refused, each in its protocol's way; what takes away goes on. */
  async function refusesNewMetadata(): Promise<void> {
    const refused = /^headwater topics: .*KAFKA_STORAGE_ERROR.* bytes free: no [^\n]* until there is space\n$/;
    const created = await headwater('topics', 'create', 'new');
    expect([created.code, created.stdout]).toEqual([1, '']);
    expect(created.stderr).toMatch(refused);
    const altered = await headwater('topics', 'alter', 'bulk', '--partitions', '3');
    expect(altered.code).toBe(1);
    expect(altered.stderr).toMatch(refused);
    const answer = await fetch(`http://127.0.0.1:${broker.ports.http}/api/v1/topics`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-requested-with': 'test' },
      body: JSON.stringify({ name: 'new' }),
    });
    expect(answer.status).toBe(507);
    expect(await answer.json()).toMatchObject({ error: { code: 'DISK_FULL' } });
    const admin = kafkaOf(broker.bootstrap, 'app', 0).admin();
    await admin.connect();
    const creating = admin.createTopics({ topics: [{ topic: 'new', numPartitions: 1 }] });
    await expect(creating).rejects.toMatchObject({ errors: [{ type: 'KAFKA_STORAGE_ERROR' }] });
    const reset = await headwater('groups', 'reset', 'g', '--topic', 'alarms', '--to-offset', '1');
    expect([reset.code, reset.stdout]).toEqual([1, '']);
    expect(reset.stderr).toMatch(/^headwater groups: [^\n]*COORDINATOR_NOT_AVAILABLE[^\n]*\n$/);
    expect((await admin.listGroups()).groups.map(({ groupId }) => groupId)).not.toContain('g');
    expect((await admin.listTopics()).sort()).toEqual(['alarms', 'bulk', 'gone', 'mqtt']);
    await admin.deleteTopics({ topics: ['gone'] });
    await admin.deleteTopicRecords({ topic: 'bulk', partitions: [{ partition: 0, offset: '0' }] });
    expect((await admin.listTopics()).sort()).toEqual(['alarms', 'bulk', 'mqtt']);
    await admin.disconnect();
  }

  it('refuses while others fill it, loses nothing it acknowledged, serves readers, and goes on by itself', async () => {
    if (disk === null) return;
    expect((await headwater('topics', 'create', 'gone')).code).toBe(0);
    const client = await mqtt.connectAsync(broker.mqttUrl, { protocolVersion: 5 });
    const publisher = new Publisher(client);
    const publishing = publisher.run('alarms/a', (n) => `${n} ${'x'.repeat(500)}`);
    await eventually('the first acknowledgements', 20_000, () => publisher.acknowledged.length > 200 || undefined);

    const filler = join(disk, 'filler');
    fill(filler);
    await eventually('a refusal', 20_000, () => publisher.refused > 3 || undefined);
    expect(await state()).toBe(1);
    expect((await broker.http('/readyz')).status).toBe(503);
    expect((await broker.http('/healthz')).status).toBe(200);
    const stored = new Set((await readTopic(broker.bootstrap, 'alarms')).map(({ value }) => value));
    expect(publisher.acknowledged.filter((value) => !stored.has(value))).toEqual([]);
    const producer = kafkaOf(broker.bootstrap, 'app', 0).producer();
    await producer.connect();
    const sending = producer.send({ topic: 'alarms', messages: [{ value: 'from Kafka' }] });
    await expect(sending).rejects.toMatchObject({ cause: { type: 'KAFKA_STORAGE_ERROR' } });
    await producer.disconnect();
    await refusesNewMetadata();
    // As long as nothing is free: the reserve is eaten up as well.
    fill(join(disk, 'filler2'));
    await pause(2_500);
    expect(broker.running).toBe(true);
    expect(await state()).toBe(1);

    rmSync(filler);
    rmSync(join(disk, 'filler2'));
    const before = publisher.acknowledged.length;
    await eventually('acknowledgements again', 20_000, () => publisher.acknowledged.length > before + 200 || undefined);
    await eventually('ready again', 10_000, async () => (await broker.http('/readyz')).status === 200 || undefined);
    expect(await state()).toBe(0);
    publisher.stop();
    await publishing;
    await client.endAsync();
    const all = (await readTopic(broker.bootstrap, 'alarms')).map(({ value }) => value);
    expect(publisher.acknowledged.filter((value) => !new Set(all).has(value))).toEqual([]);
    expect(broker.starts).toBe(1);
    expect(await broker.metric('headwater_loss_ledger_offsets_total')).toBe(0);
    await broker.restart();
    expect((await readTopic(broker.bootstrap, 'alarms')).map(({ value }) => value)).toEqual(all);
  });

  it('takes twice what it holds in a topic with drop-oldest: the ledger says what gave way, alarms keep all', async () => {
    if (disk === null) return;
    for (const file of ['filler', 'filler2']) rmSync(join(disk, file), { force: true });
    const alarms = (await readTopic(broker.bootstrap, 'alarms')).length;
    const client = await mqtt.connectAsync(broker.mqttUrl, { protocolVersion: 5 });
    const publishers = Array.from({ length: 4 }, () => new Publisher(client));
    // Random text: LevelDB's compression gains nothing worth while.
    const payload = (n: number) => `${n} ${randomBytes(24_000).toString('base64')}`;
    await Promise.all(publishers.map((publisher) => publisher.run('bulk/b', payload, 1_000)));
    await client.endAsync();
    // The ladder may still be giving way after the last publish: read and ledger are compared once it rests.
    const stored = await eventually('a ledger that says where the topic starts', 20_000, async () => {
      const records = await readTopic(broker.bootstrap, 'bulk');
      const lost = await broker.metric('headwater_loss_ledger_offsets_total', 'reason="disk-full"');
      return records[0]?.offset === lost ? records : undefined;
    });
    const first = stored[0]!.offset;
    expect(first).toBeGreaterThan(1_000);
    expect(stored.map(({ offset }) => offset)).toEqual(stored.map((_, i) => first + i));
    expect(first + stored.length).toBe(4_000);
    expect((await readTopic(broker.bootstrap, 'alarms')).length).toBe(alarms);
    expect((await broker.stop()).code).toBe(0);
  });
});
