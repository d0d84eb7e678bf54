/**
 * Pause before attempt `attempt` (from 0): doubles from `baseMs` to `maxMs`, then anything from half of that to all of it,
 * so that many clients do not come back together. `unit` is uniform in [0, 1).
 */
export function backoffMs(attempt: number, baseMs: number, maxMs: number, unit: number): number {
  const full = Math.min(maxMs, baseMs * 2 ** Math.min(attempt, 30));
  return Math.round(full * (0.5 + unit / 2));
}
