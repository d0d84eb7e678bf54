import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { startTarget } from '../support/kafka-target.ts';
import { node22With } from '../support/node22.ts';
import { mustRun } from '../support/process.ts';

const SCRIPT = fileURLToPath(new URL('platformatic/clients.mjs', import.meta.url));
const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);

it('@platformatic/kafka produces, consumes in groups that resume and share, runs transactions, administers', async () => {
  const { node, directory } = await node22With('@platformatic/kafka@2.12.1');
  const target = await startTarget({ 'group.initial.rebalance.delay.ms': '0' });
  const client = join(directory, 'node_modules/@platformatic/kafka/dist/index.js');
  const seen = JSON.parse(await mustRun(node, [SCRIPT, client, target.bootstrap], { timeoutMs: 180_000 }));
  expect(seen).toEqual({
    topics: ['platformatic', 'shared', 'transactions'],
    retention: '7200000',
    partitions: 6,
    offsets: [0, 40, 80, 120, 160],
    first: numbered(120),
    second: numbered(180, 120),
    shares: [0, 1, 2, 3, 4, 5],
    shared: 60,
    members: 2,
    committed: ['kept', 'kept too'],
    uncommitted: ['kept', 'dropped', 'kept too'],
    groups: ['committed', 'resumed', 'shared', 'uncommitted'],
    left: [
      ['resumed', 'shared'],
      ['platformatic', 'shared'],
    ],
  });
}, 480_000);
