/** Puts messages into the log, or straight to subscribers when their route stores nothing. */
import type { Clock } from '../env.ts';
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import type { Log } from '../log/types.ts';
import type { QoS } from '../wire/mqtt/packets.ts';
import type { Properties } from '../wire/mqtt/properties.ts';
import { REASON } from '../wire/mqtt/reason.ts';
import type { MqttCounters } from './counters.ts';
import type { FanOut } from './fan-out.ts';
import { forwarded, headersOf } from './message.ts';
import { Publication } from './publication.ts';
import type { RetainedMessages } from './retained.ts';
import type { TopicCache } from './topic-cache.ts';

/** What a client or a will publishes; a PUBLISH packet is one. */
export interface Outbound {
  readonly qos: QoS;
  readonly retain: boolean;
  readonly payload: Uint8Array;
  readonly properties: Readonly<Properties>;
}

export interface PublisherDependencies {
  readonly log: Log;
  readonly topics: TopicCache;
  readonly fanOut: FanOut;
  readonly retained: RetainedMessages;
  readonly clock: Clock;
  readonly counters: MqttCounters;
}

/** Called once, with the reason code set; `error` says why when it was refused. */
export type Published = (publication: Publication, error: HeadwaterError | null) => void;

export class Publisher {
  readonly #deps: PublisherDependencies;

  constructor(deps: PublisherDependencies) {
    this.#deps = deps;
  }

  /**
   * `nameClient`: the publisher's own session has a No Local subscription, so that the record must tell who it is from.
   * Throws TOPIC_NAME_INVALID.
   */
  prepare(
    topic: string,
    message: Outbound,
    clientId: string,
    packetId: number,
    nameClient: boolean,
    exchange: Uint8Array | null,
  ): Publication {
    const { topics, clock } = this.#deps;
    const entry = topics.get(topic);
    const key = topics.keyFor(entry, clientId);
    const { qos, retain, payload } = message;
    const properties = forwarded(message.properties);
    const client = nameClient ? clientId : null;
    const headers = headersOf(topic, qos, retain, properties, entry.route.keyIsTopic, client, exchange);
    return new Publication(entry, key, payload, qos, retain, properties, headers, clock.now(), clientId, packetId);
  }

  submit(publication: Publication, done: Published): void {
    const { topics, retained, fanOut } = this.#deps;
    const { entry } = publication;
    if (publication.retain && !retained.fits(entry.topic, publication.value)) {
      this.#refuse(publication, new HeadwaterError('QUOTA_EXCEEDED', 'no room for another retained message'), done);
      return;
    }
    if (!entry.route.store) {
      fanOut.dispatch(publication, entry, null, -1);
      if (publication.retain) retained.set(publication, null, -1, (error) => this.#settle(publication, error, done));
      else this.#settle(publication, null, done);
      return;
    }
    const partition = topics.partitionFor(entry, publication.key as Buffer);
    if (partition === null) {
      this.#createTopic(publication, done);
      return;
    }
    partition.appendRecord(publication, entry.route.acks === 'all' ? -1 : 1, (error, offset) => {
      if (error !== null) this.#refuse(publication, error, done);
      else if (publication.retain) {
        retained.set(publication, fanOut.feedOf(partition), offset, (why) => this.#settle(publication, why, done));
      } else {
        publication.reason = REASON.SUCCESS;
        done(publication, null);
      }
    });
  }

  #settle(publication: Publication, error: HeadwaterError | null, done: Published): void {
    if (error !== null) this.#refuse(publication, error, done);
    else {
      publication.reason = REASON.SUCCESS;
      done(publication, null);
    }
  }

  #refuse(publication: Publication, error: HeadwaterError, done: Published): void {
    this.#deps.counters.publishRefused.value++;
    publication.reason = error.mqttReason;
    done(publication, error);
  }

  /** The log topic of a route was deleted, or never made: it is made again, as an auto-created topic. */
  #createTopic(publication: Publication, done: Published): void {
    const { log, topics, clock } = this.#deps;
    const { topicName } = publication.entry.route;
    const submit = () => {
      const entry = topics.get(publication.topic);
      if (topics.partitionFor(entry, publication.key as Buffer) === null) {
        this.#refuse(publication, new HeadwaterError('UNKNOWN_TOPIC', `log topic ${topicName} does not exist`), done);
      } else {
        const { key, value, qos, retain, properties, headers, timestamp, publisher, packetId } = publication;
        const again = new Publication(
          entry,
          key!,
          value,
          qos,
          retain,
          properties,
          headers,
          timestamp,
          publisher,
          packetId,
        );
        this.submit(again, (settled, error) => {
          publication.reason = settled.reason;
          done(publication, error);
        });
      }
    };
    log.createTopic({ name: topicName, partitions: -1, config: new Map() }).then(submit, (error: unknown) => {
      const known = asHeadwaterError(error);
      // Another publish made it meanwhile.
      if (known.code === 'TOPIC_EXISTS') clock.soon(submit);
      else this.#refuse(publication, known, done);
    });
  }
}
