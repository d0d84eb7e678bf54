/** When a link may send: cron windows and byte budgets. */
import { decode, encode } from 'cbor-x';
import type { Clock } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import { metaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';

/** Whether the minute of `now` (wall clock, milliseconds) is in a window. */
export type WindowMatcher = ((now: number) => boolean) | null;

const MINUTE_MS = 60_000;

/** null without windows: always open. INVALID_CONFIG for an expression that cron does not know. */
export async function windowMatcher(expressions: readonly string[]): Promise<WindowMatcher> {
  if (expressions.length === 0) return null;
  const cron = await import('node-cron');
  const tasks = expressions.map((expression) => {
    if (!cron.validate(expression) || expression.trim().split(/\s+/).length !== 5) {
      throw new HeadwaterError('INVALID_CONFIG', `windows: "${expression}" is not "minute hour day month weekday"`);
    }
    return cron.createTask(expression, () => {});
  });
  return (now) => {
    const minute = new Date(Math.floor(now / MINUTE_MS) * MINUTE_MS);
    return tasks.some((task) => task.match(minute));
  };
}

export function isOpen(matcher: WindowMatcher, now: number): boolean {
  return matcher === null || matcher(now);
}

interface Spent {
  day: string;
  dayBytes: number;
  month: string;
  monthBytes: number;
}

/** A power cut forgets this much of a budget at most; without a limit nobody misses the count. */
const LIMITED_FLUSH_BYTES = 256 * 1024;
const FLUSH_BYTES = 16 * 1024 * 1024;

/** Bytes sent today and this month (local time), kept across restarts. */
export class LinkBudget {
  readonly #meta: MetaStore;
  readonly #link: string;
  readonly #clock: Clock;
  #spent: Spent = { day: '', dayBytes: 0, month: '', monthBytes: 0 };
  #unsaved = 0;
  #limited = false;
  /** The last answer of `allows` was no. */
  spentUp = false;

  constructor(meta: MetaStore, link: string, clock: Clock) {
    this.#meta = meta;
    this.#link = link;
    this.#clock = clock;
  }

  get #key(): Uint8Array {
    return metaKey('link', this.#link, 'budget');
  }

  async load(): Promise<void> {
    const stored = await this.#meta.get(this.#key);
    if (stored !== undefined) this.#spent = decode(stored) as Spent;
  }

  #roll(): void {
    const now = new Date(this.#clock.now());
    const month = `${now.getFullYear()}-${now.getMonth() + 1}`;
    const day = `${month}-${now.getDate()}`;
    if (this.#spent.month !== month) this.#spent = { ...this.#spent, month, monthBytes: 0 };
    if (this.#spent.day !== day) this.#spent = { ...this.#spent, day, dayBytes: 0 };
  }

  spend(bytes: number): void {
    this.#roll();
    this.#spent.dayBytes += bytes;
    this.#spent.monthBytes += bytes;
    this.#unsaved += bytes;
    if (this.#unsaved >= (this.#limited ? LIMITED_FLUSH_BYTES : FLUSH_BYTES)) void this.flush().catch(() => {}); // kept for the next flush
  }

  /** 0: no limit. */
  allows(dayBytes: number, monthBytes: number): boolean {
    this.#limited = dayBytes > 0 || monthBytes > 0;
    if (!this.#limited) return true;
    this.#roll();
    const { dayBytes: day, monthBytes: month } = this.#spent;
    this.spentUp = (dayBytes > 0 && day >= dayBytes) || (monthBytes > 0 && month >= monthBytes);
    return !this.spentUp;
  }

  async flush(): Promise<void> {
    const bytes = this.#unsaved;
    if (bytes === 0) return;
    this.#unsaved = 0;
    try {
      await this.#meta.write([{ key: this.#key, value: encode(this.#spent) }]);
    } catch (error) {
      // Still to be stored: the next flush tries again.
      this.#unsaved += bytes;
      throw error;
    }
  }
}
