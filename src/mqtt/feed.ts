/** One partition as the MQTT edge follows it. */
import type { Partition, Waiter } from '../log/types.ts';

export class Feed implements Waiter {
  readonly partition: Partition;
  /** Everything below this offset was offered to the subscribers at the end of the log. */
  fanned: number;
  /** `direct`: fed by the commit listener. `reading`: reads the log itself. `waiting`: for records to become visible. */
  state: 'direct' | 'reading' | 'waiting' = 'direct';
  readonly #onWake: (feed: Feed) => void;

  constructor(partition: Partition, fanned: number, onWake: (feed: Feed) => void) {
    this.partition = partition;
    this.fanned = fanned;
    this.#onWake = onWake;
  }

  wake(): void {
    this.#onWake(this);
  }
}
