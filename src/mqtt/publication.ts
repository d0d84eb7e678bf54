/** A PUBLISH on its way in: the record for the log, the message for live subscribers, and a place in the ack queue. */
import type { Labels, LogRecord, RecordHeader } from '../log/types.ts';
import type { QoS } from '../wire/mqtt/packets.ts';
import type { Properties } from '../wire/mqtt/properties.ts';
import type { Message } from './message.ts';
import type { TopicEntry } from './topic-cache.ts';

export class Publication implements LogRecord, Message {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array;
  readonly headers: readonly RecordHeader[];
  readonly timestamp: number;
  readonly topic: string;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly properties: Readonly<Properties>;
  readonly publisher: string;
  readonly entry: TopicEntry;
  readonly packetId: number;
  /** -1 while it is not decided; then the reason code of its acknowledgement. */
  reason = -1;
  /** The publication received after this one, in the ack queue of their connection. */
  next: Publication | null = null;

  constructor(
    entry: TopicEntry,
    key: Uint8Array,
    payload: Uint8Array,
    qos: QoS,
    retain: boolean,
    properties: Readonly<Properties>,
    headers: readonly RecordHeader[],
    timestamp: number,
    publisher: string,
    packetId: number,
  ) {
    this.entry = entry;
    this.key = key;
    this.value = payload;
    this.headers = headers;
    this.timestamp = timestamp;
    this.topic = entry.topic;
    this.qos = qos;
    this.retain = retain;
    this.properties = properties;
    this.publisher = publisher;
    this.packetId = packetId;
  }

  get labels(): Labels {
    return this.entry.labels;
  }

  get payload(): Uint8Array {
    return this.value;
  }

  /** What it takes while it waits, about. */
  get byteLength(): number {
    return this.value.length + 200;
  }
}
