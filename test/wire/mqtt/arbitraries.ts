/** Random but valid packets, for property tests. */
import fc from 'fast-check';
import type { Packet, QoS, Version } from '../../../src/wire/mqtt/packets.ts';
import { PROPERTIES, type Properties } from '../../../src/wire/mqtt/properties.ts';

const text = fc
  .oneof(fc.string({ maxLength: 20 }), fc.string({ unit: 'grapheme', maxLength: 12 }))
  .map((value) => value.replaceAll('\0', '-'));
const bytes = fc.uint8Array({ maxLength: 300 }).map((value) => Buffer.from(value));
const id = fc.integer({ min: 1, max: 65535 });
const qos = fc.constantFrom<QoS>(0, 1, 2);

/** `place` as in readProperties; `client`: only what a client may send. */
export function properties(place: number, version: Version): fc.Arbitrary<Properties> {
  if (version < 5) return fc.constant({});
  const model: Record<string, fc.Arbitrary<unknown>> = {};
  for (const row of PROPERTIES) {
    if ((row.packets & (1 << place)) === 0) continue;
    if (row.name === 'authenticationMethod' || row.name === 'authenticationData') continue;
    const min = row.zeroForbidden === true || row.name === 'topicAlias' ? 1 : 0;
    const kinds: Record<string, fc.Arbitrary<unknown>> = {
      bit: fc.integer({ min: 0, max: 1 }),
      byte: fc.integer({ min: 0, max: 255 }),
      u16: fc.integer({ min, max: 65535 }),
      u32: fc.integer({ min, max: 4294967295 }),
      varint: fc.array(fc.integer({ min: 1, max: 268435455 }), { minLength: 1, maxLength: place === 3 ? 3 : 1 }),
      string: text,
      binary: bytes,
      pair: fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 4 }),
    };
    model[row.name] = kinds[row.kind]!;
  }
  return fc.record(model, { requiredKeys: [] }) as fc.Arbitrary<Properties>;
}

const name = text.filter((value) => value.length > 0);

export function packets(version: Version): fc.Arbitrary<Packet> {
  const will = fc.record({
    topic: name,
    payload: bytes,
    qos,
    retain: fc.boolean(),
    properties: properties(0, version),
  });
  const connect = fc
    .record({
      type: fc.constant(1 as const),
      version: fc.constant(version),
      clean: fc.boolean(),
      keepAlive: fc.integer({ min: 0, max: 65535 }),
      clientId: name,
      will: fc.option(will),
      username: fc.option(name),
      password: fc.option(bytes),
      properties: properties(1, version),
    })
    .map((packet) => (packet.username === null ? { ...packet, password: null } : packet));
  const publish = fc
    .record({
      type: fc.constant(3 as const),
      dup: fc.boolean(),
      qos,
      retain: fc.boolean(),
      topic: name,
      packetId: id,
      properties: properties(3, version),
      payload: bytes,
    })
    .map((packet) => (packet.qos === 0 ? { ...packet, dup: false, packetId: 0 } : packet));
  const ack = (type: 4 | 5 | 6 | 7) =>
    fc.record({
      type: fc.constant(type),
      packetId: id,
      reason: version === 5 ? fc.constantFrom(...(type < 6 ? [0, 0x10, 0x80, 0x87, 0x97] : [0, 0x92])) : fc.constant(0),
      properties: properties(type, version),
    });
  const v5 = version === 5;
  const request = fc.record({
    filter: name,
    qos,
    noLocal: v5 ? fc.boolean() : fc.constant(false),
    retainAsPublished: v5 ? fc.boolean() : fc.constant(false),
    retainHandling: v5 ? fc.constantFrom<0 | 1 | 2>(0, 1, 2) : fc.constant(0 as const),
  });
  const subscribe = fc.record({
    type: fc.constant(8 as const),
    packetId: id,
    subscriptions: fc.array(request, { minLength: 1, maxLength: 5 }),
    properties: properties(8, version),
  });
  const unsubscribe = fc.record({
    type: fc.constant(10 as const),
    packetId: id,
    filters: fc.array(name, { minLength: 1, maxLength: 5 }),
    properties: properties(10, version),
  });
  const suback = fc.record({
    type: fc.constant(9 as const),
    packetId: id,
    reasons: fc.array(fc.constantFrom(0, 1, 2, 0x80), { minLength: 1, maxLength: 5 }),
    properties: properties(9, version),
  });
  const connack = fc.record({
    type: fc.constant(2 as const),
    sessionPresent: fc.constant(false),
    reason: version === 5 ? fc.constantFrom(0, 0x81, 0x97) : fc.integer({ min: 0, max: 5 }),
    properties: properties(2, version),
  });
  const disconnect = fc.record({
    type: fc.constant(14 as const),
    reason: version === 5 ? fc.constantFrom(0, 4, 0x81, 0x8e) : fc.constant(0),
    properties: properties(14, version),
  });
  const ping = fc.constantFrom<Packet>({ type: 12 }, { type: 13 });
  return fc.oneof(
    connect,
    publish,
    publish,
    ack(4),
    ack(5),
    ack(6),
    ack(7),
    subscribe,
    unsubscribe,
    suback,
    connack,
    disconnect,
    ping,
  );
}
