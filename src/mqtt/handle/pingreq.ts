/** PINGREQ (3.12). */
import type { Connection } from '../connection.ts';

const PINGRESP = Buffer.from([0xd0, 0]);

export function handlePingreq(connection: Connection): void {
  connection.context.counters.packetsOut.value++;
  connection.output.write(PINGRESP); // [MQTT-3.12.4-1]
}
