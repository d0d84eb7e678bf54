/** The MQTT edge over the log on LevelDB, nothing else: argv: data directory. Prints the port; ends with its stdin. */
import { systemEnv } from '../../src/env.ts';
import { openLog } from '../../src/log/log.ts';
import { silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { MqttEdge } from '../../src/mqtt/edge.ts';
import { openLevelStore } from '../../src/store/leveldb.ts';

const store = await openLevelStore(process.argv[2]!);
const metrics = new Metrics();
const shared = { env: systemEnv, metrics, logger: silentLogger };
const log = await openLog({ store, ...shared, options: { numPartitions: 4 } });
const edge = new MqttEdge({ listeners: [{ host: '127.0.0.1', port: 0 }] }, { log, meta: log.meta, ...shared });
await edge.start();
console.log(JSON.stringify({ port: edge.addresses[0]!.port }));
process.stdin.resume();
process.stdin.on('end', async () => {
  await edge.stop();
  await log.close();
  await store.close();
  process.exit(0);
});
