/**
 * A real broker on a disk that fails under it while devices publish: writes that end with EIO (a preloaded library), and an
 * ext4 that the kernel has made read-only after an error. Nothing acknowledged is lost, the process stays up.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import mqtt, { type MqttClient } from 'mqtt';
import { expect, it } from 'vitest';
import { HEADWATER, TestBroker } from '../support/broker.ts';
import { mustRun } from '../support/process.ts';
import { atEnd, tempDir } from '../support/scope.ts';
import { eventually, pause } from '../support/wait.ts';

const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: 'pipe' }).toString();

/** Publishes one after the other and keeps book of what was acknowledged; a refusal is tried again. */
class Publisher {
  readonly acknowledged: string[] = [];
  refused = 0;
  #stopped = false;

  async run(client: MqttClient): Promise<void> {
    for (let n = 0; !this.#stopped; ) {
      const value = `${n} ${'x'.repeat(200)}`;
      try {
        await client.publishAsync('plant/1', value, { qos: 1 });
        this.acknowledged.push(value);
        n++;
      } catch {
        this.refused++;
        await pause(20);
      }
    }
  }

  stop(): void {
    this.#stopped = true;
  }
}

/** Read without a group: its members and offsets could not be stored now. */
async function missing(broker: TestBroker, acknowledged: readonly string[]): Promise<string[]> {
  const expected = [...acknowledged];
  const args = ['consume', 'mqtt', '--from-beginning', '--exit-at-end', '--bootstrap', broker.bootstrap];
  const stored = new Set((await mustRun(HEADWATER, args)).split('\n'));
  return expected.filter((value) => !stored.has(value));
}

it('writes that end with EIO are refused to the publisher; when they work again, so does the broker, without a restart', async () => {
  const work = tempDir('eio');
  const library = join(work, 'failing-writes.so');
  run(
    'gcc',
    '-shared',
    '-fPIC',
    '-O1',
    '-o',
    library,
    fileURLToPath(new URL('failing-writes.c', import.meta.url)),
    '-ldl',
  );
  const data = join(work, 'data');
  const flag = join(work, 'fail');
  const broker = await TestBroker.start({
    data,
    env: { LD_PRELOAD: library, FAIL_BELOW: data, FAIL_WHILE: flag },
  });
  const client = await mqtt.connectAsync(broker.mqttUrl, { protocolVersion: 5 });
  const publisher = new Publisher();
  const publishing = publisher.run(client);
  for (let round = 1; round <= 3; round++) {
    const before = publisher.acknowledged.length;
    await eventually('acknowledgements', 30_000, () => publisher.acknowledged.length > before + 100 || undefined);
    const refused = publisher.refused;
    writeFileSync(flag, '');
    await eventually('a refusal', 30_000, () => publisher.refused > refused + 3 || undefined);
    expect(broker.running).toBe(true);
    // What is stored can be read all the time.
    expect(await missing(broker, publisher.acknowledged)).toEqual([]);
    rmSync(flag);
  }
  const before = publisher.acknowledged.length;
  await eventually('acknowledgements again', 30_000, () => publisher.acknowledged.length > before + 100 || undefined);
  publisher.stop();
  await publishing;
  await client.endAsync();
  expect(broker.starts).toBe(1);
  await broker.kill();
  await broker.start();
  expect(await missing(broker, publisher.acknowledged)).toEqual([]);
  expect(await broker.metric('headwater_loss_ledger_offsets_total')).toBe(0);
  expect((await broker.stop()).code).toBe(0);
});

/** An ext4 in a loop device that goes read-only at its first error; null where that cannot be had. */
function disk(): { readonly place: string; readonly image: string; readonly fail: () => void } | null {
  const work = tempDir('read-only');
  const image = join(work, 'image');
  const place = join(work, 'disk');
  mkdirSync(place);
  writeFileSync(image, '');
  truncateSync(image, 96 * 1024 * 1024);
  try {
    run('mkfs.ext4', '-q', '-F', '-m', '0', image);
    run('mount', '-o', 'loop,errors=remount-ro', image, place);
  } catch {
    process.stderr.write('NOTE: no ext4 can be mounted here: the test of a disk that turns read-only did not run\n');
    return null;
  }
  atEnd(() => {
    run('umount', place);
  });
  const device = basename(
    readFileSync('/proc/mounts', 'utf8')
      .split('\n')
      .find((line) => line.split(' ')[1] === place)!
      .split(' ')[0]!,
  );
  return { place, image, fail: () => writeFileSync(`/sys/fs/ext4/${device}/trigger_fs_error`, 'test') };
}

it('a file system that turns read-only while devices publish costs nothing that was acknowledged, and no crash', async () => {
  const small = disk();
  if (small === null) return;
  const broker = await TestBroker.start({
    data: join(small.place, 'data'),
    config: 'disk.low.bytes: 8MiB\ndisk.reserve.bytes: 1MiB\n',
  });
  const client = await mqtt.connectAsync(broker.mqttUrl, { protocolVersion: 5 });
  const publisher = new Publisher();
  const publishing = publisher.run(client);
  await eventually('acknowledgements', 30_000, () => publisher.acknowledged.length > 200 || undefined);
  small.fail();
  await eventually('a refusal', 30_000, () => publisher.refused > 3 || undefined);
  const { acknowledged } = publisher;
  const count = acknowledged.length;
  await pause(3_000);
  expect(broker.running).toBe(true);
  expect(acknowledged.length).toBe(count);
  expect((await broker.http('/readyz')).status).toBe(503);
  expect(await missing(broker, acknowledged)).toEqual([]);
  publisher.stop();
  await client.endAsync(true);
  await Promise.race([publishing, pause(1_000)]);
  // As an administrator does: stop, repair, mount, start.
  await broker.stop();
  run('umount', small.place);
  try {
    run('e2fsck', '-fy', small.image);
  } catch (error) {
    // 1: errors were corrected.
    if ((error as { status?: number }).status !== 1) throw error;
  }
  run('mount', '-o', 'loop', small.image, small.place);
  await broker.start();
  // An fdatasync during which the file system turns read-only may say that it stored what it did not: a program of one
  // write and one fdatasync lost the last that it had confirmed in 8 of 250 runs (Linux 6.18, ext4). Never more than that.
  const lost = await missing(broker, acknowledged);
  expect(lost.filter((value) => value !== acknowledged[acknowledged.length - 1])).toEqual([]);
  if (lost.length === 0) expect(await broker.metric('headwater_loss_ledger_offsets_total')).toBe(0);
  expect((await broker.stop()).code).toBe(0);
});
