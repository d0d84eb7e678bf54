/**
 * From a device's ticks to time. Every PONG gives a pair (ticks, our monotonic clock), known to half its round trip. Pairs are
 * kept thinly over the whole boot: between two of them time is interpolated, beyond the last one it is carried on with the rate
 * measured so far, so a crystal that is 50 ppm off costs milliseconds where it would cost 4.3 s a day.
 */
export type Sample = { readonly ticks: number; readonly at: number; readonly roundTrip: number };

/** More than this, and every other one of the older half is dropped. */
const MAX_SAMPLES = 128;
/** Within this many ms the sample with the shortest round trip stands for all. */
const BUCKET_MS = 60_000;
/** A rate is believed once it was measured over this long. */
const MIN_SPAN_MS = 300_000;
/** No crystal and no RC oscillator that is sold as a clock is further off; what is beyond is a jump of the ticks. */
const MAX_DRIFT = 0.05;

export class ClockMap {
  readonly #nominal: number;
  /** At most one a bucket, the best of it. */
  #samples: Sample[] = [];
  #rate: number;

  /** `msPerTick` as the device states it; `rate` is an earlier estimate of the true value, if there is one. */
  constructor(msPerTick: number, rate = msPerTick) {
    this.#nominal = msPerTick;
    this.#rate = rate;
  }

  /** Milliseconds of our clock per tick of the device, the best estimate. */
  get rate(): number {
    return this.#rate;
  }

  get last(): Sample | undefined {
    return this.#samples.at(-1);
  }

  /** Parts per million that the device's clock is fast (+) or slow (-). */
  get driftPpm(): number {
    return (this.#nominal / this.#rate - 1) * 1e6;
  }

  add(sample: Sample): void {
    const samples = this.#samples;
    const last = samples.at(-1);
    if (last !== undefined && sample.ticks <= last.ticks) {
      if (sample.ticks < last.ticks) this.#samples = [sample]; // the ticks began again
      return;
    }
    if (last !== undefined) {
      const expected = (sample.ticks - last.ticks) * this.#rate;
      const off = Math.abs(sample.at - last.at - expected);
      if (off > expected * MAX_DRIFT + (sample.roundTrip + last.roundTrip) / 2 + 1000) {
        this.#samples = [sample];
        return;
      }
    }
    if (last !== undefined && Math.floor(last.at / BUCKET_MS) === Math.floor(sample.at / BUCKET_MS)) {
      if (sample.roundTrip > last.roundTrip) return;
      samples.pop();
    }
    samples.push(sample);
    if (samples.length > MAX_SAMPLES) {
      const half = MAX_SAMPLES >> 1;
      this.#samples = samples.filter((_, i) => i === 0 || i > half || i % 2 === 0);
    }
    this.#fit();
  }

  /** Our monotonic clock when the device counted `ticks`; undefined while nothing is known of this boot. */
  at(ticks: number): number | undefined {
    const samples = this.#samples;
    const first = samples[0];
    const last = samples.at(-1);
    if (first === undefined || last === undefined) return undefined;
    if (ticks >= last.ticks) return last.at + (ticks - last.ticks) * this.#rate;
    if (ticks <= first.ticks) return first.at - (first.ticks - ticks) * this.#rate;
    let low = 0;
    let high = samples.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (samples[middle]!.ticks <= ticks) low = middle;
      else high = middle;
    }
    const from = samples[low]!;
    const to = samples[high]!;
    return from.at + ((ticks - from.ticks) / (to.ticks - from.ticks)) * (to.at - from.at);
  }

  /** Least squares over all samples, centred so that large tick counts lose no digits. */
  #fit(): void {
    const samples = this.#samples;
    const first = samples[0]!;
    if (samples.at(-1)!.at - first.at < MIN_SPAN_MS) return;
    let ticks = 0;
    let at = 0;
    for (const sample of samples) {
      ticks += sample.ticks - first.ticks;
      at += sample.at - first.at;
    }
    ticks /= samples.length;
    at /= samples.length;
    let over = 0;
    let under = 0;
    for (const sample of samples) {
      const offset = sample.ticks - first.ticks - ticks;
      over += offset * (sample.at - first.at - at);
      under += offset * offset;
    }
    this.#rate = over / under;
  }
}
