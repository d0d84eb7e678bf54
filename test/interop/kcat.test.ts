import { beforeAll, describe, expect, it } from 'vitest';
import { type KafkaTarget, startTarget } from '../support/kafka-target.ts';
import { havePeers } from '../support/peers.ts';
import { Child, mustRun } from '../support/process.ts';

const lines = (text: string) => text.split('\n').filter((line) => line !== '');
const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);

describe.runIf(havePeers('kcat', 'kcat'))('kcat', () => {
  let target: KafkaTarget;

  beforeAll(async () => {
    target = await startTarget();
  });

  const produce = (topic: string, input: string[], ...options: string[]) =>
    mustRun('kcat', ['-b', target.bootstrap, '-P', '-t', topic, ...options], { input: `${input.join('\n')}\n` });
  const consume = async (topic: string, ...options: string[]) =>
    lines(await mustRun('kcat', ['-b', target.bootstrap, '-C', '-t', topic, '-e', '-q', ...options]));

  it('lists the broker and its topics', async () => {
    await produce('kcat-listed', ['one']);
    const metadata = JSON.parse(await mustRun('kcat', ['-b', target.bootstrap, '-L', '-J'])) as {
      brokers: { name: string }[];
      topics: { topic: string; partitions: object[] }[];
    };
    expect(metadata.brokers.map(({ name }) => name)).toEqual([target.bootstrap]);
    expect(metadata.topics.map(({ topic }) => topic)).toContain('kcat-listed');
  });

  it.each(['-1', '0', '1'])('produces with acks=%s and reads everything back in order', async (acks) => {
    const topic = `kcat-acks${acks}`;
    await produce(topic, ['first']);
    await produce(topic, numbered(1_000), '-X', `acks=${acks}`, '-p', '0');
    expect(await consume(topic, '-o', 'beginning', '-p', '0')).toEqual(['first', ...numbered(1_000)]);
  });

  it.each(['none', 'gzip', 'snappy', 'lz4', 'zstd'])('produces with %s and an idempotent producer', async (codec) => {
    const topic = `kcat-${codec}`;
    await produce(topic, numbered(2_000), '-X', 'enable.idempotence=true', '-z', codec, '-p', '0');
    expect(await consume(topic, '-o', 'beginning')).toEqual(numbered(2_000));
  });

  it('keeps keys, headers and timestamps', async () => {
    await produce('kcat-keys', ['k1:v1', 'k2:v2', 'k3:'], '-K', ':', '-H', 'unit=C', '-H', 'site=north', '-Z');
    const read = await consume('kcat-keys', '-o', 'beginning', '-f', '%o %k %s %h %T\n');
    const parts = read.map((line) => line.split(' '));
    expect(parts.map((p) => p.slice(0, 4).join(' '))).toEqual([
      '0 k1 v1 unit=C,site=north',
      '1 k2 v2 unit=C,site=north',
      '2 k3  unit=C,site=north',
    ]);
    for (const p of parts) expect(Math.abs(Number(p[4]) - Date.now())).toBeLessThan(60_000);
  });

  it('reads from an offset, the last n, and from a time', async () => {
    await produce('kcat-seek', numbered(500), '-p', '0');
    expect(await consume('kcat-seek', '-o', '490')).toEqual(numbered(10, 490));
    expect(await consume('kcat-seek', '-o', '-5')).toEqual(numbered(5, 495));
    const middle = Date.now() + 1;
    while (Date.now() <= middle) await new Promise((resolve) => setTimeout(resolve, 1));
    await produce('kcat-seek', numbered(3, 500), '-p', '0');
    expect(await consume('kcat-seek', '-o', `s@${middle}`)).toEqual(numbered(3, 500));
    expect(lines(await mustRun('kcat', ['-b', target.bootstrap, '-Q', '-t', `kcat-seek:0:${middle}`]))).toEqual([
      'kcat-seek [0] offset 500',
    ]);
  });

  it('sees records live', async () => {
    await produce('kcat-live', ['before']);
    const reader = new Child('kcat', ['-b', target.bootstrap, '-C', '-t', 'kcat-live', '-o', 'end', '-u', '-v']);
    reader.endInput();
    await reader.until('the end of the topic', 20_000, (_, stderr) => (/Reached end/.test(stderr) ? true : undefined));
    await produce('kcat-live', numbered(20));
    const seen = await reader.until('20 records', 20_000, (stdout) =>
      lines(stdout).length >= 20 ? lines(stdout) : undefined,
    );
    await reader.stop();
    expect(seen).toEqual(numbered(20));
  });

  it('goes on in a group where it stopped, also after the broker was killed', async () => {
    const group = (count: number) =>
      mustRun('kcat', [
        ...['-b', target.bootstrap, '-G', 'kcat-group', '-c', String(count), '-q', '-u'],
        ...['-X', 'auto.offset.reset=earliest', 'kcat-grouped'],
      ]);
    await produce('kcat-grouped', numbered(30), '-p', '0');
    expect(lines(await group(10))).toEqual(numbered(10));
    expect(lines(await group(10))).toEqual(numbered(10, 10));
    await target.crash();
    expect(lines(await group(10))).toEqual(numbered(10, 20));
  });

  it('copies a megabyte record and refuses one that is too large by name', async () => {
    const big = 'x'.repeat(900_000);
    await produce('kcat-big', [big], '-p', '0', '-X', 'message.max.bytes=2000000');
    expect(await consume('kcat-big', '-o', 'beginning')).toEqual([big]);
    await expect(
      produce('kcat-big', ['y'.repeat(1_500_000)], '-p', '0', '-X', 'message.max.bytes=2000000'),
    ).rejects.toThrow(/Message size too large/);
    expect(await consume('kcat-big', '-o', 'beginning')).toEqual([big]);
  });
});
