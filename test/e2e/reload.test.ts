/** SIGHUP on a real process: routes change while clients are connected, links follow them. */
import { connectAsync } from 'mqtt';
import { expect, it } from 'vitest';
import { TestBroker } from '../support/broker.ts';
import { readTopic } from '../support/readback.ts';
import { eventually } from '../support/wait.ts';

it('SIGHUP replaces the routes: for the clients that are connected and for what an MQTT link pulls down', async () => {
  const hub = await TestBroker.start({ brokerId: 'hub' });
  const link = `links: { hub: { type: mqtt, url: "${hub.mqttUrl}", topics: nothing, pull: "cmd/#" } }\n`;
  const broker = await TestBroker.start({ brokerId: 'edge', config: link });
  const client = await connectAsync(broker.mqttUrl, { protocolVersion: 5, reconnectPeriod: 0 });
  const received: string[] = [];
  client.on('message', (topic, payload) => received.push(`${topic}=${payload}`));
  await client.subscribeAsync(['plant/#', 'cmd/#'], { qos: 1 });
  const above = await connectAsync(hub.mqttUrl, { protocolVersion: 5, reconnectPeriod: 0 });
  await client.publishAsync('plant/7/temp', '20', { qos: 1 });
  await eventually('the link pulls', 15_000, async () => {
    await above.publishAsync('cmd/valve/1', 'before', { qos: 1 });
    return received.includes('cmd/valve/1=before');
  });

  const routes = [
    '{ mqtt: plant/+/temp, topic: temperature, key: "{1}" }',
    '{ mqtt: cmd/+/+, topic: commands, key: "{2}/{client}" }',
  ];
  broker.configure(`${link}routes: [${routes.join(', ')}]\n`);
  process.kill(broker.pid, 'SIGHUP');
  await eventually('the reload', 15_000, () => (/configuration read again/.test(broker.output) ? true : undefined));
  expect(broker.output).not.toMatch(/changes only with a restart/);
  await client.publishAsync('plant/7/temp', '21', { qos: 1 });
  await above.publishAsync('cmd/valve/1', 'after', { qos: 1 });
  await eventually('the command', 15_000, () => (received.includes('cmd/valve/1=after') ? true : undefined));

  const temperature = await readTopic(broker.bootstrap, 'temperature');
  expect(temperature.map(({ key, value }) => [key, value])).toEqual([['7', '21']]);
  const commands = await readTopic(broker.bootstrap, 'commands');
  expect(commands.map(({ key, value }) => [key, value])).toEqual([['1/hub', 'after']]);
  expect(received.filter((one) => one.startsWith('plant/'))).toEqual(['plant/7/temp=20', 'plant/7/temp=21']);

  // A file with a mistake changes nothing.
  broker.configure(`${link}routes: [{ mqtt: "plant/#/temp", topic: x }]\n`);
  process.kill(broker.pid, 'SIGHUP');
  await eventually('the refusal', 15_000, () => (/plant\/#\/temp/.test(broker.output) ? true : undefined));
  await client.publishAsync('plant/8/temp', '22', { qos: 1 });
  expect((await readTopic(broker.bootstrap, 'temperature')).map(({ value }) => value)).toEqual(['21', '22']);
  await client.endAsync();
  await above.endAsync();
});
