#!/usr/bin/env node
/** headwater-gateway --config FILE: serial devices to an MQTT broker, nothing lost, nothing twice. */
import { parseArgs } from 'node:util';
import { systemClock } from './clock.ts';
import { loadConfig } from './config.ts';
import { Gateway } from './gateway.ts';
import { openSerial, openTty } from './transport.ts';

const USAGE = `headwater-gateway --config FILE     runs the gateway
headwater-gateway --config FILE --check     checks the file and ends

The file's settings: firmware-bridge/README.md`;

/** sysexits.h: systemd does not try again after it. */
const EX_CONFIG = 78;

function log(message: string, details: object = {}): void {
  process.stderr.write(`${JSON.stringify({ time: new Date().toISOString(), message, ...details })}\n`);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { config: { type: 'string' }, check: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help === true || values.config === undefined) {
    process.stdout.write(`${USAGE}\n`);
    process.exitCode = values.help === true ? 0 : 2;
    return;
  }
  const config = await loadConfig(values.config).catch((error: Error) => {
    throw new Error(`${values.config}: ${error.message}`, { cause: EX_CONFIG });
  });
  if (values.check === true) {
    process.stdout.write(`${values.config}: fine\n`);
    return;
  }
  const gateway = new Gateway(config, systemClock, log, { serialport: openSerial, tty: openTty });
  let isStopping = false;
  const stop = (): void => {
    if (isStopping) process.exit(1);
    isStopping = true;
    const limit = setTimeout(() => process.exit(1), 2000);
    limit.unref();
    gateway.stop().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  await gateway.start();
  // Timers do not keep the process alive; this one does.
  setInterval(() => {}, 1 << 30);
}

main().catch((error: Error) => {
  process.stderr.write(`headwater-gateway: ${error.message}\n`);
  process.exitCode = error.cause === EX_CONFIG ? EX_CONFIG : 1;
});
