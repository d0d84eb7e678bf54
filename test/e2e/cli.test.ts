import { encode } from 'cbor-x';
import mqtt from 'mqtt';
import { beforeAll, describe, expect, it } from 'vitest';
import { HEADWATER, TestBroker } from '../support/broker.ts';
import { Child, type Finished, run } from '../support/process.ts';
import { startEdge, TOPIC } from '../support/replay.ts';
import { eventually } from '../support/wait.ts';

const lines = (text: string) => text.split('\n').filter((line) => line !== '');

describe('the command line', () => {
  let broker: TestBroker;

  beforeAll(async () => {
    broker = await TestBroker.start({ brokerId: 'cli' });
  });

  const headwater = (args: string[], input = ''): Promise<Finished> =>
    run(HEADWATER, [...args, '--bootstrap', broker.bootstrap], { input, timeoutMs: 30_000 });
  async function ok(args: string[], input = ''): Promise<string> {
    const { code, stdout, stderr } = await headwater(args, input);
    expect(code, `${args.join(' ')}: ${stdout}${stderr}`).toBe(0);
    expect(stderr).toBe('');
    return stdout;
  }
  const json = async (args: string[]) => JSON.parse(await ok([...args, '--json'])) as unknown;
  /** Exit status not 0 and one line of reason, nothing on standard output. */
  async function refused(args: string[]): Promise<string> {
    const { code, stdout, stderr } = await headwater(args);
    expect(code, stdout + stderr).not.toBe(0);
    expect(stdout).toBe('');
    expect(lines(stderr)).toHaveLength(1);
    return stderr;
  }

  it('topics: create, list, describe, alter, delete', async () => {
    await ok(['topics', 'create', 'life', '--partitions', '2', '--config', 'retention.ms=3600000']);
    expect(await ok(['topics', 'list'])).toMatch(/^TOPIC +PARTITIONS +RECORDS\nlife +2 +0\n/);
    expect(await json(['topics', 'list'])).toContainEqual(
      expect.objectContaining({ name: 'life', partitions: 2, records: 0 }),
    );
    await ok([
      'topics',
      'alter',
      'life',
      '--partitions',
      '3',
      '--config',
      'compression.type=gzip',
      '--delete-config',
      'retention.ms',
    ]);
    const [described] = (await json(['topics', 'describe', 'life'])) as { partitions: object[]; configs: object[] }[];
    expect(described!.partitions).toHaveLength(3);
    expect(described!.configs).toContainEqual(expect.objectContaining({ name: 'compression.type', value: 'gzip' }));
    expect(described!.configs).toContainEqual(expect.objectContaining({ name: 'retention.ms', value: '604800000' }));
    expect(await ok(['topics', 'describe', 'life'])).toMatch(/partitions: 3.*compression\.type=gzip/s);
    const wrong = 'is not a whole number from -1 to 2^53-1 ms (units: ms, s, m, h, d)';
    expect(await refused(['topics', 'create', 'other', '--config', 'retention.ms=5MiB'])).toContain(`"5MiB" ${wrong}`);
    expect(await refused(['topics', 'alter', 'life', '--config', 'retention.ms=5MiB'])).toContain(`"5MiB" ${wrong}`);
    const change = async (method: string, path: string, body: object) => {
      const headers = { 'content-type': 'application/json', 'x-requested-with': 'test' };
      const url = `http://127.0.0.1:${broker.ports.http}/api/v1/topics${path}`;
      return (await fetch(url, { method, headers, body: JSON.stringify(body) })).json();
    };
    const answer = { error: { code: 'INVALID_CONFIG', message: expect.stringContaining(`"5MiB" ${wrong}`) } };
    const config = { 'retention.ms': '5MiB' };
    expect(await change('POST', '', { name: 'other', config })).toEqual(answer);
    expect(await change('PATCH', '/life', { partitions: 9, config })).toEqual(answer);
    const [same] = (await json(['topics', 'describe', 'life'])) as { partitions: object[] }[];
    expect(same!.partitions).toHaveLength(3);
    await ok(['topics', 'delete', 'life']);
    expect(await ok(['topics', 'list'])).not.toContain('life');
  });

  it('produce and consume: lines, keys, headers, compression, the end, JSON', async () => {
    await ok(['topics', 'create', 'lines']);
    await ok(['produce', 'lines', '--key-separator', ':', '--header', 'unit=C'], 'a:1\nb:2\n');
    await ok(['produce', 'lines', '--acks', '1', '--compression', 'zstd', 'three', 'four']);
    expect(lines(await ok(['consume', 'lines', '--from-beginning', '--exit-at-end']))).toEqual([
      '1',
      '2',
      'three',
      'four',
    ]);
    const records = lines(await ok(['consume', 'lines', '--from-beginning', '--exit-at-end', '--json'])).map(
      (line) => JSON.parse(line) as { offset: number; key: string; value: string; headers: object[] },
    );
    expect(records.map(({ offset, key, value }) => [offset, key, value])).toEqual([
      [0, 'a', '1'],
      [1, 'b', '2'],
      [2, null, 'three'],
      [3, null, 'four'],
    ]);
    expect(records[0]!.headers).toEqual([{ key: 'unit', value: 'C' }]);
    expect(lines(await ok(['consume', 'lines', '--offset', '-1', '--exit-at-end']))).toEqual(['four']);
  });

  it('consume --decode shows CBOR and JSON that came by MQTT', async () => {
    const client = await mqtt.connectAsync(broker.mqttUrl);
    await client.publishAsync('plant/7/temp', encode({ celsius: 21.5, ok: true }), { qos: 1 });
    await client.publishAsync('plant/7/temp', '{"celsius": 22}', { qos: 1 });
    await client.endAsync();
    const read = (decode: string, max: string) =>
      ok(['consume', 'mqtt', '--from-beginning', '--exit-at-end', '--decode', decode, '--max-messages', max]);
    expect(JSON.parse(await read('cbor', '1'))).toEqual({ celsius: 21.5, ok: true });
    const last = lines(await ok(['consume', 'mqtt', '--offset', '1', '--exit-at-end', '--decode', 'json']));
    expect(last.map((line) => JSON.parse(line))).toEqual([{ celsius: 22 }]);
  });

  it('publish reaches the log', async () => {
    const { code } = await run(HEADWATER, [
      'publish',
      'plant/8/temp',
      '23.5',
      '--mqtt',
      `127.0.0.1:${broker.ports.mqtt}`,
    ]);
    expect(code).toBe(0);
    expect(lines(await ok(['consume', 'mqtt', '--offset', '-1', '--exit-at-end']))).toEqual(['23.5']);
  });

  it('publish says why nothing was stored, also for lines of standard input', async () => {
    const tooLarge = 'x'.repeat(2 * 1024 ** 2);
    const { code, stderr } = await run(
      HEADWATER,
      ['publish', 'plant/8/temp', '--mqtt', `127.0.0.1:${broker.ports.mqtt}`],
      { input: tooLarge, timeoutMs: 30_000 },
    );
    expect(code).toBe(1);
    expect(lines(stderr)).toEqual([expect.stringContaining('at most 1048576 are allowed')]);
  });

  it('standby tells a broker that is not one of a pair', async () => {
    const { code, stdout, stderr } = await run(HEADWATER, ['standby', '--http', `127.0.0.1:${broker.ports.http}`]);
    expect([code, stdout, stderr]).toEqual([
      1,
      '',
      'this broker is not one of a pair: it has no link of type standby\n',
    ]);
  });

  it('a group resumes where it stopped, is described, reset and deleted', async () => {
    await ok(['produce', 'grouped', ...Array.from({ length: 10 }, (_, i) => `${i}`)]);
    const group = (count: number) =>
      ok(['consume', 'grouped', '--group', 'g', '--from-beginning', '--max-messages', String(count)]);
    expect(lines(await group(4))).toEqual(['0', '1', '2', '3']);
    await broker.kill();
    await broker.start();
    expect(lines(await group(3))).toEqual(['4', '5', '6']);
    expect(await ok(['groups', 'list'])).toMatch(/^g +Empty/m);
    const [described] = (await json(['groups', 'describe', 'g'])) as { offsets: object[] }[];
    expect(described!.offsets).toEqual([
      expect.objectContaining({ topic: 'grouped', partition: 0, offset: 7, lag: 3 }),
    ]);
    const [beyond] = (
      (await json(['groups', 'reset', 'g', '--topic', 'grouped', '--to-offset', '4000'])) as { offsets: object[] }
    ).offsets;
    expect(beyond).toEqual({ topic: 'grouped', partition: 0, offset: 10 });
    await ok(['groups', 'reset', 'g', '--topic', 'grouped', '--to-offset', '9']);
    expect(lines(await group(1))).toEqual(['9']);
    await ok(['groups', 'delete', 'g']);
    expect(await json(['groups', 'list'])).toEqual([]);
  });

  it('consume follows live and ends at Ctrl-C with status 0', async () => {
    await ok(['topics', 'create', 'live']);
    const reader = new Child(HEADWATER, ['consume', 'live', '--from-beginning', '--bootstrap', broker.bootstrap]);
    reader.endInput();
    await ok(['produce', 'live', 'one', 'two']);
    await reader.until('two records', 15_000, (stdout) => (lines(stdout).length >= 2 ? true : undefined));
    const { code, stdout } = await reader.stop('SIGINT');
    expect(code).toBe(0);
    expect(lines(stdout)).toEqual(['one', 'two']);
  });

  it('links shows state and backlog, pauses and resumes', async () => {
    const edge = await startEdge(broker.bootstrap);
    const links = async (...args: string[]) => {
      const { code, stdout, stderr } = await run(HEADWATER, [
        'links',
        ...args,
        '--http',
        `127.0.0.1:${edge.ports.http}`,
      ]);
      expect(code, stderr).toBe(0);
      return stdout;
    };
    const backlog = async () => {
      const [link] = JSON.parse(await links('--json')) as { name: string; backlogRecords: number }[];
      return link!.backlogRecords;
    };
    expect(await links()).toMatch(/^LINK +TYPE +STATE +BACKLOG.*\nhub +kafka /);
    await links('pause', 'hub');
    expect(await links()).toMatch(/^hub +kafka +paused/m);
    const at = ['--bootstrap', edge.bootstrap];
    await run(HEADWATER, ['produce', TOPIC, 'x', 'y', 'z', ...at]);
    await eventually('a backlog of 3', 10_000, async () => (await backlog()) === 3 || undefined);
    await links('resume', 'hub');
    await eventually('no backlog', 20_000, async () => (await backlog()) === 0 || undefined);
    await edge.stop();
  });

  it.each([
    [['topics', 'describe', 'nowhere'], /nowhere/],
    [['topics', 'create', 'not allowed'], /not allowed/],
    [['topics', 'create', 'x', '--config', 'no.such=1'], /no\.such/],
    [['topics', 'delete', 'nowhere'], /nowhere/],
    [['groups', 'delete', 'nobody'], /nobody/],
  ] as const)('%j fails with one line that says why', async (args, reason) => {
    expect(await refused([...args])).toMatch(reason);
  });

  it('an address where nobody listens is named', async () => {
    const { code, stdout, stderr } = await run(HEADWATER, ['topics', 'list', '--bootstrap', '127.0.0.1:1']);
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr).toBe('headwater topics: nothing listens on 127.0.0.1:1; is the broker running?\n');
  });

  it('wrong usage has status 2 and says where to read on', async () => {
    for (const args of [
      ['topics', 'explode'],
      ['nonsense'],
      ['consume'],
      ['topics', 'create', 'a', '--partitions', 'two'],
    ]) {
      const { code, stderr } = await run(HEADWATER, args);
      expect(code, args.join(' ')).toBe(2);
      expect(stderr).toMatch(/help/);
    }
  });

  it('config check names each mistake with its line, status 78', async () => {
    const bad = new TestBroker({ config: 'num.partitions: 0\nlisteners: { mqtt: nonsense }\n' });
    const file = bad.args.at(-1)!;
    const { code, stdout, stderr } = await run(HEADWATER, ['config', 'check', file]);
    expect(code).toBe(78);
    expect(stdout + stderr).toMatch(/:1: num\.partitions: .*0/);
    expect(stdout + stderr).toMatch(/:2: listeners\.mqtt: .*nonsense/);
  });
});
