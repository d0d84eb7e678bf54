/**
 * A checkpoint, so that a start does not read the whole log: up to these offsets the log is accounted for by these floors. It
 * may be old or missing, never too new: what it does not know is found in the log. Written beside the old one, synced, renamed.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

export type DeviceState = {
  readonly epoch: number;
  readonly floor: number;
  /** Stored, too, behind a number that may be void or still to come. The log is not read again for these, so they must not be
   *  forgotten. */
  readonly above?: readonly number[];
  readonly msPerTick?: number;
};
export type State = {
  readonly version: 1;
  readonly offsets: Readonly<Record<string, number>>;
  readonly devices: Readonly<Record<string, DeviceState>>;
};

export const EMPTY: State = { version: 1, offsets: {}, devices: {} };

/** The state; the empty one when there is no file or it is torn, which `onBroken` hears of. */
export async function readState(path: string, onBroken: (reason: string) => void): Promise<State> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return EMPTY;
  }
  try {
    const state = JSON.parse(text) as State;
    if (state.version !== 1) throw new Error(`version ${state.version}, known is 1`);
    return state;
  } catch (error) {
    onBroken((error as Error).message);
    return EMPTY;
  }
}

export function writeState(path: string, state: State): Promise<void> {
  return writeSynced(path, JSON.stringify(state));
}

/** Beside the old one, synced, renamed: whenever the power goes, one of the two is there whole. */
export async function writeSynced(path: string, text: string): Promise<void> {
  const file = await open(`${path}.new`, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
  const directory = await open(dirname(path), 'r');
  await directory.sync().finally(() => directory.close());
}
