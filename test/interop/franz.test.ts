import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { type KafkaTarget, startTarget } from '../support/kafka-target.ts';
import { havePeers } from '../support/peers.ts';
import { mustRun } from '../support/process.ts';

const SOURCE = fileURLToPath(new URL('franz/', import.meta.url));
const CACHE = fileURLToPath(new URL('../../.cache/', import.meta.url));
const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);

describe.runIf(havePeers('franz-go', 'go'))('franz-go', () => {
  let target: KafkaTarget;

  beforeAll(async () => {
    mkdirSync(CACHE, { recursive: true });
    await mustRun('go', ['build', '-o', `${CACHE}franz`, '.'], { cwd: SOURCE, timeoutMs: 170_000 });
    target = await startTarget();
  });

  it('produces idempotently and in transactions, consumes in a group that resumes', async () => {
    expect(JSON.parse(await mustRun(`${CACHE}franz`, [target.bootstrap], { timeoutMs: 90_000 }))).toEqual({
      ordered: true,
      first: numbered(100),
      second: numbered(200, 100),
      committed: ['kept', 'kept too'],
      uncommitted: ['kept', 'dropped', 'kept too'],
      refused: true,
    });
  });
});
