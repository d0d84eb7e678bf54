/** What keeps a connection from starting its next request although it has one: the log, a quota. Says when to try again. */
import type { Clock, Timer } from '../env.ts';
import { APPEND_QUEUE_MAX_BYTES } from '../limits.ts';
import type { Log } from '../log/types.ts';

export class Gate {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #onOpen: () => void;
  #waitsForLog = false;
  /** `clock.monotonic()` up to which a quota holds the connection; the timer runs until then. */
  #heldUntil = 0;
  #timer: Timer | null = null;

  /** `onOpen`: what held it is over; it may be held by something else. */
  constructor(clock: Clock, log: Log, onOpen: () => void) {
    this.#clock = clock;
    this.#log = log;
    this.#onOpen = onOpen;
  }

  /** KIP-219: the client was told to wait, and is not read from meanwhile. */
  hold(ms: number): void {
    const until = this.#clock.monotonic() + ms;
    if (until <= this.#heldUntil) return;
    this.#heldUntil = until;
    this.#timer?.cancel();
    this.#timer = this.#clock.after(ms, () => {
      this.#timer = null;
      this.#onOpen();
    });
  }

  get held(): boolean {
    return this.#timer !== null;
  }

  /** Whether a request of `size` bytes may start now. */
  admits(size: number): boolean {
    if (this.#timer !== null) return false;
    const log = this.#log;
    if (log.queuedBytes === 0 || log.queuedBytes + size <= APPEND_QUEUE_MAX_BYTES) return true;
    if (!this.#waitsForLog) {
      this.#waitsForLog = true;
      log.whenDrained(() => {
        this.#waitsForLog = false;
        this.#onOpen();
      });
    }
    return false;
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
