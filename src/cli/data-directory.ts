/** The store of a broker, stopped or running, for the tools that look at it. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { loadConfig } from '../config/load.ts';
import { HeadwaterError } from '../errors.ts';
import { openLevelStore } from '../store/leveldb.ts';
import { withSnapshot } from '../store/snapshot.ts';
import type { Store } from '../store/store.ts';
import type { Io } from './command.ts';

export const DATA_OPTIONS = { data: { type: 'string' }, config: { type: 'string' } } as const;

export const DATA_USAGE = `  --data DIR     the data directory (default: that of the configuration, else ./data)
  --config FILE  (or HEADWATER_CONFIG)
`;

export interface DataFlags {
  readonly data?: string | undefined;
  readonly config?: string | undefined;
}

/** Opening one that is not there would create it: that must not happen to a path with a typing error. */
export async function withStore<T>(
  io: Io,
  flags: DataFlags,
  task: (store: Store, directory: string) => Promise<T>,
): Promise<T> {
  const config = await loadConfig({
    file: flags.config ?? io.env['HEADWATER_CONFIG'],
    env: io.env,
    ...(flags.data === undefined ? {} : { flags: { 'data.dir': flags.data } }),
  });
  const directory = config.settings['data.dir'];
  try {
    await access(join(directory, 'FORMAT'));
  } catch (error) {
    const message = `${directory} is not a data directory of Headwater: it holds no file FORMAT`;
    throw new HeadwaterError('STORE_FORMAT', message, { cause: error });
  }
  try {
    return await withOpen(directory, task);
  } catch (error) {
    // A broker is running: what it has stored until now is looked at in a copy.
    if (!(error instanceof HeadwaterError) || error.code !== 'STORE_LOCKED') throw error;
    return withSnapshot(directory, (copy) => withOpen(copy, (store) => task(store, directory)));
  }
}

async function withOpen<T>(directory: string, task: (store: Store, directory: string) => Promise<T>): Promise<T> {
  const store = await openLevelStore(directory);
  try {
    return await task(store, directory);
  } finally {
    await store.close();
  }
}
