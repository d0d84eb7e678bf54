/** What the tools say of what is not there, and of input that ends in the middle. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dispatch } from '../../src/cli/dispatch.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';
import { encodeBatch } from '../../src/wire/batch/record-encoder.ts';
import { type StartedEdge, startEdge } from '../kafka/start-edge.ts';
import { FakeKafka } from '../links/fake-kafka.ts';
import { until } from '../links/harness.ts';
import { append, openOn, topicSpec } from '../log/records.ts';
import { fakeIo } from './fake-io.ts';

async function run(args: readonly string[], input = '') {
  const io = fakeIo({ input });
  const status = await dispatch(args, io);
  return { status, out: io.out, err: io.err };
}

describe('a tool that asks a broker', () => {
  let edge: StartedEdge;
  beforeAll(async () => {
    edge = await startEdge();
  });
  afterAll(() => edge.edge.stop());
  const ask = (args: readonly string[], input = '') => run([...args, '--bootstrap', `127.0.0.1:${edge.port}`], input);

  it('says in words that a topic or a group does not exist, with status 1', async () => {
    const topic = 'topic "nope" does not exist: UNKNOWN_TOPIC_OR_PARTITION (3)';
    const cases = [
      [['topics', 'describe', 'nope'], `headwater topics: ${topic}\n`],
      [['consume', 'nope', '--from-beginning', '-e'], `headwater consume: ${topic}\n`],
      [['groups', 'describe', 'nope'], 'headwater groups: group "nope" does not exist\n'],
      [
        ['groups', 'describe', 'nope', 'none', '--json'],
        /^headwater groups: group "nope" .*; group "none" does not exist\n$/,
      ],
    ] as const;
    for (const [args, err] of cases) {
      const found = await ask(args);
      expect([found.status, found.out]).toEqual([1, '']);
      expect(found.err).toMatch(err);
    }
  });

  it('describes a group that has offsets and never had members', async () => {
    await ask(['produce', 'kept', 'a', 'b']);
    expect((await ask(['groups', 'reset', 'reader', '--topic', 'kept', '--to-earliest'])).status).toBe(0);
    const { status, out } = await ask(['groups', 'describe', 'reader']);
    expect(status).toBe(0);
    expect(out).toMatch(/^Group: reader .*\n.*\nkept +0 +0 +2 +2 /);
  });

  it('consume --exit-at-end waits for a partition that cannot be read at the moment', async () => {
    const kafka = await FakeKafka.start();
    try {
      kafka.create('t', 2);
      for (const index of [0, 1]) {
        const record = { key: null, value: Buffer.from(`in ${index}`), headers: [], timestamp: 1 };
        kafka.partition('t', index).append(encodeBatch([record], { now: 0 }));
      }
      // NOT_LEADER_OR_FOLLOWER, until it was asked and refused.
      kafka.partition('t', 1).fetchError = 6;
      const asked = kafka.metadataRequests;
      const reading = run(['consume', 't', '--from-beginning', '-e', '--bootstrap', kafka.bootstrap]);
      await until(() => kafka.metadataRequests > asked + 5, 'it asks again');
      kafka.partition('t', 1).fetchError = 0;
      expect(await reading).toEqual({ status: 0, out: 'in 0\nin 1\n', err: '' });
    } finally {
      await kafka.stop();
    }
  });

  it('produce stores the lines before one without a separator and counts them', async () => {
    const produce = (topic: string, input: string) => ask(['produce', topic, '--key-separator', ':'], input);
    const reason = (found: { err: string }) => found.err.split('\n')[0];
    const missing = 'there is no ":" between key and value';
    const second = await produce('one', 'a:1\nb\nc:3\n');
    expect(second.status).toBe(2);
    expect(reason(second)).toBe(`headwater produce: line 2: ${missing}; the line before it is stored`);
    expect(reason(await produce('two', 'a:1\nb:2\nc'))).toContain(
      `line 3: ${missing}; the 2 lines before it are stored`,
    );
    expect(reason(await produce('one', 'a\n'))).toContain(`line 1: ${missing}; nothing was stored`);
    const read = await ask(['consume', 'one', '--from-beginning', '-e', '-v']);
    expect(read.out).toMatch(/^one 0 0 \S+ a 1\n$/);
  });

  it('counts one partition as one', async () => {
    expect((await ask(['topics', 'create', 'single', '--partitions', '1'])).out).toBe(
      'created single with 1 partition\n',
    );
    expect((await ask(['topics', 'create', 'double', '--partitions', '2'])).out).toBe(
      'created double with 2 partitions\n',
    );
  });
});

describe('headwater dump', () => {
  it('names a topic or a partition that the data directory does not have, with status 1', async () => {
    const data = join(await mkdtemp(join(tmpdir(), 'headwater-dump-')), 'data');
    const store = await openLevelStore(data);
    const log = await openOn(store);
    const topic = await log.createTopic(topicSpec('good', 2));
    await log.createTopic(topicSpec('empty', 1));
    await append(topic.partitions[1]!, 'a');
    await log.close();
    await store.close();

    const dump = (...args: string[]) => run(['dump', ...args, '--data', data]);
    expect((await dump('good', '--partition', '1')).out).toMatch(/^good 1 0\.\.0 1 record /);
    // It is there: that nothing is in it is the answer.
    expect(await dump('empty')).toEqual({ status: 0, out: '', err: '' });
    const refused = async (...args: string[]) => {
      const { status, out, err } = await dump(...args);
      expect([status, out]).toEqual([1, '']);
      return err;
    };
    expect(await refused('nope')).toBe('headwater dump: this data directory has no topic "nope"\n');
    expect(await refused('good', '--partition', '77')).toBe(
      'headwater dump: topic "good" has no partition 77; it has 0 to 1\n',
    );
    expect(await refused('empty', '--partition', '1')).toContain('topic "empty" has no partition 1; it has only 0');
    expect(await refused('--partition', '77')).toContain('no topic of this data directory has a partition 77');
  });
});
