/** Exactly once with Apache Kafka's own checker: TransactionalMessageCopier, with random aborts and the broker killed. */
import { beforeAll, describe, expect, it } from 'vitest';
import { haveKafka, mustTool, startTool, type ToolName } from '../support/apache-kafka.ts';
import { AGAINST_KAFKA, type KafkaTarget, startTarget } from '../support/kafka-target.ts';
import { eventually } from '../support/wait.ts';

const lines = (text: string) => text.split('\n').filter((line) => line !== '');
const PARTITIONS = 2;
const RECORDS = 3_000;

describe.runIf(haveKafka('transactions with Java clients'))('transactions with Java clients', () => {
  let target: KafkaTarget;
  const tool = (name: ToolName, ...args: string[]) => mustTool(name, ['--bootstrap-server', target.bootstrap, ...args]);

  beforeAll(async () => {
    target = await startTarget();
    for (const topic of ['in', 'out']) {
      await tool('kafka-topics', '--create', '--topic', topic, '--partitions', String(PARTITIONS));
    }
  });

  it('copies every record once and in order while the broker is killed twice', async () => {
    const input = Array.from({ length: RECORDS }, (_, i) => `key${i % 20}\t${i}`).join('\n');
    await mustTool(
      'kafka-console-producer',
      ['--bootstrap-server', target.bootstrap, '--topic', 'in', '--reader-property', 'parse.key=true'],
      { input: `${input}\n` },
    );
    const offsets = lines(await tool('kafka-get-offsets', '--topic', 'in'));
    const ends = offsets.map((line) => Number(line.split(':')[2]));
    expect(ends.reduce((sum, end) => sum + end, 0)).toBe(RECORDS);
    const copiers = ends.map((end, partition) =>
      startTool('transactional-message-copier', [
        ...['--broker-list', target.bootstrap, '--transactional-id', `copier-${partition}`],
        ...['--input-topic', 'in', '--input-partition', String(partition), '--output-topic', 'out'],
        ...['--max-messages', String(end), '--consumer-group', 'copiers', '--transaction-size', '20'],
        ...['--transaction-timeout', '10000', '--enable-random-aborts', '--group-mode'],
      ]),
    );
    const progress = (copier: (typeof copiers)[number]) => (copier.stdout.match(/ProcessLoop/g) ?? []).length;
    await Promise.all(
      copiers.map((copier) => copier.until('some transactions', 60_000, () => progress(copier) > 3 || undefined)),
    );
    if (!AGAINST_KAFKA) {
      for (let kill = 0; kill < 2; kill++) {
        await target.crash();
        const before = copiers.map(progress);
        await eventually('the copiers go on or are done', 60_000, () =>
          copiers.every((copier, i) => !copier.running || progress(copier) > before[i]! + 3) ? true : undefined,
        );
      }
    }
    await Promise.all(copiers.map((copier) => copier.finished));
    const copied = lines(
      await tool(
        'kafka-console-consumer',
        ...['--topic', 'out', '--from-beginning', '--isolation-level', 'read_committed'],
        ...['--max-messages', String(RECORDS), '--timeout-ms', '20000'],
      ),
    ).map(Number);
    const byNumber = [...copied].sort((a, b) => a - b);
    expect(byNumber).toEqual(Array.from({ length: RECORDS }, (_, i) => i));
    for (let key = 0; key < 20; key++) {
      const mine = copied.filter((n) => n % 20 === key);
      expect(mine).toEqual([...mine].sort((a, b) => a - b));
    }
    const listed = await tool('kafka-transactions', 'list');
    expect(listed).toMatch(/copier-0\s+\d+\s+\d+\s+CompleteCommit/);
    const group = await tool('kafka-consumer-groups', '--describe', '--group', 'copiers');
    expect(
      lines(group)
        .filter((line) => /^copiers\s+in\s/.test(line))
        .map((line) => line.split(/\s+/)[5]),
    ).toEqual(['0', '0']);
  }, 240_000);
});
