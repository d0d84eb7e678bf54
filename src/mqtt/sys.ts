/** `$SYS/broker/...`: a few figures under the names that Mosquitto's users know, retained, never stored in the log. */
import type { Clock } from '../env.ts';
import { NO_PROPERTIES } from '../wire/mqtt/properties.ts';
import type { FanOut } from './fan-out.ts';
import type { Message } from './message.ts';
import type { RetainedMessages } from './retained.ts';
import type { SubscriptionIndex } from './subscription-index.ts';
import type { TopicCache } from './topic-cache.ts';

export type Figures = () => Readonly<Record<string, string | number>>;

export class SysTopics {
  readonly #figures: Figures;
  readonly #topics: TopicCache;
  readonly #fanOut: FanOut;
  readonly #retained: RetainedMessages;
  readonly #index: SubscriptionIndex;
  readonly #clock: Clock;

  constructor(
    figures: Figures,
    topics: TopicCache,
    fanOut: FanOut,
    retained: RetainedMessages,
    index: SubscriptionIndex,
    clock: Clock,
  ) {
    this.#figures = figures;
    this.#topics = topics;
    this.#fanOut = fanOut;
    this.#retained = retained;
    this.#index = index;
    this.#clock = clock;
  }

  publish(): void {
    if (this.#index.size === 0) return;
    for (const [name, value] of Object.entries(this.#figures())) {
      const topic = `$SYS/broker/${name}`;
      const message: Message = {
        topic,
        qos: 0,
        retain: true,
        payload: Buffer.from(String(value)),
        properties: NO_PROPERTIES,
        timestamp: this.#clock.now(),
        publisher: null,
      };
      this.#retained.setVolatile(message);
      this.#fanOut.dispatch(message, this.#topics.get(topic), null, -1);
    }
  }
}
