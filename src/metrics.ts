/**
 * Metrics as plain numbers: a hot path does `counter.value += n` and nothing else. `http` renders them as Prometheus text.
 * Names follow Prometheus' rules: `headwater_<part>_<what>_<unit>[_total]`; each is registered once, with its help text.
 */
export type MetricType = 'counter' | 'gauge' | 'histogram';

export type Labels = Readonly<Record<string, string>>;

/** One time series. Write `value` directly. */
export interface Series {
  value: number;
}

/** Fixed upper bounds, cumulative only when rendered: one array increment per observation. */
export class Histogram {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let i = 0;
    while (i < this.bounds.length && value > this.bounds[i]!) i++;
    this.counts[i]! += 1;
    this.sum += value;
  }
}

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
}

export interface Family {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  /** Read when the page is rendered. */
  samples(): Iterable<Sample>;
  histograms?(): Iterable<{ labels: Labels; histogram: Histogram }>;
}

/** All metrics of one broker. Not a global: two brokers in one process (tests, the demo) have two. */
export class Metrics {
  readonly #families = new Map<string, Family>();

  #add(family: Family): void {
    if (this.#families.has(family.name)) throw new TypeError(`metric ${family.name} is registered twice`);
    this.#families.set(family.name, family);
  }

  /** A counter without labels. */
  counter(name: string, help: string): Series {
    const series: Series = { value: 0 };
    this.#add({ name, type: 'counter', help, samples: () => [{ labels: {}, value: series.value }] });
    return series;
  }

  /** A counter per value of `label`; at most `maxSeries` of them, what comes later is counted under `other`. */
  counters(name: string, help: string, label: string, maxSeries = 1_000): (labelValue: string) => Series {
    const all = new Map<string, Series>();
    this.#add({
      name,
      type: 'counter',
      help,
      *samples() {
        for (const [labelValue, series] of all) yield { labels: { [label]: labelValue }, value: series.value };
      },
    });
    return (labelValue) => {
      let series = all.get(labelValue);
      if (series === undefined) {
        const name = all.size < maxSeries ? labelValue : 'other';
        series = all.get(name) ?? { value: 0 };
        all.set(name, series);
      }
      return series;
    };
  }

  /** A gauge, or several with labels, computed when the page is rendered. */
  gauge(name: string, help: string, read: () => number | Iterable<Sample>): void {
    this.#computed(name, 'gauge', help, read);
  }

  /** A counter whose value is kept elsewhere. */
  computedCounter(name: string, help: string, read: () => number | Iterable<Sample>): void {
    this.#computed(name, 'counter', help, read);
  }

  #computed(name: string, type: MetricType, help: string, read: () => number | Iterable<Sample>): void {
    this.#add({
      name,
      type,
      help,
      samples() {
        const value = read();
        return typeof value === 'number' ? [{ labels: {}, value }] : value;
      },
    });
  }

  histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    const histogram = new Histogram(bounds);
    this.#add({ name, type: 'histogram', help, samples: () => [], histograms: () => [{ labels: {}, histogram }] });
    return histogram;
  }

  families(): Iterable<Family> {
    return this.#families.values();
  }
}
