/** Rates: a token bucket for what may be sent, a meter for what was. Times are `clock.monotonic()`, milliseconds. */

/** Bytes per second with a burst. Taking more than there is makes a debt, so that one large request is possible. */
export class TokenBucket {
  #rate: number;
  #burst: number;
  #tokens: number;
  #at: number;

  /** `rate` 0: no limit. */
  constructor(rate: number, burst: number, now: number) {
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = burst;
    this.#at = now;
  }

  setRate(rate: number, burst: number, now: number): void {
    this.#refill(now);
    this.#rate = rate;
    this.#burst = burst;
    this.#tokens = Math.min(this.#tokens, burst);
  }

  get rate(): number {
    return this.#rate;
  }

  #refill(now: number): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + (Math.max(0, now - this.#at) * this.#rate) / 1000);
    this.#at = now;
  }

  /** 0: something may be sent now; otherwise milliseconds until it may. */
  waitMs(now: number): number {
    if (this.#rate === 0) return 0;
    this.#refill(now);
    return this.#tokens > 0 ? 0 : Math.ceil((1 - this.#tokens) / (this.#rate / 1000));
  }

  take(bytes: number, now: number): void {
    if (this.#rate === 0) return;
    this.#refill(now);
    this.#tokens -= bytes;
  }
}

const HALF_LIFE_MS = 5_000;

/** Units per second, exponentially weighted. */
export class RateMeter {
  #weighted = 0;
  #at: number;

  constructor(now: number) {
    this.#at = now;
  }

  #decay(now: number): void {
    this.#weighted *= 0.5 ** (Math.max(0, now - this.#at) / HALF_LIFE_MS);
    this.#at = now;
  }

  add(units: number, now: number): void {
    this.#decay(now);
    this.#weighted += units;
  }

  perSecond(now: number): number {
    this.#decay(now);
    return (this.#weighted * Math.LN2 * 1000) / HALF_LIFE_MS;
  }
}
