/** A point in time as a person gives it. */

import { systemEnv } from '../env.ts';
import { parseQuantity } from '../log/topic-config.ts';
import { UsageError } from './command.ts';

/** ISO 8601, milliseconds since 1970, or an age such as `-2h`. Milliseconds since 1970. */
export function parseTime(text: string, now: number = systemEnv.clock.now()): number {
  if (/^\d+$/.test(text)) return Number(text);
  if (/^-\d+\s*(ms|s|m|h|d)$/i.test(text)) return now + parseQuantity(text, 'ms')!;
  const time = /^\d{4}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(time)) {
    throw new UsageError(
      `"${text}" is not a time: 2026-01-31T12:00:00Z, milliseconds since 1970, or an age such as -2h`,
    );
  }
  return time;
}
