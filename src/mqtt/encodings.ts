/** The bytes of one message, encoded at most once per protocol version, QoS and retain flag, shared by its receivers. */
import type { QoS, Version } from '../wire/mqtt/packets.ts';
import { NO_PROPERTIES, type Properties } from '../wire/mqtt/properties.ts';
import { type EncodedPublish, encodePublish } from '../wire/mqtt/publish.ts';
import { EMPTY, type Message } from './message.ts';

const NONE: Message = {
  topic: '',
  qos: 0,
  retain: false,
  payload: EMPTY,
  properties: NO_PROPERTIES,
  timestamp: 0,
  publisher: null,
};

export class SharedEncodings {
  #message = NONE;
  #properties: Readonly<Properties> = NO_PROPERTIES;
  readonly #slots: (EncodedPublish | null)[] = new Array<EncodedPublish | null>(12).fill(null);
  #used = false;

  /** Starts on another message; `properties` are those to send (expiry counted down). */
  begin(message: Message, properties: Readonly<Properties>): void {
    this.#message = message;
    this.#properties = properties;
    if (this.#used) {
      this.#slots.fill(null);
      this.#used = false;
    }
  }

  get properties(): Readonly<Properties> {
    return this.#properties;
  }

  get(version: Version, qos: QoS, retain: boolean): EncodedPublish {
    const slot = (version === 5 ? 6 : 0) + qos * 2 + (retain ? 1 : 0);
    let encoded = this.#slots[slot] ?? null;
    if (encoded === null) {
      const { topic, payload } = this.#message;
      encoded = encodePublish(topic, qos, retain, this.#properties, payload, version);
      this.#slots[slot] = encoded;
      this.#used = true;
    }
    return encoded;
  }
}
