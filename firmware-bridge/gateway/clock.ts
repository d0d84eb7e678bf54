/** The gateway's clocks and timers; tests hand in their own. */
export interface Clock {
  /** Milliseconds that only go forward. */
  monotonic(): number;
  /** UTC in milliseconds. */
  wall(): number;
  /** Runs `callback` once after `ms`; the function returned cancels it. Does not keep the process alive. */
  after(ms: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
