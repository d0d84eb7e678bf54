/** When the state of a connected session is stored: each is a synced write, and what it would not show is no reason for one. */
import { afterEach, describe, expect, it } from 'vitest';
import { systemEnv } from '../../src/env.ts';
import { opened, SteppedClock, startEdge, type TestEdge } from './harness.ts';

let edge: TestEdge;
afterEach(() => edge.stop());

const routes = [
  { mqtt: 'live/#', topic: 'live', store: false },
  { mqtt: 'kept/#', topic: 'kept' },
];

async function startWith(filter: string, qos: 0 | 1) {
  const clock = new SteppedClock();
  edge = await startEdge({ routes }, { env: { ...systemEnv, clock } });
  const subscriber = await opened(edge.port, 5, {
    clientId: 'sub',
    clean: false,
    properties: { sessionExpiryInterval: 1000 },
  });
  await subscriber.subscribe(filter, qos);
  const publisher = await opened(edge.port, 5);
  /** How often a state is written for one message to the subscriber, its acknowledgement and the ticks after them. */
  const writesOf = async (topic: string, publishQos: 0 | 1) => {
    const before = edge.counterNow('headwater_mqtt_session_writes_total');
    publisher.publish(topic, 'x', { qos: publishQos, messageId: 1 });
    if (publishQos > 0) await publisher.next('puback');
    const { qos: granted, messageId } = await subscriber.next('publish');
    if (granted > 0) subscriber.send({ cmd: 'puback', messageId });
    await subscriber.quiet();
    clock.step(5_000);
    await subscriber.quiet();
    return edge.counterNow('headwater_mqtt_session_writes_total') - before;
  };
  return { clock, writesOf, subscriber };
}

describe('a delivery to a persistent session', () => {
  it.each([0, 1] as const)('of a message that no log has is no reason, at QoS %i', async (qos) => {
    const { writesOf } = await startWith('live/#', 1);
    expect(await writesOf('live/x', qos)).toBe(0);
  });

  it('by a subscription at QoS 0 is no reason: it goes on from now after a crash', async () => {
    const { writesOf } = await startWith('kept/#', 0);
    expect(await writesOf('kept/x', 1)).toBe(0);
  });

  it.each([0, 1] as const)('by one at QoS 1 is a reason: its place has moved, published at QoS %i', async (qos) => {
    const { writesOf } = await startWith('kept/#', 1);
    expect(await writesOf('kept/x', qos)).toBe(1);
  });

  it('of the figures under $SYS is no reason, however often they come', async () => {
    const { clock, subscriber } = await startWith('$SYS/broker/uptime', 1);
    const before = edge.counterNow('headwater_mqtt_session_writes_total');
    for (let i = 0; i < 3; i++) {
      clock.step(10_000);
      expect((await subscriber.next('publish')).topic).toBe('$SYS/broker/uptime');
    }
    expect(edge.counterNow('headwater_mqtt_session_writes_total') - before).toBe(0);
  });
});
