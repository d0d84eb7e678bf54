/**
 * Produce requests to one broker upstream: at most one batch of a partition in a request (Kafka's rule), several requests
 * on their way, filled in the order the lanes say.
 */
import type { Connection } from '../client/connection.ts';
import type { Env, Timer } from '../env.ts';
import { asHeadwaterError, type HeadwaterError } from '../errors.ts';
import { THROTTLE_MAX_MS } from '../limits.ts';
import { produce } from '../wire/kafka/api/00-produce.ts';
import { Lanes } from './lanes.ts';
import type { Outgoing } from './outgoing.ts';
import type { RateMeter, TokenBucket } from './rate.ts';

/** Code 0: stored, from `baseOffset` upstream. */
export interface BatchResult {
  readonly code: number;
  readonly baseOffset: number;
  readonly message: string | null;
}

/** One partition as the sender sees it. */
export interface SendingPartition {
  readonly upstreamTopic: string;
  readonly upstreamPartition: number;
  readonly priority: number;
  readonly live: boolean;
  /** The next batch to go, or null. */
  peek(): Outgoing | null;
  /** The batch that `peek` gave is on its way; the results come in the same order. */
  sent(): Outgoing;
  answered(outgoing: Outgoing, result: BatchResult): void;
  /** Nobody knows whether it was stored. */
  lost(outgoing: Outgoing, error: HeadwaterError): void;
  /** The connection is gone. What was on its way is reported by `lost`, after this. */
  disconnected(error: HeadwaterError): void;
}

/** What all senders of a link share. */
export interface SendingRules {
  readonly env: Env;
  readonly acks: 1 | -1;
  readonly requestTimeoutMs: number;
  readonly maxRequestBytes: number;
  readonly maxRequests: number;
  readonly bucket: TokenBucket;
  readonly delivered: RateMeter;
  /** When a broker (`host:port`) may be asked again, by the clock: it outlives the connection that was told so. */
  readonly throttledUntil: Map<string, number>;
  liveShare: number;
  /** Upstream asked to be left alone for so long. */
  throttled(ms: number): void;
  /** Paused, outside its windows, or over its budget: nothing new goes out. */
  maySend(): boolean;
  /** Bytes went out. */
  spent(bytes: number): void;
}

/** A slow uplink should have about this much on its way, so that a live record does not wait behind it. */
const IN_FLIGHT_SECONDS = 0.5;
const IN_FLIGHT_MIN_BYTES = 32 * 1024;

export class Sender {
  readonly #connection: Connection;
  readonly #rules: SendingRules;
  readonly #lanes: Lanes<SendingPartition>;
  readonly #attached = new Set<SendingPartition>();
  #requests = 0;
  #inFlightBytes = 0;
  #timer: Timer | null = null;
  #scheduled = false;

