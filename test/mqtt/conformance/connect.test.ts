/** CONNECT, CONNACK, PINGREQ, DISCONNECT, AUTH: normative statements of 3.1, 3.2, 3.12, 3.14, 3.15 that bind a server. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemEnv } from '../../../src/env.ts';
import type { Authenticator } from '../../../src/mqtt/access.ts';
import { opened, RawClient, SteppedClock, startEdge, type TestEdge } from '../harness.ts';

const access: Authenticator = {
  async authenticate({ username, password }) {
    if (username === null) return { name: 'anonymous' };
    return username === 'user' && String(password) === 'secret' ? { name: username } : null;
  },
  authorize: (_, clientId, action, topic) =>
    !topic.startsWith('forbidden/') || (action === 'publish' && clientId === 'boss'),
};

const clock = new SteppedClock();
let edge: TestEdge;
beforeAll(async () => {
  edge = await startEdge(
    { maxPacketBytes: 70_000, maxKeepAlive: 0 },
    { authenticator: access, env: { ...systemEnv, clock } },
  );
});
afterAll(async () => edge.stop());

async function refusedRaw(hex: string, version: 4 | 5 = 4) {
  const client = new RawClient(edge.port, version);
  client.raw(hex);
  return await client.untilClosed();
}

/** The server has seen the end of the connection. */
async function asleep(clientId: string): Promise<void> {
  while (edge.edge.clients().some((client) => client.clientId === clientId)) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe.each([4, 5] as const)('level %i', (version) => {
  it('[MQTT-3.1.0-1] the first packet must be CONNECT: anything else closes the connection', async () => {
    for (const hex of ['c000', '3003000161', '8206000100016100', 'e000', '00']) {
      expect(await refusedRaw(hex, version)).toEqual([]);
    }
  });

  it('[MQTT-3.1.0-2] a second CONNECT is a protocol violation', async () => {
    const client = await opened(edge.port, version);
    client.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: version,
      clean: true,
      clientId: 'x',
      keepalive: 0,
    });
    const rest = await client.untilClosed();
    expect(rest.map((packet) => packet.reasonCode)).toEqual(version === 5 ? [0x82] : []);
  });

  it('[MQTT-3.1.2-2] an unsupported protocol version is answered with the reason and closed', async () => {
    const rest = await refusedRaw('100c 0004 4d515454 09 02 003c 0000');
    expect(rest.map((packet) => packet.returnCode)).toEqual([1]);
  });

  it('[MQTT-3.1.2-3] the reserved flag must be 0', async () => {
    const tail = version === 5 ? '0b 003c 00 0000' : '03 003c 0000';
    const flags = version === 5 ? `100d 0004 4d515454 05 ${tail.replace('0b', '03')}` : `100c 0004 4d515454 04 ${tail}`;
    expect(await refusedRaw(flags, version)).toEqual([]);
  });

  it('[MQTT-3.1.2-4] clean start discards an existing session; without it the session is resumed [MQTT-3.1.2-5]', async () => {
    const keep = version === 4 ? { clean: false } : { clean: false, properties: { sessionExpiryInterval: 100 } };
    const clientId = `clean-${version}`;
    const first = new RawClient(edge.port, version);
    expect((await first.connect({ ...keep, clientId })).sessionPresent).toBe(false); // [MQTT-3.2.2-3]
    await first.subscribe('clean/t', 1);
    first.end();
    await first.untilClosed();
    const second = new RawClient(edge.port, version);
    expect((await second.connect({ ...keep, clientId })).sessionPresent).toBe(true); // [MQTT-3.2.2-2]
    second.publish('clean/t', 'x', { qos: 1, messageId: 1 });
    expect([(await second.next()).cmd, (await second.next()).cmd].sort()).toEqual(['puback', 'publish']);
    second.end();
    await second.untilClosed();
    const third = new RawClient(edge.port, version);
    expect((await third.connect({ ...keep, clean: true, clientId })).sessionPresent).toBe(false);
    third.publish('clean/t', 'x', { qos: 1, messageId: 1 });
    await third.next('puback');
    await third.quiet();
    third.end();
  });

  it('[MQTT-3.1.2-24] (3.1.1) [MQTT-3.1.2-22] no packet for 1.5 times the keep alive closes the connection', async () => {
    const client = await opened(edge.port, version, { keepalive: 10 });
    for (let i = 0; i < 3; i++) {
      // The broker stamps packets with the last tick.
      clock.step(0);
      await client.quiet();
      clock.step(12_000);
      await client.quiet();
    }
    clock.step(0);
    await client.quiet();
    clock.step(16_100);
    const rest = await client.untilClosed();
    expect(rest.map((packet) => packet.reasonCode)).toEqual(version === 5 ? [0x8d] : []);
  });

  it('[MQTT-3.1.2-8] the will is published when the connection is closed without DISCONNECT, as asked', async () => {
    const watcher = await opened(edge.port, version);
    await watcher.subscribe(`w/${version}/#`, 2);
    const will = { topic: `w/${version}/a`, payload: Buffer.from('bye'), qos: 2, retain: true };
    const client = await opened(edge.port, version, { will });
    client.raw('30'); // half a packet
    client.end();
    const packet = await watcher.next('publish');
    expect([packet.topic, String(packet.payload), packet.qos, packet.retain]).toEqual([
      `w/${version}/a`,
      'bye',
      2,
      false,
    ]);
    const late = await opened(edge.port, version);
    await late.subscribe(`w/${version}/a`, 0);
    expect((await late.next('publish')).retain).toBe(true); // [MQTT-3.1.2-15]
  });

  it('[MQTT-3.1.2-10] [MQTT-3.14.4-3] the will is removed by DISCONNECT', async () => {
    const watcher = await opened(edge.port, version);
    await watcher.subscribe(`no-will/${version}`, 2);
    const will = { topic: `no-will/${version}`, payload: Buffer.from('bye'), qos: 1, retain: false };
    const client = await opened(edge.port, version, { will });
    client.send({ cmd: 'disconnect' });
    await client.untilClosed();
    await watcher.quiet();
  });

  it('a will after a protocol violation is published too', async () => {
    const watcher = await opened(edge.port, version);
    await watcher.subscribe(`viol/${version}`, 1);
    const will = { topic: `viol/${version}`, payload: Buffer.from('bye'), qos: 1, retain: false };
    const client = await opened(edge.port, version, { will });
    client.raw('f1ff');
    expect(String((await watcher.next('publish')).payload)).toBe('bye');
  });

  it('[MQTT-3.1.3-5] ids of 1 to 23 letters and digits are taken, longer ones and others too', async () => {
    for (const clientId of ['a', '0123456789abcdefghijABC', 'x'.repeat(200), 'ümläut/+#']) {
      const client = await opened(edge.port, version, { clientId });
      await client.quiet();
      client.end();
    }
  });

  it('[MQTT-3.1.4-1] a malformed CONNECT closes the connection without one', async () => {
    for (const hex of [
      '100a 0004 4d515454 04 02 003c',
      '1006 0004 4d515454',
      '100e 0004 4d515454 04 02 003c 0000 ffff',
    ]) {
      const client = new RawClient(edge.port, version);
      client.raw(hex);
      expect(await client.untilClosed()).toEqual([]);
    }
  });

  it('[MQTT-3.1.4-3] a client id in use: the older client is disconnected', async () => {
    const clientId = `dup-${version}`;
    const old = await opened(edge.port, version, { clientId });
    const young = await opened(edge.port, version, { clientId });
    const rest = await old.untilClosed();
    expect(rest.map((packet) => packet.reasonCode)).toEqual(version === 5 ? [0x8e] : []);
    await young.quiet();
  });

  it('[MQTT-3.1.4-5] packets sent right behind CONNECT, before CONNACK, are handled after it', async () => {
    const client = new RawClient(edge.port, version);
    client.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: version,
      clean: true,
      clientId: '',
      keepalive: 0,
    });
    client.publish('early', 'x', { qos: 1, messageId: 3 });
    client.send({ cmd: 'pingreq' });
    const seen = [await client.next(), await client.next(), await client.next()].map((packet) => packet.cmd);
    expect(seen[0]).toBe('connack');
    expect(seen.slice(1).sort()).toEqual(['pingresp', 'puback']);
  });

  it('[MQTT-3.1.4-6] after a refused CONNECT nothing that follows is processed', async () => {
    const watcher = await opened(edge.port, version);
    await watcher.subscribe(`after-refusal/${version}`, 1);
    const client = new RawClient(edge.port, version);
    client.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: version,
      clean: true,
      clientId: 'r',
      keepalive: 0,
      username: 'user',
      password: Buffer.from('wrong'),
    });
    client.publish(`after-refusal/${version}`, 'x', { qos: 1, messageId: 1 });
    const rest = await client.untilClosed();
    expect(rest.map((packet) => packet.reasonCode ?? packet.returnCode)).toEqual([version === 5 ? 0x86 : 4]);
    expect(rest[0].sessionPresent).toBe(false); // [MQTT-3.2.2-6]
    await watcher.quiet();
  });

  it('[MQTT-3.1.4-2] the right password is let in', async () => {
    const client = new RawClient(edge.port, version);
    const connack = await client.connect({ username: 'user', password: Buffer.from('secret') });
    expect(connack.reasonCode ?? connack.returnCode).toBe(0);
  });

  it('a will that the user may not publish is refused', async () => {
    const client = new RawClient(edge.port, version);
    const connack = await client.connect({
      will: { topic: 'forbidden/x', payload: Buffer.from(''), qos: 0, retain: false },
    });
    expect(connack.reasonCode ?? connack.returnCode).toBe(version === 5 ? 0x87 : 5);
  });

  it('[MQTT-3.12.4-1] PINGREQ is answered with PINGRESP', async () => {
    const client = await opened(edge.port, version);
    await client.quiet();
  });

  it('[MQTT-3.14.4-1] the server closes after DISCONNECT', async () => {
    const client = await opened(edge.port, version);
    client.send({ cmd: 'disconnect' });
    expect(await client.untilClosed()).toEqual([]);
  });
});

