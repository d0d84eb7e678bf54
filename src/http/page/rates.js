// Rates a second out of totals that are asked for again and again: nothing is kept in the broker for it.

/** By name: what was seen, oldest first. */
const seen = new Map();
/** Over how long a rate is taken, ms. */
const WINDOW_MS = 15_000;

/** Change of `total` a second over the last 15 s; null at the first look. A total that shrinks (topic made anew) begins again. */
export function rate(name, total, now = performance.now()) {
  const samples = seen.get(name) ?? [];
  const last = samples[samples.length - 1];
  if (last !== undefined && total < last.total) samples.length = 0;
  samples.push({ now, total });
  while (samples.length > 2 && now - samples[1].now >= WINDOW_MS) samples.shift();
  seen.set(name, samples);
  const first = samples[0];
  const seconds = (now - first.now) / 1000;
  return seconds < 0.5 ? null : (total - first.total) / seconds;
}

/** `12.3/s`, `1,204/s`; a dash while there is nothing to tell. */
export function perSecond(value) {
  if (value === null || value === undefined) return '–';
  return `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString('en-US')}/s`;
}
