/** measure TOOLS DIST [memory]: how busy one line is kept, and what 16 ports cost in memory. See ../../measure.sh. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { Simulation } from './simulation.ts';

const [, , tools = '', dist = '', only = ''] = process.argv;
const BAUD = 115_200;
/** Around a record: type, back, sequence, stamp, CRC, COBS, zero. */
const FRAMING = 14 + 4 + 2;

async function withSimulation(
  ports: number,
  recordSize: number,
  run: (simulation: Simulation) => Promise<void>,
  driver: 'serialport' | 'tty' = 'tty',
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'headwater-measure-'));
  const simulation = new Simulation({
    directory,
    dist,
    tools,
    baud: BAUD,
    noise: 0,
    recordSize,
    seed: 1,
    ports,
    driver,
  });
  try {
    await simulation.start();
    await run(simulation);
  } finally {
    await simulation.stop();
    rmSync(directory, { recursive: true });
  }
}

/** One device with more to send than the line carries: readings a second against what the line could carry of them. */
async function throughput(recordSize: number): Promise<void> {
  await withSimulation(1, recordSize, async (simulation) => {
    const warmUp = simulation.startDevice(1, 0, 0);
    await once(warmUp, 'exit');
    const size = recordSize; // the record as encoded is within a byte of it
    const readings = Math.floor((15 * BAUD) / 10 / (size + FRAMING));
    const began = performance.now();
    const device = simulation.startDevice(readings, 0, 0);
    await once(device, 'exit');
    const seconds = (performance.now() - began) / 1000;
    const capacity = BAUD / 10 / (size + FRAMING);
    const share = (100 * readings) / seconds / capacity;
    const payload = (readings * size) / seconds;
    console.log(
      `${recordSize}-byte readings: ${(readings / seconds).toFixed(1)}/s of ${capacity.toFixed(1)}/s, ` +
        `${share.toFixed(1)} % of the line's payload capacity, ${Math.round(payload)} payload bytes/s`,
    );
  });
}

async function memory(ports: number, readingsPerSecond: number, driver: 'serialport' | 'tty'): Promise<void> {
  const run = async (simulation: Simulation) => {
    for (let port = 0; port < ports; port++) simulation.startDevice(100_000, 1e6 / readingsPerSecond, 0, port);
    let highest = 0;
    for (let i = 0; i < 60; i++) {
      await wait(500);
      highest = Math.max(highest, simulation.memoryOf('gateway'));
    }
    console.log(
      `${ports} ports (${driver}) with ${readingsPerSecond} readings/s each: gateway at most ${highest.toFixed(1)} MB RSS`,
    );
  };
  await withSimulation(ports, 40, run, driver);
}

if (only !== 'memory') {
  await throughput(236);
  await throughput(60);
}
for (const driver of ['tty', 'serialport'] as const) {
  await memory(16, 10, driver);
  await memory(16, 100, driver);
}