describe('3.1.1 only', () => {
  it('[MQTT-3.1.3-8] an empty client id without clean session is refused with 2', async () => {
    const client = new RawClient(edge.port, 4);
    const connack = await client.connect({ clientId: '', clean: true });
    expect(connack.returnCode).toBe(0);
    expect((await refusedRaw('100c 0004 4d515454 04 00 003c 0000')).map((packet) => packet.returnCode)).toEqual([2]);
  });

  it('[MQTT-3.1.2-22] a password without a user name closes the connection', async () => {
    expect(await refusedRaw('100e 0004 4d515454 04 42 003c 0000 0000')).toEqual([]);
  });

  it('MQTT 3.1 (MQIsdp, level 3) is served as 3.1.1', async () => {
    const client = new RawClient(edge.port, 4);
    client.raw('100f 0006 4d5149736470 03 02 003c 0001 61');
    expect((await client.next('connack')).returnCode).toBe(0);
    await client.quiet();
  });
});

describe('5.0 only', () => {
  it('[MQTT-3.1.3-6] [MQTT-3.1.3-7] an empty client id gets an assigned one', async () => {
    const client = new RawClient(edge.port, 5);
    client.raw('100d 0004 4d515454 05 00 003c 00 0000');
    const connack = await client.next('connack');
    expect(connack.properties.assignedClientIdentifier).toMatch(/^auto-[0-9a-f]{24}$/);
  });

  it('[MQTT-3.1.2-23] a session outlives its connection by the expiry interval, not longer', async () => {
    const clientId = 'expiring';
    const client = await opened(edge.port, 5, { clientId, properties: { sessionExpiryInterval: 1 } });
    client.end();
    await client.untilClosed();
    await asleep(clientId);
    clock.step(1_100);
    const again = new RawClient(edge.port, 5);
    expect((await again.connect({ clientId, clean: false })).sessionPresent).toBe(false);
  });

  it('[MQTT-3.2.2-9 and -12] CONNACK tells what the server takes', async () => {
    const client = new RawClient(edge.port, 5);
    const { properties } = await client.connect({ properties: { sessionExpiryInterval: 100 } });
    expect(properties).toMatchObject({ receiveMaximum: 1024, maximumPacketSize: 70_000, topicAliasMaximum: 32 });
    expect(properties.sessionExpiryInterval).toBeUndefined();
  });

  it('[MQTT-4.12.0-1] an authentication method that is not offered is refused with 0x8C', async () => {
    const client = new RawClient(edge.port, 5);
    const connack = await client.connect({ properties: { authenticationMethod: 'SCRAM-SHA-1' } });
    expect(connack.reasonCode).toBe(0x8c);
    await client.untilClosed();
  });

  it('[MQTT-4.12.0-7] AUTH without an authentication method is a protocol error', async () => {
    const client = await opened(edge.port, 5);
    client.raw('f000');
    expect((await client.untilClosed()).map((packet) => packet.reasonCode)).toEqual([0x82]);
  });

  it('[MQTT-3.14.2-2] the session expiry may not be raised from 0 by DISCONNECT', async () => {
    const client = await opened(edge.port, 5);
    client.send({ cmd: 'disconnect', reasonCode: 0, properties: { sessionExpiryInterval: 5 } });
    expect((await client.untilClosed()).map((packet) => packet.reasonCode)).toEqual([0x82]);
  });

  it('3.14.2.1 DISCONNECT with 0x04 sends the will', async () => {
    const watcher = await opened(edge.port, 5);
    await watcher.subscribe('with-will', 0);
    const will = { topic: 'with-will', payload: Buffer.from('w'), qos: 0, retain: false };
    const client = await opened(edge.port, 5, { will });
    client.send({ cmd: 'disconnect', reasonCode: 4 });
    expect(String((await watcher.next('publish')).payload)).toBe('w');
  });

  it('[MQTT-3.1.3-9] a delayed will is not sent when the session goes on before the delay is over', async () => {
    const watcher = await opened(edge.port, 5);
    await watcher.subscribe('delayed/#', 0);
    const options = (topic: string) => ({
      clientId: 'delayed',
      clean: false,
      properties: { sessionExpiryInterval: 100 },
      will: { topic, payload: Buffer.from('w'), qos: 0, retain: false, properties: { willDelayInterval: 1 } },
    });
    const first = await opened(edge.port, 5, options('delayed/1'));
    first.end();
    await first.untilClosed();
    const second = await opened(edge.port, 5, options('delayed/2'));
    clock.step(2_000);
    await watcher.quiet();
    second.end();
    await asleep('delayed');
    clock.step(1_100);
    expect((await watcher.next('publish')).topic).toBe('delayed/2');
  });

  it('3.1.2.11.7 without problem information there is no reason string', async () => {
    const client = await opened(edge.port, 5, { properties: { requestProblemInformation: false } });
    client.raw('f000');
    const [disconnect] = await client.untilClosed();
    expect(disconnect.reasonCode).toBe(0x82);
    expect(disconnect.properties?.reasonString).toBeUndefined();
  });
});
