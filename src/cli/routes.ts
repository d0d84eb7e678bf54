/** `headwater routes test`: where a publish would be stored, without a broker. */
import { loadConfig } from '../config/load.ts';
import { routeRules } from '../config/route-rules.ts';
import { RouteTable } from '../mqtt/routes.ts';
import { parseTopicName } from '../mqtt/topic-filter.ts';
import { partitionForKey } from '../wire/batch/murmur2.ts';
import { type Command, EXIT, parse, UsageError } from './command.ts';
import { json, table } from './table.ts';

export const usage = `Usage: headwater routes test MQTT-TOPIC... [--config FILE] [--client ID] [--json]

Shows the topic, key, partition and acks that a publish to MQTT-TOPIC gets under the routes of FILE
(default: HEADWATER_CONFIG, else no routes at all: everything goes to the topic "mqtt").
`;

/** The topic of records that no route takes (DESIGN 6). */
const CATCH_ALL = 'mqtt';

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    config: { type: 'string' },
    client: { type: 'string', default: 'client' },
    json: { type: 'boolean' },
  });
  const [action, ...topics] = positionals;
  if (action !== 'test')
    throw new UsageError(
      action === undefined ? 'say what to do: test MQTT-TOPIC...' : `there is no "routes ${action}"`,
    );
  if (topics.length === 0) throw new UsageError('at least one MQTT topic is needed');
  const config = await loadConfig({ file: values.config ?? io.env['HEADWATER_CONFIG'], env: io.env });
  const routes = new RouteTable(routeRules(config), CATCH_ALL);
  const results = topics.map((topic) => {
    const levels = parseTopicName(topic);
    const route = routes.find(levels);
    const partitions = config.topics.get(route.topicName)?.partitions ?? -1;
    const key = route.keyOf(topic, levels, values.client);
    const count = partitions < 0 ? config.settings['num.partitions'] : partitions;
    return {
      mqtt: topic,
      route: route === routes.catchAll ? null : route.filter,
      topic: route.store ? route.topicName : null,
      key,
      partition: route.store ? partitionForKey(Buffer.from(key), count) : null,
      acks: route.acks,
    };
  });
  if (values.json) await io.write(json(results));
  else {
    await io.write(
      table(
        [
          { head: 'MQTT TOPIC', of: ({ mqtt }) => mqtt },
          { head: 'ROUTE', of: ({ route }) => route ?? '(none)' },
          { head: 'TOPIC', of: ({ topic }) => topic ?? '(not stored)' },
          { head: 'KEY', of: ({ key }) => key },
          { head: 'PARTITION', of: ({ partition }) => partition, right: true },
          { head: 'ACKS', of: ({ acks }) => acks },
        ],
        results,
      ),
    );
  }
  return EXIT.ok;
};
