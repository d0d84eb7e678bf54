/** What Prometheus expects of every process, under the names its client libraries use. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Clock } from '../env.ts';
import type { Metrics } from '../metrics.ts';

const OPEN_FILES = '/proc/self/fd';
const IO = '/proc/self/io';

export function processMetrics(metrics: Metrics, clock: Clock): void {
  const started = clock.now() / 1_000 - process.uptime();
  metrics.gauge('process_resident_memory_bytes', 'Resident memory of the broker.', () => process.memoryUsage.rss());
  metrics.gauge('process_start_time_seconds', 'When the broker started, seconds since 1970.', () => started);
  metrics.gauge('process_open_fds', 'Open files and sockets; -1 where the system does not tell.', openFiles);
  metrics.computedCounter('process_cpu_seconds_total', 'Processor time used by the broker.', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  metrics.computedCounter(
    'headwater_process_written_bytes_total',
    'Bytes that the broker had written to storage, without the journal of the file system; -1 where the system does not tell.',
    writtenBytes,
  );
}

function writtenBytes(): number {
  try {
    return Number(/^write_bytes: (\d+)/m.exec(readFileSync(IO, 'utf8'))?.[1] ?? -1);
  } catch {
    return -1;
  }
}

function openFiles(): number {
  try {
    return readdirSync(OPEN_FILES).length;
  } catch {
    return -1;
  }
}
