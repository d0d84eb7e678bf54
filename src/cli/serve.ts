/** `headwater serve`: one broker in this process, until a signal. */

import { existsSync, realpathSync } from 'node:fs';
import { hostname } from 'node:os';
import { delimiter, join, relative, resolve } from 'node:path';
import { Broker } from '../broker.ts';
import { formatAddress } from '../config/address.ts';
import { type Config, ConfigError, type Endpoint, type ListenerName } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { systemEnv } from '../env.ts';
import { HeadwaterError } from '../errors.ts';
import type { Logger } from '../logger.ts';
import {
  type Command,
  DEFAULT_BOOTSTRAP,
  DEFAULT_MQTT,
  EXIT,
  type Io,
  pairOption,
  parse,
  reasonOf,
  UsageError,
} from './command.ts';
import { openLogger } from './process-logger.ts';
import { ServiceManager } from './service-manager.ts';

export const usage = `Usage: headwater serve [--config FILE] [--data DIR] [--mqtt HOST:PORT] [--kafka HOST:PORT] [--http HOST:PORT]

  --config FILE      YAML settings (or HEADWATER_CONFIG); see: headwater config explain
  --data DIR         where records are stored (data.dir; default ./data)
  --mqtt HOST:PORT   listen for MQTT here (default 127.0.0.1:1883); off turns it off
  --kafka HOST:PORT  listen for Kafka clients here (default 127.0.0.1:9092)
  --http HOST:PORT   health, metrics, admin page (default 127.0.0.1:8080)
  --broker-id NAME   the name of this broker (broker.id; default: the host name)
  --set NAME=VALUE   any other setting; may be given several times

SIGHUP reads configuration, users and certificates again. SIGTERM or Ctrl-C stops within 2 s.
Exit status: 0 stopped by a signal, 1 failed, 2 wrong usage, 78 a mistake in the configuration.
`;

/** What is acknowledged is stored already, so a stop that hangs may be cut short. */
const STOP_DEADLINE_MS = 1_800;

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    config: { type: 'string' },
    data: { type: 'string' },
    mqtt: { type: 'string' },
    kafka: { type: 'string' },
    http: { type: 'string' },
    'broker-id': { type: 'string' },
    set: { type: 'string', multiple: true },
  });
  if (positionals.length > 0) throw new UsageError(`"${positionals[0]}" is one word too many`);
  const flags: Record<string, string> = {};
  for (const text of values.set ?? []) {
    const [name, value] = pairOption('set', text);
    flags[name] = value;
  }
  if (values.data !== undefined) flags['data.dir'] = values.data;
  if (values['broker-id'] !== undefined) flags['broker.id'] = values['broker-id'];
  for (const name of ['mqtt', 'kafka', 'http'] as const) {
    const address = values[name];
    if (address !== undefined) flags[`listeners.${name}`] = address;
  }

  const warnings: string[] = [];
  const load = (warn: (text: string) => void) =>
    loadConfig({
      file: values.config ?? io.env['HEADWATER_CONFIG'],
      env: io.env,
      flags,
      hostname: hostname(),
      files: true,
      warn,
    });
  let config: Config;
  try {
    config = await load((text) => warnings.push(text));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    io.error(`${error.message}\n`);
    return EXIT.config;
  }

  const log = await openLogger(config.settings['logging.level'], io);
  for (const text of warnings) log.logger.warn({}, text);
  const broker = new Broker(config, {
    env: systemEnv,
    logger: log.logger,
    version: io.version,
    loadConfig: async () => {
      const next = await load((text) => log.logger.warn({}, text));
      log.setLevel(next.settings['logging.level']);
      return next;
    },
  });
  crashOnBugs(log.logger);
  const starting = broker.start();
  try {
    const stopped = await Promise.race([starting, stopSignal(io).then(() => true)]);
    if (stopped === true) {
      // A start that waits, for a disk or for the other broker of a pair, must not hold up the stop.
      log.logger.info({}, 'asked to stop during the start');
      await stopInTime(() => starting.then(() => broker.stop()), log.logger);
      return EXIT.ok;
    }
  } catch (error) {
    if (!(error instanceof HeadwaterError) || error.code !== 'INVALID_CONFIG') throw error;
    // Found by the part that it concerns (a damaged line of users.file): to try again would not mend it either.
    io.error(`headwater serve: ${reasonOf(error)}\n`);
    return EXIT.config;
  }
  const manager = new ServiceManager(io.env, systemEnv.clock, log.logger);
  const status = `serving, ${listeningAt(broker.addresses())}`;
  const onHangup = async () => {
    await manager.reloading();
    await broker.reload().catch((error: unknown) => reloadRefused(error, log.logger));
    await manager.reloaded(status);
  };
  process.on('SIGHUP', onHangup);
  // The loop that runs this timer is the one that serves: while it turns, the broker is alive.
  await manager.ready(status, () => true);
  if (io.env['JOURNAL_STREAM'] === undefined) await io.write(greeting(io, config, broker.addresses()));
  await stopSignal(io);
  process.off('SIGHUP', onHangup);
  // Not waited for: a stop has 2 s, whoever listens.
  void manager.stopping();
  await stopInTime(() => broker.stop(), log.logger);
  return EXIT.ok;
};

