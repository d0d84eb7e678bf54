/** The programs people write first with Kafka's Java clients (kafka/ClientPrograms.java), current and last of the old line. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, it } from 'vitest';
import { haveKafka, KAFKA_VERSIONS, startJavaSource } from '../support/apache-kafka.ts';
import { startTarget } from '../support/kafka-target.ts';
import { havePeers } from '../support/peers.ts';

const SOURCE = join(fileURLToPath(new URL('.', import.meta.url)), 'kafka/ClientPrograms.java');
const TESTS = 'programs with Java clients';

describe.concurrent.each(KAFKA_VERSIONS)('with the Java clients of Kafka %s', (version) => {
  it.runIf(havePeers(TESTS, 'javac') && haveKafka(TESTS, version))(
    'producers (callback, over a kill -9; synchronous), the three ways to commit, groups of two',
    async ({ expect }) => {
      const target = await startTarget({ 'group.initial.rebalance.delay.ms': '0' });
      const programs = startJavaSource(SOURCE, [target.bootstrap], version);
      await programs.until('half of the records', 60_000, (stdout) => (stdout.includes('half') ? true : undefined));
      await target.crash();
      programs.write('go on\n');
      const { code, stdout } = await programs.finished;
      expect(stdout.split('\n').filter((line) => line !== '')).toEqual([
        'half',
        'callback producer: ok',
        'synchronous producer: ok',
        'automatic commit: ok',
        'commitSync: ok',
        'commitAsync: ok',
        'group of two, range: ok',
        'group of two, round-robin: ok',
      ]);
      expect(code).toBe(0);
    },
    240_000,
  );
});
