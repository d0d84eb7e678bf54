/** What the operating system says about this boot and its clock. Linux; elsewhere it says nothing, and that is enough. */
import { readFile, stat } from 'node:fs/promises';
import { uptime } from 'node:os';

export interface Machine {
  /** The id of this boot; null where the system has none. */
  bootId(): Promise<string | null>;
  /** Milliseconds since this boot, with the time it slept; not restarting with the process. To 10 ms. */
  uptime(): number;
  /**
   * Whether the clock is synchronised now, by whoever does it; null when the system cannot tell. May start a process:
   * ask rarely. Never rejects.
   */
  synchronised(now: number): Promise<boolean | null>;
}

export interface MachineFiles {
  readonly bootId: string;
  /** systemd-timesyncd touches it each time it has synchronised the clock (its manual page, FILES). */
  readonly timesyncdTouches: string;
}

const FILES: MachineFiles = {
  bootId: '/proc/sys/kernel/random/boot_id',
  timesyncdTouches: '/run/systemd/timesync/synchronized',
};
/** timesyncd synchronises at least every 2,048 s (timesyncd.conf, PollIntervalMaxSec): an older file says nothing about now. */
const TIMESYNCD_FRESH_MS = 2 * 2_048_000;
const ASK_MAX_MS = 5_000;

export function systemMachine(files: MachineFiles = FILES): Machine {
  return {
    bootId: async () => {
      try {
        return (await readFile(files.bootId, 'latin1')).trim() || null;
      } catch {
        return null;
      }
    },
    // On Linux this counts the time that the machine slept (CLOCK_BOOTTIME), which the monotonic clock does not.
    uptime: () => uptime() * 1_000,
    synchronised: async (now) => ((await touchedLately(files.timesyncdTouches, now)) ? true : kernelSays()),
  };
}

/** A file from the future, or an old one: the clock may have been set since. */
async function touchedLately(file: string, now: number): Promise<boolean> {
  try {
    const age = now - (await stat(file)).mtimeMs;
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
