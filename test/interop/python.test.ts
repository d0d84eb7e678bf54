import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { type KafkaTarget, startTarget } from '../support/kafka-target.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

const CACHE = fileURLToPath(new URL('../../.cache/python/', import.meta.url));
const SCRIPT = fileURLToPath(new URL('python/clients.py', import.meta.url));
const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);

/** A Python with one client in it, made on first use. */
async function pythonWith(...packages: string[]): Promise<string> {
  const directory = join(CACHE, packages.join('+').replaceAll('==', '-'));
  const python = join(directory, 'bin/python');
  if (!existsSync(join(directory, 'complete'))) {
    await mustRun('python3', ['-m', 'venv', '--clear', directory], { timeoutMs: 120_000 });
    const install = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--retries', '5', ...packages];
    await mustRun(python, install, { timeoutMs: 240_000 });
    await mustRun('touch', [join(directory, 'complete')]);
  }
  return python;
}

describe.runIf(havePeers('Python clients', 'python3'))('Python clients', () => {
  let target: KafkaTarget;

  beforeAll(async () => {
    target = await startTarget({ 'auto.create.topics.enable': 'true' });
  });

  async function drive(client: string, ...packages: string[]): Promise<Record<string, unknown>> {
    const python = await pythonWith(...packages);
    return JSON.parse(await mustRun(python, [SCRIPT, client, target.bootstrap], { timeoutMs: 120_000 }));
  }

  it.each([
    ['kafka-python 2', ['kafka-python==2.0.2', 'six==1.17.0']],
    ['kafka-python 3', ['kafka-python==3.0.12']],
  ])('%s produces, consumes in a group that resumes, asks for offsets, administers', async (_, packages) => {
    expect(await drive('kafka-python', ...packages)).toEqual({
      topics: expect.arrayContaining(['python']),
      offsets: true,
      first: numbered(100),
      second: numbered(200, 100),
      end: 300,
      'by time': 0,
    });
  });

  it('confluent-kafka produces idempotently and in transactions, consumes cooperatively, administers', async () => {
    expect(await drive('confluent-kafka', 'confluent-kafka==2.16.1')).toEqual({
      retention: '604800000',
      delivered: true,
      first: numbered(100),
      second: numbered(200, 100),
      committed: ['kept', 'kept too'],
      uncommitted: ['kept', 'dropped', 'kept too'],
    });
  });
});
