/** [MQTT-4.4.0-1] Retained messages in flight go out again, also when their record in the log is gone. */
import { afterEach, expect, it } from 'vitest';
import { opened, startEdge, type TestEdge } from './harness.ts';

let running: TestEdge[] = [];
afterEach(async () => {
  for (const edge of running) await edge.stop();
  running = [];
});

const keep = { clean: false, properties: { sessionExpiryInterval: 1000 }, clientId: 'reader' };
const routes = [{ mqtt: 'live/#', topic: 'unused', store: false }];

it.each([
  ['a', 1],
  ['a', 2],
  ['live/a', 1],
  ['live/a', 2],
])('topic %s at QoS %i, after a restart of the broker', async (topic, qos) => {
  const first = await startEdge({ routes });
  running.push(first);
  const publisher = await opened(first.port, 5);
  publisher.publish(topic, 'kept', { qos: 1, messageId: 1, retain: true });
  await publisher.next('puback');
  const reader = await opened(first.port, 5, keep);
  await reader.subscribe(topic, qos);
  const sent = await reader.next('publish');
  expect([String(sent.payload), sent.retain, sent.dup]).toEqual(['kept', true, false]);
  reader.end();
  await reader.untilClosed();
  for (const partition of first.log.topic('mqtt')!.partitions) {
    await partition.deleteRecordsBefore(partition.logEndOffset);
  }
  await first.stop();
  running = [];

  const second = await startEdge({ routes }, {}, first.disk);
  running.push(second);
  const back = await opened(second.port, 5, keep);
  const again = await back.next('publish');
  expect([String(again.payload), again.retain, again.dup, again.messageId]).toEqual([
    'kept',
    true,
    true,
    sent.messageId,
  ]);
  expect(second.counterNow('headwater_mqtt_skipped_records_total')).toBe(0);
});
