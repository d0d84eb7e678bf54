/** One partition on its way to an MQTT broker: reads in order, publishes in order, moves its cursor in order of PUBACKs. */
import { asHeadwaterError } from '../errors.ts';
import type { Partition } from '../log/types.ts';
import { openBatch } from '../wire/batch/compression.ts';
import { isControl } from '../wire/batch/record-batch.ts';
import type { RecordCursor } from '../wire/batch/record-cursor.ts';
import { backlogBytes, backlogRecords, isLive } from './backlog.ts';
import { isAborted } from './forwarding.ts';
import type { MqttLink } from './mqtt-link.ts';
import { OldestRecord } from './oldest-record.ts';
import { fillTemplate } from './topic-selection.ts';

const READ_BYTES = 64 * 1024;
/** Bears the link a record came down through. */
export const ORIGIN_HEADER = 'headwater-link';

interface Sent {
  readonly nextOffset: number;
  acknowledged: boolean;
}

export class MqttPartition {
  readonly partition: Partition;
  readonly upstreamTopic: string;
  readonly upstreamPartition = 0;
  readonly #link: MqttLink;
  #cursor: number;
  #sent: Sent[] = [];
  #generation = 0;
  #running = false;
  #stopped = false;
  #wakeUp: (() => void) | null = null;
  readonly #oldest: OldestRecord;
  lastError: string | null = null;

  constructor(link: MqttLink, partition: Partition) {
    this.#link = link;
    this.partition = partition;
    this.#oldest = new OldestRecord(partition);
    this.upstreamTopic = link.options.rename;
    this.#cursor = link.cursors.get(partition.topic.id, partition.index)?.offset ?? partition.logStartOffset;
  }

  get state(): string {
    if (this.#stopped) return 'stopped';
    return this.#running ? 'sending' : 'connecting';
  }

  get nextOffset(): number {
    return this.#cursor;
  }

  get backlogRecords(): number {
    return backlogRecords(this.partition, this.#cursor);
  }

  get backlogBytes(): number {
    return backlogBytes(this.partition, this.#cursor);
  }

  get live(): boolean {
    return isLive(this.partition, this.#cursor);
  }

  oldestTimestamp(): number | null {
    return this.backlogRecords === 0 ? null : this.#oldest.timestampAt(this.#cursor);
  }

  start(): void {
    this.partition.wait(this);
    if (this.#link.connected) this.connected();
  }

  wake(): void {
    this.#wakeUp?.();
  }

  connected(): void {
    if (!this.#stopped) void this.#run(++this.#generation);
  }

  disconnected(): void {
    this.#generation++;
    this.#sent = [];
    this.#running = false;
    this.#wakeUp?.();
  }

  stop(): void {
    this.#stopped = true;
    this.partition.cancelWait(this);
    this.disconnected();
  }

  async #run(generation: number): Promise<void> {
    const mine = (): boolean => generation === this.#generation;
    this.#running = true;
    let next = this.#cursor;
    while (mine()) {
      try {
        if (next < this.partition.logStartOffset) next = this.#lost(next);
        const upTo = this.partition.lastStableOffset;
        if (next >= upTo) {
          await new Promise<void>((resolve) => {
            this.#wakeUp = resolve;
          });
          continue;
        }
        const { batches, nextOffset } = await this.partition.read({ from: next, upTo, maxBytes: READ_BYTES });
        for (const batch of batches) {
          if (!mine()) return;
          if (isControl(batch) || isAborted(this.partition, batch)) continue;
          await this.#publishAll(await openBatch(batch), next, mine);
        }
        if (!mine()) return;
        next = Math.max(next, nextOffset);
        this.#skipTo(next);
      } catch (error) {
        if (!mine()) return;
        this.lastError = asHeadwaterError(error).message;
        // What cannot be read now is tried again when something changes.
        await new Promise<void>((resolve) => {
          this.#wakeUp = resolve;
          this.#link.env.clock.after(this.#link.options.backoffMaxMs, resolve);
        });
      }
    }
  }

  async #publishAll(records: RecordCursor, from: number, mine: () => boolean): Promise<void> {
    const { name, options } = this.#link;
    const { topic, index } = this.partition;
    while (records.next()) {
      if (records.offset < from) continue;
      const origin = records.headers().find((header) => header.key === ORIGIN_HEADER);
      if (origin?.value?.toString() === name) continue;
      const key = records.key?.toString('utf8') ?? '';
      const mqttTopic = fillTemplate(options.rename, {
        broker: options.broker,
        topic: topic.name,
        key,
        partition: String(index),
      });
      const value = records.value ?? Buffer.alloc(0);
      const sent: Sent = { nextOffset: records.offset + 1, acknowledged: false };
      // [MQTT-4.7.1-1], [MQTT-4.7.3-1]: such a name cannot be published to; it would end the connection.
      if (mqttTopic === '' || /[+#\0]/.test(mqttTopic)) {
        this.#sent.push({ ...sent, acknowledged: true });
        this.#link.counters.lost.value++;
        this.#link.logger.error(
          { topic: topic.name, offset: records.offset, mqttTopic },
          'not a topic that MQTT allows',
        );
        continue;
      }
      const bytes = value.length + mqttTopic.length;
      if (!(await this.#link.slot(bytes, mine))) return;
      this.#sent.push(sent);
      const properties = { 'headwater-offset': `${topic.name}/${index}/${records.offset}` };
      this.#link.publish(mqttTopic, value, properties, (error) => {
        if (!mine() || error !== null) return;
        sent.acknowledged = true;
        this.#link.delivered(bytes);
        this.#advance();
      });
    }
  }

  #advance(): void {
    let offset = this.#cursor;
    while (this.#sent[0]?.acknowledged === true) offset = this.#sent.shift()!.nextOffset;
    this.#setCursor(offset);
  }

  #skipTo(offset: number): void {
    if (this.#sent.length === 0) this.#setCursor(offset);
  }

  /** Retention was faster. */
  #lost(next: number): number {
    const { topic, index, logStartOffset } = this.partition;
    this.#link.counters.lost.value += logStartOffset - next;
    this.#link.recordLoss({
      topic: topic.name,
      topicId: topic.id,
      partition: index,
      firstOffset: next,
      lastOffset: logStartOffset - 1,
      reason: 'retention: removed before it was sent upstream',
    });
    this.#setCursor(logStartOffset);
    return logStartOffset;
  }

  #setCursor(offset: number): void {
    if (offset <= this.#cursor) return;
    this.#cursor = offset;
    this.lastError = null;
    this.#link.cursors.set(this.partition.topic.id, this.partition.index, {
      offset,
      sequence: 0,
      producerId: -1,
      producerEpoch: -1,
      upstreamNext: -1,
      upstreamTopic: this.upstreamTopic,
      upstreamPartition: 0,
      upstreamTopicId: '',
      clusterId: null,
      selection: '',
    });
  }
}
