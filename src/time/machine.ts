/** What the operating system says about this boot and its clock. Linux; elsewhere it says nothing, and that is enough. */
import { readFile, stat } from 'node:fs/promises';

export interface Machine {
  /** The id of this boot; null where the system has none. */
  bootId(): Promise<string | null>;
  /** Milliseconds since this boot, not restarting with the process. Without a boot id, since any start. */
  uptime(): number;
  /**
   * Whether the clock is synchronised now, by whoever does it; null when the system cannot tell. May start a process:
   * ask rarely. Never rejects.
   */
  synchronised(now: number): Promise<boolean | null>;
}

const BOOT_ID = '/proc/sys/kernel/random/boot_id';
/** systemd-timesyncd touches it each time it has synchronised the clock (its manual page, FILES). */
const TIMESYNCD_TOUCHES = '/run/systemd/timesync/synchronized';
/** It synchronises at least every 2,048 s (timesyncd.conf, PollIntervalMaxSec): an older file says nothing about now. */
const TIMESYNCD_FRESH_MS = 2 * 2_048_000;
const ASK_MAX_MS = 5_000;

/** A file from the future, or an old one: the clock may have been set since. */
async function timesyncdSaysYes(now: number): Promise<boolean> {
  try {
    const age = now - (await stat(TIMESYNCD_TOUCHES)).mtimeMs;
    return age > -1_000 && age < TIMESYNCD_FRESH_MS;
  } catch {
    return false;
  }
}

/** What the kernel knows, whoever keeps the clock (timesyncd, chrony, ntpd): adjtimex, by way of timedated. */
async function kernelSays(): Promise<boolean | null> {
  const { execFile } = await import('node:child_process');
  return new Promise((resolve) => {
    execFile(
      'timedatectl',
      ['show', '--property=NTPSynchronized', '--value'],
      { timeout: ASK_MAX_MS, maxBuffer: 4_096 },
      (error, answer) => {
        const word = answer.trim();
        resolve(error !== null ? null : word === 'yes' ? true : word === 'no' ? false : null);
      },
    );
  });
}

export const systemMachine: Machine = {
  bootId: async () => {
    try {
      return (await readFile(BOOT_ID, 'latin1')).trim() || null;
    } catch {
      return null;
    }
  },
  // On Linux this is CLOCK_MONOTONIC, which starts with the machine.
  uptime: () => Number(process.hrtime.bigint() / 1_000_000n),
  synchronised: async (now) => ((await timesyncdSaysYes(now)) ? true : kernelSays()),
};
