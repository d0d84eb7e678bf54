/** Appends numbered records to a log on disk until it is killed; prints a line for each acknowledgement. */
import { systemEnv } from '../../src/env.ts';
import { openLog } from '../../src/log/log.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';

const [directory, first] = process.argv.slice(2);
const store = await openLevelStore(directory!);
const options = { writeBufferBytes: 200_000, sliceBytes: 600_000, retentionSchedule: null };
const log = await openLog({ store, env: systemEnv, metrics: new Metrics(), logger: silentLogger, options });
const topic =
  log.topic('t') ?? (await log.createTopic({ name: 't', partitions: 4, config: new Map([['retention.ms', '-1']]) }));
let n = Number(first);
for (let i = 0; i < 200; i++) next();

function next(): void {
  const number = n++;
  const partition = topic.partitions[number % 4]!;
  const value = Buffer.from(`${number} ${'x'.repeat(number % 300)}`);
  partition.appendRecord({ key: null, value, headers: [], timestamp: -1 }, 1, (error, offset) => {
    if (error !== null) throw error;
    process.stdout.write(`${partition.index} ${offset} ${number}\n`);
    next();
  });
}
