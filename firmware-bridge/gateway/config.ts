/** The gateway's configuration: a YAML (or JSON) file, checked before anything starts. */
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';

export type PortConfig = { readonly path: string; readonly baud: number; readonly driver: 'serialport' | 'tty' };

export type Config = {
  /** Names this gateway at the broker for ever: its MQTT client id is `gateway-<id>`. */
  readonly id: string;
  readonly broker: string;
  readonly username?: string | undefined;
  readonly passwordFile?: string | undefined;
  /** Readings go to <prefix>/<device>/readings, commands come from <prefix>/<device>/commands. */
  readonly prefix: string;
  /** Where the log is read back: Headwater's (or Kafka's) listener and the log topic that the readings are routed to. */
  readonly evidence?: { readonly bootstrap: string; readonly topic: string } | undefined;
  readonly stateFile: string;
  /** Commands that wait for their device; beside the state file unless it is set. */
  readonly commandsFile: string;
  /** How long the broker keeps commands for a gateway that is away, hours. */
  readonly commandsHours: number;
  /** Directory of description files. */
  readonly descriptions?: string | undefined;
  /** A path, or a pattern with `*` in its last part, looked for again and again: ports may come and go. */
  readonly ports: readonly PortConfig[];
  readonly maxPorts: number;
  readonly maxDevices: number;
  readonly window: number;
  readonly checkpointSeconds: number;
};

type Check = (value: unknown) => string | undefined;
const text: Check = (value) => (typeof value === 'string' && value !== '' ? undefined : 'a text');
const integer =
  (min: number, max: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `an integer from ${min} to ${max}`;
const pattern =
  (regex: RegExp, allowed: string): Check =>
  (value) =>
    typeof value === 'string' && regex.test(value) ? undefined : allowed;

const ROWS: Record<string, { readonly check: Check; readonly fallback?: unknown; readonly optional?: boolean }> = {
  id: { check: pattern(/^[A-Za-z0-9._-]{1,64}$/, '1 to 64 of A-Z a-z 0-9 . _ -'), fallback: 'gateway' },
  broker: {
    check: pattern(/^(mqtts?|wss?):\/\/./, 'mqtt://, mqtts://, ws:// or wss://'),
    fallback: 'mqtt://127.0.0.1:1883',
  },
  username: { check: text, optional: true },
  'password.file': { check: text, optional: true },
  prefix: { check: pattern(/^[^+#\0]+$/, 'an MQTT topic without wildcards'), fallback: 'devices' },
  'evidence.bootstrap': { check: pattern(/^.+:\d+$/, 'host:port of a Kafka listener'), optional: true },
  'evidence.topic': { check: text, fallback: 'mqtt' },
  'state.file': { check: text, fallback: 'gateway-state.json' },
  'commands.file': { check: text, optional: true },
  'commands.hours': { check: integer(1, 8760), fallback: 168 },
  descriptions: { check: text, optional: true },
  'ports.max': { check: integer(1, 64), fallback: 16 },
  'devices.max': { check: integer(1, 65_536), fallback: 4096 },
  window: { check: integer(1, 255), fallback: 64 },
  'checkpoint.seconds': { check: integer(1, 3600), fallback: 10 },
  ports: { check: () => undefined },
};

function portOf(value: unknown, at: string): PortConfig {
  const given = (typeof value === 'string' ? { path: value } : value) as Record<string, unknown> | null;
  if (typeof given !== 'object' || given === null) throw new Error(`${at}: a path, or { path, baud, driver }`);
  const { path, baud = 115_200, driver = 'serialport', ...rest } = given;
  for (const key of Object.keys(rest)) throw new Error(`${at}.${key}: unknown, allowed are path, baud, driver`);
  if (typeof path !== 'string' || path === '') throw new Error(`${at}.path: a path such as /dev/ttyUSB*`);
  const wrong = integer(300, 12_000_000)(baud);
  if (wrong !== undefined) throw new Error(`${at}.baud: ${String(baud)}, allowed is ${wrong}`);
  if (driver !== 'serialport' && driver !== 'tty') {
    throw new Error(`${at}.driver: ${String(driver)}, allowed is serialport or tty`);
  }
  return { path, baud: baud as number, driver };
}

/** A parsed file as a Config; relative paths count from `base`. Throws an Error that names key, value and what is allowed. */
export function checkConfig(given: unknown, base: string): Config {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new Error('the file holds no settings');
  const values: Record<string, unknown> = { ...given };
  for (const key of Object.keys(values)) {
    if (ROWS[key] === undefined) throw new Error(`${key}: unknown, allowed are ${Object.keys(ROWS).join(', ')}`);
  }
  for (const [key, row] of Object.entries(ROWS)) {
    if (values[key] === undefined) {
      if (row.fallback !== undefined) values[key] = row.fallback;
      continue;
    }
    const allowed = row.check(values[key]);
    if (allowed !== undefined) throw new Error(`${key}: ${JSON.stringify(values[key])}, allowed is ${allowed}`);
  }
  if (!Array.isArray(values['ports']) || values['ports'].length === 0) {
    throw new Error('ports: a list of serial ports, such as [/dev/ttyUSB*]');
  }
  const path = (key: string): string | undefined =>
    values[key] === undefined ? undefined : resolve(base, values[key] as string);
  const bootstrap = values['evidence.bootstrap'] as string | undefined;
  return Object.freeze({
    id: values['id'] as string,
    broker: values['broker'] as string,
    username: values['username'] as string | undefined,
    passwordFile: path('password.file'),
    prefix: values['prefix'] as string,
    evidence: bootstrap === undefined ? undefined : { bootstrap, topic: values['evidence.topic'] as string },
    stateFile: path('state.file')!,
    commandsFile: path('commands.file') ?? join(dirname(path('state.file')!), 'gateway-commands.json'),
    commandsHours: values['commands.hours'] as number,
    descriptions: path('descriptions'),
    ports: values['ports'].map((value, i) => portOf(value, `ports[${i}]`)),
    maxPorts: values['ports.max'] as number,
    maxDevices: values['devices.max'] as number,
    window: values['window'] as number,
    checkpointSeconds: values['checkpoint.seconds'] as number,
  });
}

export async function loadConfig(file: string): Promise<Config> {
  const source = readFileSync(file, 'utf8');
  const yaml = await import('yaml');
  const { parse } = 'default' in yaml ? (yaml.default as typeof yaml) : yaml; // as bundled, as installed
  return checkConfig(parse(source), dirname(resolve(file)));
}
