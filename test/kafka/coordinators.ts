/** The real coordinators over a metadata store in memory, started. */
import type { Env } from '../../src/env.ts';
import { GroupCoordinator, type GroupSettings } from '../../src/groups/coordinator.ts';
import type { Log } from '../../src/log/types.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { META_DATABASE } from '../../src/store/keys.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import type { MetaStore } from '../../src/store/meta.ts';
import { GroupCommitMetaStore } from '../../src/store/meta-store.ts';
import { TransactionCoordinator } from '../../src/transactions/coordinator.ts';

export interface Coordinators {
  readonly groups: GroupCoordinator;
  readonly transactions: TransactionCoordinator;
}

export async function startCoordinators(
  env: Env,
  log: Log,
  settings: Partial<GroupSettings> = { initialRebalanceDelayMs: 0 },
  disk = new MemoryDisk(),
  metrics = new Metrics(),
): Promise<Coordinators> {
  const store = disk.mount();
  const open = () => store.open(META_DATABASE, {});
  return coordinatorsOn(new GroupCommitMetaStore(await open(), open), env, log, settings, metrics);
}

/** The same over a metadata store that is there already. */
export async function coordinatorsOn(
  meta: MetaStore,
  env: Env,
  log: Log,
  settings: Partial<GroupSettings>,
  metrics: Metrics,
): Promise<Coordinators> {
  const parts = { meta, log, env, metrics, logger: silentLogger };
  const groups = new GroupCoordinator({ ...parts, settings });
  const transactions = new TransactionCoordinator({ ...parts, offsets: groups.offsets });
  await groups.start();
  await transactions.start();
  return { groups, transactions };
}
