/**
 * Two that take their time, at the same time. Rebalances under churn with Apache Kafka's Java clients: members of four groups (range, round-robin, sticky,
 * cooperative-sticky; a quarter of them static) join, leave and die at random over 12 partitions while the broker is killed twice.
 * CHURN_SECONDS (default 60) and CHURN_SEED make longer runs and repeat one. And log compaction as Kafka's tools see it.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { it } from 'vitest';
import { haveKafka, kafkaTool, mustTool, startJavaSource, type ToolName } from '../support/apache-kafka.ts';
import { AGAINST_KAFKA, startTarget } from '../support/kafka-target.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';
import { eventually, pause } from '../support/wait.ts';

const SOURCE = join(fileURLToPath(new URL('.', import.meta.url)), 'kafka/GroupChurn.java');
const SECONDS = Number(process.env.CHURN_SECONDS ?? 60);
const SEED = Number(process.env.CHURN_SEED ?? Date.now() % 1_000_000);
const TESTS = 'rebalances under churn with Java clients';

it.runIf(havePeers(TESTS, 'javac') && haveKafka(TESTS)).concurrent(
  `no partition has two owners, nothing is skipped, nothing committed is read again (seed ${SEED})`,
  async ({ expect }) => {
    const target = await startTarget();
    const churn = startJavaSource(SOURCE, [target.bootstrap, String(SECONDS), String(SEED)]);
    await churn.until('the first line', 60_000, (stdout) => (stdout.includes('seed') ? true : undefined));
    // Apache Kafka starts too slowly for two kills in this time.
    if (!AGAINST_KAFKA) {
      for (const share of [3, 3]) {
        await new Promise((resolve) => setTimeout(resolve, (SECONDS * 1_000) / share));
        await target.crash();
      }
    }
    const { code, stdout } = await churn.finished;
    expect(stdout.split('\n').filter((line) => line.startsWith('VIOLATION'))).toEqual([]);
    expect(code, stdout).toBe(0);
    expect(stdout.match(/^GROUP /gm)).toHaveLength(4);
    process.stdout.write(stdout.replace(/^(?!GROUP).*\n/gm, ''));
  },
  SECONDS * 1_000 + 180_000,
);

const COMPACTION = 'log compaction with real clients';

it.runIf(havePeers(COMPACTION, 'kcat') && haveKafka(COMPACTION)).concurrent(
  'a compacted topic keeps the newest record of each key where it was',
  async ({ expect }) => {
    const target = await startTarget();
    const tool = (name: ToolName, args: string[], input = '') =>
      mustTool(name, ['--bootstrap-server', target.bootstrap, ...args], { input });
    const kcat = (args: string[], input = '') => mustRun('kcat', ['-b', target.bootstrap, ...args], { input });
    const configs = ['cleanup.policy=compact', 'segment.ms=10000', 'min.cleanable.dirty.ratio=0.01'];
    await tool('kafka-topics', [
      ...['--create', '--topic', 'compacted', '--partitions', '1'],
      ...configs.slice(0, AGAINST_KAFKA ? 3 : 2).flatMap((config) => ['--config', config]),
    ]);
    const records = Array.from({ length: 300 }, (_, i) => `key${i % 10}:value ${i}\n`).join('');
    const keyed = [
      '--topic',
      'compacted',
      '--reader-property',
      'parse.key=true',
      '--reader-property',
      'key.separator=:',
    ];
    await tool('kafka-console-producer', keyed, records);
    await kcat(['-P', '-t', 'compacted', '-K', ':', '-Z'], 'key3:\n');
    // The tool reports it and ends with 0.
    const keyless = await kafkaTool(
      'kafka-console-producer',
      ['--bootstrap-server', target.bootstrap, '--topic', 'compacted'],
      { input: 'without a key\n' },
    );
    expect(keyless.stdout + keyless.stderr).toMatch(/InvalidRecordException/);
    let ticks = 0;
    await eventually('a pass of compaction', 150_000, async () => {
      // What is written last stays as it is: something has to come behind it.
      await kcat(['-P', '-t', 'compacted', '-K', ':'], `tick:${ticks++}\n`);
      const keys = (await kcat(['-C', '-t', 'compacted', '-e', '-q', '-o', 'beginning', '-f', '%k\n'])).split('\n');
      if (keys.filter((key) => key.startsWith('key')).length === 10) return true;
      await pause(2_000);
      return undefined;
    });
    const show = ['print.key=true', 'print.offset=true', 'key.separator=|'];
    const read = await tool('kafka-console-consumer', [
      // The ticks come behind these.
      ...['--topic', 'compacted', '--from-beginning', '--max-messages', '10', '--timeout-ms', '60000'],
      ...show.flatMap((property) => ['--formatter-property', property]),
    ]);
    const seen = read.split('\n').filter((line) => line !== '');
    const kept = Array.from({ length: 10 }, (_, key) => `Offset:${290 + key}|key${key}|value ${290 + key}`);
    // The tombstone is kept for delete.retention.ms.
    expect(seen).toEqual([...kept.filter((line) => !line.includes('key3')), 'Offset:300|key3|null']);
    const offsets = async (time: string) => tool('kafka-get-offsets', ['--topic', 'compacted', '--time', time]);
    expect(await offsets('earliest')).toBe('compacted:0:0\n');
    expect(await offsets('latest')).toBe(`compacted:0:${301 + ticks}\n`);
  },
  240_000,
);