  constructor(connection: Connection, rules: SendingRules) {
    this.#connection = connection;
    this.#rules = rules;
    this.#lanes = new Lanes(rules.liveShare);
    connection.onClose((error) => {
      this.#timer?.cancel();
      for (const partition of [...this.#attached]) partition.disconnected(error);
    });
  }

  attach(partition: SendingPartition): void {
    this.#attached.add(partition);
  }

  detach(partition: SendingPartition): void {
    this.#attached.delete(partition);
    this.#lanes.delete(partition);
  }

  /** The partition has a batch. Requests are filled once all of this turn have offered theirs. */
  offer(partition: SendingPartition): void {
    this.#lanes.add(partition);
    this.schedule();
  }

  withdraw(partition: SendingPartition): void {
    this.#lanes.delete(partition);
  }

  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#rules.env.clock.soon(() => {
      this.#scheduled = false;
      this.pump();
    });
  }

  /** Bytes that may be on their way: what the uplink takes in half a second, measured or configured. */
  #inFlightLimit(now: number): number {
    const { bucket, delivered, maxRequestBytes, maxRequests } = this.#rules;
    const most = maxRequestBytes * maxRequests;
    if (bucket.rate > 0) return Math.min(most, Math.max(IN_FLIGHT_MIN_BYTES / 4, bucket.rate * IN_FLIGHT_SECONDS));
    const measured = delivered.perSecond(now) * IN_FLIGHT_SECONDS * 2;
    return Math.min(most, Math.max(IN_FLIGHT_MIN_BYTES * 8, measured));
  }

  pump(): void {
    const { env, bucket, maxRequests } = this.#rules;
    while (this.#requests < maxRequests && this.#lanes.size > 0) {
      if (this.#connection.closed || !this.#rules.maySend()) return;
      const now = env.clock.monotonic();
      const throttledUntil = this.#rules.throttledUntil.get(this.#connection.peer) ?? 0;
      const waitMs = Math.max(throttledUntil - now, bucket.waitMs(now));
      if (waitMs > 0) {
        this.#wakeIn(waitMs);
        return;
      }
      const limit = this.#inFlightLimit(now);
      if (this.#requests > 0 && this.#inFlightBytes >= limit) return;
      if (!this.#sendOne(Math.min(this.#rules.maxRequestBytes, Math.max(limit, 1)))) return;
    }
  }

  #wakeIn(ms: number): void {
    if (this.#timer !== null) return;
    this.#timer = this.#rules.env.clock.after(Math.ceil(ms), () => {
      this.#timer = null;
      this.pump();
    });
  }

  /** Fills and sends one request; false when nobody had anything. */
  #sendOne(maxBytes: number): boolean {
    const taken: { partition: SendingPartition; outgoing: Outgoing }[] = [];
    let bytes = 0;
    this.#lanes.liveShare = this.#rules.liveShare;
    for (;;) {
      const contended = this.#lanes.contended;
      const partition = this.#lanes.take((member) => {
        const next = member.peek();
        return next !== null && (bytes === 0 || bytes + next.bytes <= maxBytes);
      });
      if (partition === undefined) break;
      const outgoing = partition.sent();
      this.#lanes.sent(partition, outgoing.bytes, contended);
      bytes += outgoing.bytes;
      taken.push({ partition, outgoing });
      if (bytes >= maxBytes) break;
    }
    if (taken.length === 0) return false;
    // Those with more to send queue up again, behind the others.
    for (const { partition } of taken) if (partition.peek() !== null) this.#lanes.add(partition);
    this.#send(taken, bytes);
    return true;
  }

  #send(taken: readonly { partition: SendingPartition; outgoing: Outgoing }[], bytes: number): void {
    const { acks, requestTimeoutMs, env, bucket } = this.#rules;
    this.#requests++;
    this.#inFlightBytes += bytes;
    bucket.take(bytes, env.clock.monotonic());
    this.#rules.spent(bytes);
    const topics = new Map<string, { index: number; records: readonly Uint8Array[] }[]>();
    for (const { partition, outgoing } of taken) {
      const row = { index: partition.upstreamPartition, records: outgoing.chunks };
      const rows = topics.get(partition.upstreamTopic);
      if (rows === undefined) topics.set(partition.upstreamTopic, [row]);
      else rows.push(row);
    }
    const body = {
      acks,
      timeoutMs: Math.max(1_000, Math.floor(requestTimeoutMs * 0.8)),
      topicData: [...topics].map(([name, partitionData]) => ({ name, partitionData })),
    };
    this.#connection.send(produce, body, { timeoutMs: requestTimeoutMs }).then(
      (answer) => {
        this.#done(bytes);
        this.#throttled(answer.throttleTimeMs);
        const results = new Map<string, BatchResult>();
        for (const { name, partitionResponses } of answer.responses) {
          for (const { index, errorCode, baseOffset, errorMessage } of partitionResponses) {
            results.set(`${index}/${name}`, { code: errorCode, baseOffset, message: errorMessage });
          }
        }
        const missing = { code: -1, baseOffset: -1, message: 'the answer leaves the partition out' };
        for (const { partition, outgoing } of taken) {
          const key = `${partition.upstreamPartition}/${partition.upstreamTopic}`;
          partition.answered(outgoing, results.get(key) ?? missing);
        }
        this.pump();
      },
      (error) => {
        this.#done(bytes);
        const reason = asHeadwaterError(error);
        for (const { partition, outgoing } of taken) partition.lost(outgoing, reason);
        // An answer that cannot be decoded leaves the connection open, but nothing that follows can be trusted.
        this.#connection.close(reason);
      },
    );
  }

  #throttled(ms: number): void {
    if (!(ms > 0)) return;
    const { env, throttledUntil, throttled } = this.#rules;
    const { peer } = this.#connection;
    const pause = Math.min(ms, THROTTLE_MAX_MS);
    throttledUntil.set(peer, Math.max(throttledUntil.get(peer) ?? 0, env.clock.monotonic() + pause));
    throttled(pause);
  }

  #done(bytes: number): void {
    this.#requests--;
    this.#inFlightBytes -= bytes;
  }
}
