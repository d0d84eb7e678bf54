import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { dispatch } from '../../src/cli/dispatch.ts';
import { certificateFinding, diskFinding, type Finding, memoryFinding, wearFinding } from '../../src/cli/doctor.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { fakeIo } from './fake-io.ts';

const directory = mkdtempSync(join(tmpdir(), 'headwater-doctor-'));
const MiB = 1024 * 1024;
const DAY = 86_400_000;

async function doctor(config: string): Promise<{ status: number; findings: Finding[] }> {
  const file = join(directory, 'config.yaml');
  writeFileSync(file, config);
  const io = fakeIo();
  const status = await dispatch(['doctor', '--config', file, '--json'], io);
  return { status, findings: JSON.parse(io.out) as Finding[] };
}

const OFF = 'listeners: { mqtt: "127.0.0.1:1", kafka: off, http: off }\n';

describe('headwater doctor', () => {
  it('finds nothing to mend before the first start', async () => {
    const { status, findings } = await doctor(`${OFF}data.dir: none\n`);
    expect(status).toBe(0);
    // `wear` where the directory is on a block device.
    const names = findings.map(({ what }) => what.split(':')[0]);
    expect(names.filter((name) => name !== 'wear')).toEqual([
      'configuration',
      'ports',
      'data',
      'disk',
      'access',
      'memory',
      'clock',
    ]);
    expect(findings.find(({ what }) => what.startsWith('ports'))?.level).toBe('warn');
  });

  it('tells every mistake of the configuration and goes no further with it', async () => {
    const { status, findings } = await doctor('num.partitions: 0\n');
    expect(status).toBe(1);
    expect(findings[0]).toMatchObject({ level: 'fail', what: expect.stringContaining(':1: num.partitions: 0 is not') });
  });

  it('asks for another file where the configuration cannot be read', async () => {
    const io = fakeIo();
    expect(await dispatch(['doctor', '--config', '/nope/headwater.yaml', '--json'], io)).toBe(1);
    expect((JSON.parse(io.out) as Finding[])[0]).toEqual({
      level: 'fail',
      what: 'configuration: /nope/headwater.yaml: there is no such file',
      advice: 'name a file that this user may read: --config FILE, or HEADWATER_CONFIG',
    });
  });

  it('names a users file that is missing and a key that everybody may read', async () => {
    const { status, findings } = await doctor(`${OFF}users.file: nobody\n`);
    expect(status).toBe(1);
    expect(findings.find(({ level }) => level === 'fail')?.what).toBe(
      `access: users.file: ${join(directory, 'nobody')} does not exist`,
    );
    writeFileSync(join(directory, 'users'), '# none\n', { mode: 0o644 });
    const open = await doctor(`${OFF}users.file: users\n`);
    expect(open.findings.find(({ level, what }) => level === 'warn' && what.startsWith('access'))?.advice).toBe(
      `chmod 0640 ${join(directory, 'users')}`,
    );
  });

  it('warns when a card is written to more than it takes for years', () => {
    const GB = 1e9;
    expect(wearFinding('mmcblk0p2', 60 * GB, 86_400)).toMatchObject({
      level: 'warn',
      what: 'wear: 56 GiB written to mmcblk0p2 in 1d, 56 GiB a day at this rate',
      advice: expect.stringContaining('flush.wear.bytes.per.day'),
    });
    expect(wearFinding('mmcblk0p2', 10 * GB, 86_400).level).toBe('ok');
    // A disk takes it; a start writes more than an hour's share.
    expect(wearFinding('sda1', 60 * GB, 86_400).level).toBe('ok');
    expect(wearFinding('mmcblk0p2', 5 * GB, 600).level).toBe('ok');
  });

  it('says when another process has the data', async () => {
    const data = join(directory, 'data');
    const store = await openLevelStore(data);
    const { findings } = await doctor(`${OFF}data.dir: data\n`);
    await store.close();
    expect(findings.find(({ what }) => what.startsWith('data'))).toMatchObject({
      level: 'fail',
      what: expect.stringContaining(data),
    });
  });

  it('judges disk, memory and certificates by what is left', () => {
    expect([10_000, 300, 10].map((mib) => diskFinding(mib * MiB).level)).toEqual(['ok', 'warn', 'fail']);
    expect([1_000, 200].map((mib) => memoryFinding(192 * MiB, mib * MiB).level)).toEqual(['ok', 'warn']);
    expect([100, 20, -1].map((days) => certificateFinding(days * DAY, 0).level)).toEqual(['ok', 'warn', 'fail']);
  });
});
