/** A Kafka edge over the real log, groups and transactions on a disk in memory: everything but the process. */
import { systemEnv } from '../../src/env.ts';
import type { GroupSettings } from '../../src/groups/coordinator.ts';
import type { HeadwaterLog } from '../../src/log/headwater-log.ts';
import { openLog } from '../../src/log/log.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import { type Coordinators, coordinatorsOn } from './coordinators.ts';
import { type StartedEdge, startEdge } from './start-edge.ts';

export interface StartedBroker extends Coordinators {
  readonly started: StartedEdge;
  readonly log: HeadwaterLog;
  readonly port: number;
  readonly disk: MemoryDisk;
  /** As SIGTERM does. */
  stop(): Promise<void>;
  /** kill -9: sockets die, nothing more is written. */
  kill(): Promise<void>;
}

/** `port` 0: any. The same `disk` again is the same data directory. */
export async function startBroker(
  disk = new MemoryDisk(),
  port = 0,
  settings: Partial<GroupSettings> = { initialRebalanceDelayMs: 0 },
): Promise<StartedBroker> {
  const store = disk.mount();
  const metrics = new Metrics();
  const options = { retentionSchedule: null };
  const log = await openLog({ store, env: systemEnv, metrics, logger: silentLogger, options });
  const { groups, transactions } = await coordinatorsOn(log.meta, systemEnv, log, settings, metrics);
  const started = await startEdge(
    { listeners: [{ name: 'PLAINTEXT', host: '127.0.0.1', port, advertised: null, secure: null }] },
    { log, groups, transactions, transactionGate: transactions },
  );
  const quit = async () => {
    transactions.stop();
    groups.stop();
    await started.edge.stop();
  };
  return {
    started,
    log,
    groups,
    transactions,
    port: started.port,
    disk,
    async stop() {
      await quit();
      await log.close();
      await store.close();
    },
    async kill() {
      disk.crash();
      await quit();
    },
  };
}
