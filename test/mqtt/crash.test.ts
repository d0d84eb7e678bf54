/** Crashes at random moments, both clients keeping their state as the specification asks: QoS 2 is exactly once. */
import { describe, expect, it } from 'vitest';
import { MemoryDisk } from '../../src/store/memory.ts';
import { opened, type RawClient, startEdge, type TestEdge } from './harness.ts';

function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
}

const TOTAL = 150;
const keep = { clean: false, properties: { sessionExpiryInterval: 1000 } };

/** A publisher that resends what is not complete, as section 4.4 demands of a client. */
class Publisher {
  readonly qos: 1 | 2;
  #next = 1;
  /** Packet identifier to the message, in order; `released`: PUBREC came. */
  readonly #open = new Map<number, { payload: string; released: boolean }>();

  constructor(qos: 1 | 2) {
    this.qos = qos;
  }

  get done(): boolean {
    return this.#next > TOTAL && this.#open.size === 0;
  }

  attach(client: RawClient): void {
    for (const [messageId, { payload, released }] of this.#open) {
      if (released) client.send({ cmd: 'pubrel', messageId });
      else client.publish(`crash/${this.qos}`, payload, { qos: this.qos, messageId, dup: true });
    }
    this.fill(client);
  }

  fill(client: RawClient): void {
    while (this.#open.size < 8 && this.#next <= TOTAL) {
      // Identifiers are used again soon: the hard case.
      let messageId = 1;
      while (this.#open.has(messageId)) messageId++;
      const payload = String(this.#next++);
      this.#open.set(messageId, { payload, released: false });
      client.publish(`crash/${this.qos}`, payload, { qos: this.qos, messageId });
    }
  }

  take(client: RawClient, packet: { cmd: string; messageId: number }): void {
    const { cmd, messageId } = packet;
    if (cmd === 'puback' || cmd === 'pubcomp') this.#open.delete(messageId);
    if (cmd === 'pubrec') {
      const one = this.#open.get(messageId);
      if (one !== undefined) one.released = true;
      client.send({ cmd: 'pubrel', messageId });
    }
    this.fill(client);
  }
}

/** A subscriber that keeps its QoS 2 identifiers over reconnects. */
class Subscriber {
  readonly got = new Map<string, string[]>();
  readonly #unreleased = new Set<number>();

  take(
    client: RawClient,
    packet: { cmd: string; qos: number; messageId: number; topic: string; payload: Buffer },
  ): void {
    const { cmd, messageId } = packet;
    if (cmd === 'publish') {
      const list = this.got.get(packet.topic) ?? [];
      this.got.set(packet.topic, list);
      if (packet.qos === 1) {
        list.push(String(packet.payload));
        client.send({ cmd: 'puback', messageId });
      } else {
        if (!this.#unreleased.has(messageId)) list.push(String(packet.payload));
        this.#unreleased.add(messageId);
        client.send({ cmd: 'pubrec', messageId });
      }
    } else if (cmd === 'pubrel') {
      this.#unreleased.delete(messageId);
      client.send({ cmd: 'pubcomp', messageId });
    }
  }
}

async function pumpUntil(
  clients: readonly [RawClient, (client: RawClient, packet: never) => void][],
  isOver: () => boolean,
): Promise<void> {
  while (!isOver()) {
    for (const [client, take] of clients) {
      for (const packet of client.received.splice(0)) take(client, packet as never);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function run(seed: number): Promise<Subscriber> {
  const random = randomOf(seed);
  // Writes take a while: crashes fall between a write and its completion.
  const disk = new MemoryDisk({ random, schedule: (task) => void setTimeout(task, random() * 3) });
  const publishers = [new Publisher(1), new Publisher(2)];
  const subscriber = new Subscriber();
  const total = () => new Set(subscriber.got.get('crash/1')).size + (subscriber.got.get('crash/2')?.length ?? 0);
  for (let round = 0; ; round++) {
    const edge: TestEdge = await startEdge({}, {}, disk);
    const reader = await opened(edge.port, 5, { ...keep, clientId: 'reader' });
    if (round === 0) await reader.subscribe('crash/+', 2);
    const writers = await Promise.all(
      publishers.map((publisher) => opened(edge.port, 5, { ...keep, clientId: `writer-${publisher.qos}` })),
    );
    publishers.forEach((publisher, i) => {
      publisher.attach(writers[i]!);
    });
    const last = round >= 6;
    const until = performance.now() + 10 + random() * 60;
    const deadline = performance.now() + 15_000;
    const finished = () => publishers.every((publisher) => publisher.done) && total() >= 2 * TOTAL;
    await pumpUntil(
      [
        [reader, (client, packet) => subscriber.take(client, packet)],
        ...writers.map((writer, i): [RawClient, (client: RawClient, packet: never) => void] => [
          writer,
          (client, packet) => publishers[i]!.take(client, packet),
        ]),
      ],
      () => finished() || performance.now() > (last ? deadline : until),
    );
    if (last || finished()) {
      // Whatever comes now would be once too often.
      for (let i = 0; i < 20; i++) {
        for (const packet of reader.received.splice(0)) subscriber.take(reader, packet as never);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await edge.stop();
      return subscriber;
    }
    edge.crash();
    for (const client of [reader, ...writers]) client.end();
  }
}

describe('crashes between any two steps', () => {
  it.each([1, 2, 3, 4, 5])('seed %i: QoS 1 loses nothing, QoS 2 is exactly once, both in order', async (seed) => {
    const { got } = await run(seed);
    const all = Array.from({ length: TOTAL }, (_, i) => String(i + 1));
    expect(got.get('crash/2')).toEqual(all);
    const first = [...new Set(got.get('crash/1'))];
    expect(first).toEqual(all);
  });
});