/** Each mistake on a line, as `headwater config check` has them. A stack is for what should not have happened. */
export function reloadRefused(error: unknown, logger: Logger): void {
  const text = 'reload refused, everything stays as it was';
  if (error instanceof HeadwaterError && error.code !== 'INTERNAL') {
    for (const line of reasonOf(error).split('\n')) logger.error({}, `${text}: ${line}`);
  } else logger.error({ err: error }, text);
}

function stopSignal({ stopping }: Io): Promise<void> {
  return new Promise((done) => {
    if (stopping.aborted) done();
    else stopping.addEventListener('abort', () => done(), { once: true });
  });
}

async function stopInTime(stop: () => Promise<void>, logger: Logger): Promise<void> {
  const { clock } = systemEnv;
  const began = clock.monotonic();
  await new Promise<void>((done, fail) => {
    const deadline = clock.after(STOP_DEADLINE_MS, () => {
      logger.warn({ ms: STOP_DEADLINE_MS }, 'the stop took too long and was cut short; nothing acknowledged is lost');
      done();
    });
    stop().then(() => {
      deadline.cancel();
      logger.info({ ms: Math.round(clock.monotonic() - began) }, 'stopped');
      done();
    }, fail);
  });
}

/** After a bug the state in memory is not to be trusted; what is on disk is. The service manager starts us again. */
function crashOnBugs(logger: Logger): void {
  const crash = (error: unknown) => {
    logger.error(
      { err: error },
      `a bug in Headwater: ${reasonOf(error)}; exiting so that a restart begins from what is stored`,
    );
    process.exit(EXIT.failed);
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
}

/** How to publish and read, in two lines that work when pasted into a shell in the same directory. */
export function greeting(
  io: Pick<Io, 'version' | 'env'>,
  config: Config,
  addresses: BoundAddresses,
  command = commandName(io),
): string {
  const lines = [`Headwater ${io.version} is running. Data: ${config.settings['data.dir']}`];
  lines.push(`Listening: ${listeningAt(addresses)}`);
  const mqtt = addresses.mqtt === undefined ? undefined : dialable(addresses.mqtt);
  const kafka = addresses.kafka === undefined ? undefined : dialable(addresses.kafka);
  if (mqtt !== undefined) {
    const option = mqtt === DEFAULT_MQTT ? '' : ` --mqtt ${mqtt}`;
    lines.push(`Publish:   ${command} publish plant/7/temp '{"celsius":21.5}'${option}`);
  }
  if (kafka !== undefined) {
    const option = kafka === DEFAULT_BOOTSTRAP ? '' : ` --bootstrap ${kafka}`;
    lines.push(`Read:      ${command} consume mqtt --from-beginning${option}`);
  }
  return `${lines.join('\n')}\n`;
}

function listeningAt(addresses: BoundAddresses): string {
  return Object.entries(addresses)
    .map(([name, address]) => `${name} ${formatAddress(address)}`)
    .join(', ');
}

export type BoundAddresses = Readonly<Partial<Record<ListenerName, Endpoint>>>;

function dialable({ host, port }: Endpoint): string {
  return formatAddress({ host: host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host, port });
}

/** `headwater` where the shell finds this installation under that name, else the path of its launcher. */
function commandName({ env }: Pick<Io, 'env'>): string {
  const launcher = resolve(process.argv[1] ?? '.', '..', '..', 'bin', 'headwater');
  if (!existsSync(launcher)) return 'headwater';
  for (const directory of (env['PATH'] ?? '').split(delimiter)) {
    const candidate = join(directory, 'headwater');
    try {
      if (directory !== '' && realpathSync(candidate) === realpathSync(launcher)) return 'headwater';
    } catch {
      // Not there.
    }
  }
  const near = relative(process.cwd(), launcher);
  return near.startsWith('..') || /\s/.test(near) ? `'${launcher}'` : near;
}
