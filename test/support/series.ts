/**
 * The sensor series that the replays publish: two real ones (machine and ambient temperature) where the repository's
 * neighbour `../shared/data` has them, otherwise synthetic ones of the same sizes, with a visible line that says so.
 */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface Series {
  readonly sensor: string;
  /** The MQTT topic its readings go to. */
  readonly topic: string;
  /** One reading each, `YYYY-MM-DD hh:mm:ss,value`, exactly as in the file. No two are equal. */
  readonly rows: readonly string[];
}

/** One publish. */
export interface Reading {
  readonly topic: string;
  readonly payload: Buffer;
}

const DATA = fileURLToPath(new URL('../../../shared/data/', import.meta.url));
const FILES = [
  { sensor: 'machine', file: 'machine_temperature_system_failure.csv', rows: 22_695, minutes: 5 },
  { sensor: 'ambient', file: 'ambient_temperature_system_failure.csv', rows: 7_267, minutes: 60 },
] as const;

export function sensorSeries(): readonly Series[] {
  return FILES.map(({ sensor, file, rows: count, minutes }) => {
    const topic = `plant/${sensor}/temp`;
    if (!existsSync(DATA + file)) {
      process.stderr.write(`NOTE: ../shared/data/${file} is not here: a synthetic series of ${count} rows stands in\n`);
      return { sensor, topic, rows: synthetic(count, minutes) };
    }
    const rows = readFileSync(DATA + file, 'utf8')
      .split('\n')
      .slice(1)
      .filter((line) => line !== '');
    if (rows.length !== count) throw new Error(`${file}: ${rows.length} rows, expected ${count}`);
    return { sensor, topic, rows };
  });
}

/** All readings of all series, in the proportion of their lengths, each series in its own order. */
export function interleave(series: readonly Series[]): Reading[] {
  const total = series.reduce((sum, { rows }) => sum + rows.length, 0);
  const next = series.map(() => 0);
  const readings: Reading[] = [];
  for (let i = 0; i < total; i++) {
    let furthestBehind = 0;
    for (let s = 1; s < series.length; s++) {
      const share = next[s]! / series[s]!.rows.length;
      if (share < next[furthestBehind]! / series[furthestBehind]!.rows.length) furthestBehind = s;
    }
    const { topic, rows } = series[furthestBehind]!;
    readings.push({ topic, payload: Buffer.from(rows[next[furthestBehind]!++]!) });
  }
  return readings;
}

function synthetic(count: number, minutes: number): string[] {
  const rows: string[] = [];
  let state = 12_345;
  let value = 80;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    value += (state / 2 ** 32 - 0.5) * 2 + (80 - value) * 0.01;
    const time = new Date(Date.UTC(2013, 11, 2) + i * minutes * 60_000).toISOString().slice(0, 19).replace('T', ' ');
    rows.push(`${time},${value.toFixed(8)}`);
  }
  return rows;
}
