/** A PUBLISH on its way in: the record for the log, the message for live subscribers, and a place in the ack queue. */
import type { LogRecord, RecordHeader } from '../log/types.ts';
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
  readonly publisher: string | null;
  readonly entry: TopicEntry;
  readonly packetId: number;
  /** -1 while it is not decided; then the reason code of its acknowledgement. */
  reason = -1;
  /** The publication received after this one, in the ack queue of their connection. */
  next: Publication | null = null;

  constructor(
    entry: TopicEntry,
    key: Uint8Array,
    message: Message,
    headers: readonly RecordHeader[],
    packetId: number,
  ) {
    this.entry = entry;
    this.key = key;
    this.value = message.payload;
    this.headers = headers;
    this.timestamp = message.timestamp;
    this.topic = entry.topic;
    this.qos = message.qos;
    this.retain = message.retain;
    this.properties = message.properties;
    this.publisher = message.publisher;
    this.packetId = packetId;
  }

  get payload(): Uint8Array {
    return this.value;
  }

  /** What it takes while it waits, about. */
  get byteLength(): number {
    return this.value.length + 200;
  }
}
