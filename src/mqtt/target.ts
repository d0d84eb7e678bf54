/** Who messages are delivered to: a connected session, or a shared subscription group. */

import type { SharedEncodings } from './encodings.ts';
import type { Feed } from './feed.ts';
import type { Message } from './message.ts';
import type { Match } from './subscription-index.ts';

export interface Target {
  /**
   * Offers a message at the end of the log. A target that cannot take it now remembers `offset` of `feed` and reads on
   * from there later; without a feed (live-only) the message is dropped for this target.
   */
  offer(match: Match, message: Message, feed: Feed | null, offset: number, encodings: SharedEncodings): void;
}

/** Something that reads the log to catch up, one bounded step at a time. */
export interface CatchingUp {
  /** Reads and delivers once; true: there is more to do and room for it. */
  step(): Promise<boolean>;
}
