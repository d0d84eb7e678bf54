/** The last hours of a few totals, for the charts of the admin page: bounded, in memory, gone with the process. */
import type { Clock, Timer } from '../env.ts';
import type { HttpProviders } from './views.ts';

export interface HistoryView {
  readonly intervalMs: number;
  /** Wall clock of each sample, milliseconds since 1970; the other arrays run beside it. */
  readonly at: readonly number[];
  /** Records stored since the logs began: differences are throughput. */
  readonly records: readonly number[];
  readonly backlog: readonly number[];
  readonly rssBytes: readonly number[];
  readonly storedBytes: readonly number[];
}

const INTERVAL_MS = 15_000;
/** Six hours. */
const SAMPLES_MAX = (6 * 3_600_000) / INTERVAL_MS;
const COLUMNS = 5;

export class History {
  readonly #clock: Clock;
  readonly #providers: HttpProviders;
  /** A ring of rows: at, records, backlog, rss, stored. */
  readonly #ring = new Float64Array(SAMPLES_MAX * COLUMNS);
  #count = 0;
  #timer: Timer | null = null;

  constructor(clock: Clock, providers: HttpProviders) {
    this.#clock = clock;
    this.#providers = providers;
  }

  start(): void {
    const sample = () => {
      this.sample().catch(() => {
        // The broker is stopping: a gap in a chart.
      });
    };
    sample();
    this.#timer = this.#clock.every(INTERVAL_MS, sample);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  async sample(): Promise<void> {
    const [broker, topics, links] = await Promise.all([
      this.#providers.broker(),
      this.#providers.topics(),
      this.#providers.links(),
    ]);
    let records = 0;
    for (const { partitions } of topics) for (const { highWatermark } of partitions) records += highWatermark;
    const backlog = links.reduce((sum, { backlogRecords }) => sum + backlogRecords, 0);
    const row = [this.#clock.now(), records, backlog, broker.rssBytes, broker.storedBytes];
    this.#ring.set(row, (this.#count % SAMPLES_MAX) * COLUMNS);
    this.#count++;
  }

  view(): HistoryView {
    const kept = Math.min(this.#count, SAMPLES_MAX);
    const first = this.#count - kept;
    const column = (c: number) =>
      Array.from({ length: kept }, (_, i) => this.#ring[((first + i) % SAMPLES_MAX) * COLUMNS + c]!);
    return {
      intervalMs: INTERVAL_MS,
      at: column(0),
      records: column(1),
      backlog: column(2),
      rssBytes: column(3),
      storedBytes: column(4),
    };
  }
}
