import fc from 'fast-check';
import mqttPacket from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import type { Packet, Version } from '../../../src/wire/mqtt/packets.ts';
import { PacketParser } from '../../../src/wire/mqtt/parser.ts';
import { MqttError } from '../../../src/wire/mqtt/reason.ts';
import { writePacket } from '../../../src/wire/mqtt/write.ts';
import { packets } from './arbitraries.ts';

function parseAll(chunks: readonly Buffer[], version: Version, maxBytes = 1 << 20): Packet[] {
  const parser = new PacketParser(maxBytes);
  parser.version = version;
  const found: Packet[] = [];
  for (const chunk of chunks) {
    parser.push(chunk);
    for (let packet = parser.next(); packet !== null; packet = parser.next()) found.push(packet);
  }
  return found;
}

function plain(packet: unknown): unknown {
  return JSON.parse(JSON.stringify(packet, (_, value) => (value instanceof Uint8Array ? [...value] : value)));
}

const NAMES = [
  '',
  'connect',
  'connack',
  'publish',
  'puback',
  'pubrec',
  'pubrel',
  'pubcomp',
  'subscribe',
  'suback',
  'unsubscribe',
  'unsuback',
  'pingreq',
  'pingresp',
  'disconnect',
  'auth',
];
const BOOLEANS = new Set([
  'requestProblemInformation',
  'requestResponseInformation',
  'payloadFormatIndicator',
  'retainAvailable',
  'wildcardSubscriptionAvailable',
  'sharedSubscriptionAvailable',
]);

// biome-ignore lint/suspicious/noExplicitAny: the peer's packets are untyped here
type Peer = any;

function peerProperties(source: Peer): Peer {
  const out: Peer = {};
  for (const [name, value] of Object.entries(source as object)) {
    if (name === 'userProperty') out.userProperties = value;
    else if (name === 'subscriptionIdentifierAvailable') out.subscriptionIdentifiersAvailable = value === 1;
    else if (name === 'subscriptionIdentifier' && value.length === 1) out.subscriptionIdentifier = value[0];
    else out[name] = BOOLEANS.has(name) ? value === 1 : value;
  }
  return out;
}

/** Our packet in the peer's words, for comparison with what the peer decoded. */
function inPeerWords(packet: Packet, version: Version): Peer {
  const out: Peer = { cmd: NAMES[packet.type] };
  if (packet.type === 1) {
    out.protocolVersion = version;
    out.clean = packet.clean;
    out.keepalive = packet.keepAlive;
    out.clientId = packet.clientId;
    if (packet.username !== null) out.username = packet.username;
    if (packet.password !== null) out.password = packet.password;
    if (packet.will !== null)
      out.will = {
        topic: packet.will.topic,
        payload: packet.will.payload,
        qos: packet.will.qos,
        retain: packet.will.retain,
      };
  } else if (packet.type === 3) {
    Object.assign(out, {
      topic: packet.topic,
      qos: packet.qos,
      retain: packet.retain,
      dup: packet.dup,
      payload: packet.payload,
    });
    if (packet.qos > 0) out.messageId = packet.packetId;
  } else if (packet.type === 8) {
    out.messageId = packet.packetId;
    out.subscriptions = packet.subscriptions.map((one) => ({
      topic: one.filter,
      qos: one.qos,
      ...(version === 5 ? { nl: one.noLocal, rap: one.retainAsPublished, rh: one.retainHandling } : {}),
    }));
  } else if (packet.type === 10) {
    out.messageId = packet.packetId;
    out.unsubscriptions = packet.filters;
  } else if (packet.type === 9) {
    out.messageId = packet.packetId;
    out.granted = packet.reasons;
  } else if (packet.type >= 4 && packet.type <= 7) {
    out.messageId = (packet as { packetId: number }).packetId;
    if (version === 5) out.reasonCode = (packet as { reason: number }).reason;
  } else if (packet.type === 2) {
    out.sessionPresent = packet.sessionPresent;
    out[version === 5 ? 'reasonCode' : 'returnCode'] = packet.reason;
  } else if (packet.type === 14 && version === 5) out.reasonCode = packet.reason;
  return out;
}

function peerParse(bytes: Buffer, version: Version): Peer {
  const parser = mqttPacket.parser({ protocolVersion: version });
  let result: Peer;
  parser.on('packet', (packet) => {
    result = packet;
  });
  parser.on('error', (error) => {
    throw error;
  });
  parser.parse(bytes);
  return result;
}

