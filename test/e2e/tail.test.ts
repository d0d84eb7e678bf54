/** A real broker that tails a real file through rotations and kill -9: every line once, in order within a file. */
import { appendFileSync, mkdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { endOffsets, readTopic } from '../support/readback.ts';
import { tempDir } from '../support/scope.ts';
import { eventually, pause } from '../support/wait.ts';

it('a log file, rotated ten times while the broker is killed eight times, is stored line by line exactly once', async () => {
  const directory = join(tempDir('tail'), 'logs');
  mkdirSync(directory);
  const log = join(directory, 'app.log');
  const config = `
sources:
  app: {paths: "${directory}/app.log*", topic: lines, poll.interval.ms: 20, rotate.wait.ms: 1s, headers: [position]}
`;
  const broker = await TestBroker.start({ config });
  let written = 0;
  let writing = true;
  const rotatedAt: number[] = [];
  const writer = (async () => {
    for (let rotations = 0; writing || rotations < 10; ) {
      const lines = Array.from({ length: 50 }, () => `line ${written++} ${'x'.repeat(60)}\n`);
      appendFileSync(log, lines.join(''));
      await pause(4);
      if (written % 4_000 === 0 && rotations < 10) {
        rotations++;
        renameSync(log, `${log}.${rotations}`);
        rotatedAt.push(written);
      }
    }
  })();
  for (let kill = 0; kill < 8; kill++) {
    const before = await broker.metric('headwater_source_records_total');
    await eventually('records are stored', 30_000, async () =>
      (await broker.metric('headwater_source_records_total')) > before + 500 ? true : undefined,
    );
    await broker.kill();
    await broker.start();
  }
  writing = false;
  await writer;
  const end = () => endOffsets(broker.bootstrap, 'lines').then((ends) => ends.reduce((a, b) => a + b, 0));
  await eventually('all lines are stored', 60_000, async () => ((await end()) >= written ? true : undefined));
  const stored = await readTopic(broker.bootstrap, 'lines');
  const numbers = stored.map(({ value }) => Number(value.split(' ')[1]));
  expect([...numbers].sort((a, b) => a - b)).toEqual(Array.from({ length: written }, (_, i) => i));
  // A file holds a stretch of numbers: within it they ascend.
  for (const [at, rotated] of rotatedAt.entries()) {
    const ofFile = numbers.filter((n) => n < rotated && n >= (rotatedAt[at - 1] ?? 0));
    expect(ofFile).toEqual([...ofFile].sort((a, b) => a - b));
  }
  expect(broker.starts).toBe(9);
  expect(await broker.metric('headwater_source_vanished_files_total')).toBe(0);
  process.stderr.write(`tail with kills: ${written} lines over 10 rotations, stored once\n`);
  expect((await broker.stop()).code).toBe(0);
});