describe.each([4, 5] as const)('the MQTT codec, protocol level %i', (version) => {
  it('reads back what it wrote, however the bytes are cut into chunks', () => {
    fc.assert(
      fc.property(
        fc.array(packets(version), { minLength: 1, maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 20 }),
        (list, cuts) => {
          const bytes = Buffer.concat(list.map((packet) => writePacket(packet, version)));
          const chunks: Buffer[] = [];
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const to = at + cuts[i % cuts.length]!;
            chunks.push(Buffer.from(bytes.subarray(at, to)));
            at = to;
          }
          expect(plain(parseAll(chunks, version))).toEqual(plain(list));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('keeps payload views intact when later chunks arrive', () => {
    const one = (n: number) =>
      writePacket(
        {
          type: 3,
          dup: false,
          qos: 0,
          retain: false,
          topic: 't',
          packetId: 0,
          properties: {},
          payload: Buffer.alloc(50, n),
        },
        version,
      );
    const bytes = Buffer.concat(Array.from({ length: 40 }, (_, n) => one(n)));
    const chunks = Array.from({ length: Math.ceil(bytes.length / 37) }, (_, i) =>
      Buffer.from(bytes.subarray(i * 37, i * 37 + 37)),
    );
    const found = parseAll(chunks, version);
    expect(found.map((packet) => [...new Set((packet as { payload: Uint8Array }).payload)])).toEqual(
      Array.from({ length: 40 }, (_, n) => [n]),
    );
  });

  it('writes what mqtt-packet reads', () => {
    fc.assert(
      fc.property(packets(version), (packet) => {
        const peer = peerParse(writePacket(packet, version), version);
        const wanted = inPeerWords(packet, version);
        expect(plain(peer)).toMatchObject(plain(wanted) as object);
        const own = 'properties' in packet && version === 5 ? peerProperties(packet.properties) : {};
        if (Object.keys(own).length > 0) {
          const got = { ...peer.properties };
          const pairs = (own.userProperties ?? []) as [string, string][];
          if (pairs.length > 0) {
            const wantedPairs: Record<string, string[]> = Object.create(null);
            for (const [key, value] of pairs) wantedPairs[key] = [...(wantedPairs[key] ?? []), value];
            for (const [key, values] of Object.entries(wantedPairs)) {
              // mqtt-packet loses these: names of Object's own, and an empty value that another follows.
              if (key in Object.prototype || (values.length > 1 && values.includes(''))) continue;
              expect([got.userProperties[key]].flat()).toEqual(values);
            }
          }
          delete got.userProperties;
          delete own.userProperties;
          expect(plain(got)).toEqual(plain(own));
        }
      }),
      { numRuns: 400 },
    );
  });

  it('reads what mqtt-packet writes', () => {
    fc.assert(
      fc.property(packets(version), (packet) => {
        fc.pre(packet.type !== 14 || version === 5);
        const words = inPeerWords(packet, version);
        if (packet.type === 1) {
          words.protocolId = 'MQTT';
          if (packet.will !== null && version === 5)
            words.will.properties = peerProperties({ ...packet.will.properties, userProperty: undefined });
        }
        if (version === 5 && 'properties' in packet) {
          words.properties = peerProperties({ ...packet.properties, userProperty: undefined });
          delete words.properties.userProperties;
        }
        const bytes = mqttPacket.generate(words, { protocolVersion: version });
        const [back] = parseAll([bytes], version);
        expect(plain(inPeerWords(back!, version))).toEqual(plain(inPeerWords(packet, version)));
      }),
      { numRuns: 300 },
    );
  });

  it('answers mutated packets with packets or an MqttError, nothing else', () => {
    fc.assert(
      fc.property(
        packets(version),
        fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { minLength: 1, maxLength: 6 }),
        fc.option(fc.nat(400)),
        (packet, changes, cut) => {
          const bytes = Buffer.from(writePacket(packet, version));
          for (const [at, value] of changes) bytes[at % bytes.length] = value;
          const input = cut === null ? bytes : bytes.subarray(0, cut);
          try {
            parseAll([input], version, 4096);
          } catch (error) {
            expect(error).toBeInstanceOf(MqttError);
          }
        },
      ),
      { numRuns: 3000 },
    );
  });

  it('answers random bytes with packets or an MqttError, nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          parseAll([Buffer.from(bytes)], version, 4096);
        } catch (error) {
          expect(error).toBeInstanceOf(MqttError);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe('what the parser refuses', () => {
  const connect = (body: string) => Buffer.from(body.replaceAll(' ', ''), 'hex');
  const cases: [string, Version, string, number][] = [
    ['packet type 0', 5, '0000', 0x81],
    ['a CONNECT with fixed header flags [MQTT-2.1.3-1]', 4, '1100', 0x81],
    ['a SUBSCRIBE with flags 0 [MQTT-3.8.1-1]', 4, '8000', 0x81],
    ['a PUBREL with flags 0 [MQTT-3.6.1-1]', 4, '60020001', 0x81],
    ['a PUBLISH with QoS 3 [MQTT-3.3.1-4]', 4, '3605 0001 61 0001', 0x81],
    ['a PUBLISH with DUP at QoS 0 [MQTT-3.3.1-2]', 4, '3803 0001 61', 0x81],
    ['a PUBLISH with packet identifier 0 [MQTT-2.3.1-1]', 4, '3205 0001 61 0000', 0x82],
    ['a topic with U+0000 [MQTT-1.5.3-2]', 4, '3003 0001 00', 0x81],
    ['a topic with an encoded surrogate [MQTT-1.5.3-1]', 4, '3005 0003 eda080', 0x81],
    ['an overlong encoding', 4, '3004 0002 c080', 0x81],
    ['a string longer than the packet', 4, '3003 0005 61', 0x81],
    ['a remaining length of five bytes', 4, '30ffffffff01', 0x81],
    ['a SUBSCRIBE without filters [MQTT-3.8.3-3]', 4, '8202 0001', 0x82],
    ['a SUBSCRIBE with reserved option bits in 3.1.1', 4, '8206 0001 0001 61 04', 0x81],
    ['a SUBSCRIBE with reserved option bits in 5.0 [MQTT-3.8.3-5]', 5, '8207 0001 00 0001 61 40', 0x81],
    ['retain handling 3', 5, '8207 0001 00 0001 61 30', 0x82],
    ['an UNSUBSCRIBE without filters [MQTT-3.10.3-2]', 4, 'a202 0001', 0x82],
    ['an unknown property', 5, '3006 0001 61 02 7f00', 0x81],
    ['a property in the wrong packet', 5, '3009 0001 61 05 1100000001', 0x81],
    ['a property twice', 5, '3008 0001 61 04 0101 0101', 0x82],
    ['topic alias 0', 5, '3007 0001 61 03 230000', 0x94],
    ['payload format 2', 5, '3006 0001 61 02 0102', 0x82],
    ['properties longer than the packet', 5, '3004 0001 61 09', 0x81],
    ['a property length that is not minimal [MQTT-1.5.5-1]', 5, '3005 0001 61 8000', 0x81],
    ['an unknown protocol [MQTT-3.1.2-1]', 4, '100c 0004 4d515454 09 02 003c 0000', 0x84],
    ['the reserved connect flag [MQTT-3.1.2-3]', 4, '100c 0004 4d515454 04 03 003c 0000', 0x81],
    ['will QoS without a will [MQTT-3.1.2-13]', 4, '100c 0004 4d515454 04 0a 003c 0000', 0x81],
    ['will retain without a will [MQTT-3.1.2-15]', 4, '100c 0004 4d515454 04 22 003c 0000', 0x81],
    ['will QoS 3 [MQTT-3.1.2-14]', 4, '1012 0004 4d515454 04 1e 003c 0000 0001 61 0001 62', 0x81],
    ['a password without a user in 3.1.1 [MQTT-3.1.2-22]', 4, '100e 0004 4d515454 04 42 003c 0000 0000', 0x81],
    ['bytes behind a CONNECT', 4, '100d 0004 4d515454 04 02 003c 0000 00', 0x81],
    ['receive maximum 0', 5, '1010 0004 4d515454 05 02 003c 03 210000 0000', 0x82],
    ['a PINGREQ with a body', 4, 'c00100', 0x81],
    ['AUTH in 3.1.1', 4, 'f000', 0x82],
    ['a PUBACK reason that is not one', 5, '4003 0001 05', 0x81],
  ];
  it.each(cases)('%s (level %i)', (_, version, hex, reason) => {
    let error: unknown;
    try {
      parseAll([connect(hex)], version);
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(MqttError);
    expect((error as MqttError).reason).toBe(reason);
  });

  it('an oversized packet as soon as its header is there, and takes one of exactly the maximum', () => {
    const parser = new PacketParser(100);
    parser.push(Buffer.from([0x30, 98]));
    expect(parser.next()).toBeNull();
    const second = new PacketParser(100);
    second.push(Buffer.from([0x30, 99]));
    expect(() => second.next()).toThrow('PUBLISH of 101 bytes; at most 100');
    const exact = writePacket(
      {
        type: 3,
        dup: false,
        qos: 0,
        retain: false,
        topic: 't',
        packetId: 0,
        properties: {},
        payload: Buffer.alloc(95),
      },
      4,
    );
    expect(exact.length).toBe(100);
    expect(parseAll([exact], 4, 100)).toHaveLength(1);
  });
});
