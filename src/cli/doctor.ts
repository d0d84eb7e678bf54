/** `headwater doctor`: looks at an installation from outside and says what to do. */
import { access, constants, readFile, readlink, stat, statfs } from 'node:fs/promises';
import { totalmem, uptime } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { securitySettings } from '../broker-access.ts';
import { formatAddress } from '../config/address.ts';
import { type Config, ConfigError, type Endpoint } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { systemEnv } from '../env.ts';
import { checkStore } from '../log/check.ts';
import { silentLogger } from '../logger.ts';
import { Metrics } from '../metrics.ts';
import { Security } from '../security/security.ts';
import { openLevelStore } from '../store/leveldb.ts';
import { type Command, EXIT, parse, reasonOf, UsageError } from './command.ts';
import { bytes, count, duration, json, visible } from './table.ts';

export const usage = `Usage: headwater doctor [--config FILE] [--data DIR] [--json]

Looks at configuration, data directory, disk, memory, clock, certificates and ports, and says what to do. With a stopped
broker the stored data is verified too. Changes nothing. Exit status 1 when something must be mended.
`;

export interface Finding {
  readonly level: 'ok' | 'warn' | 'fail';
  readonly what: string;
  /** What to do; null when it is well. */
  readonly advice: string | null;
}

const ok = (what: string): Finding => ({ level: 'ok', what, advice: null });
const warn = (what: string, advice: string): Finding => ({ level: 'warn', what, advice });
const fail = (what: string, advice: string): Finding => ({ level: 'fail', what, advice });

const DAY_MS = 86_400_000;
const FREE_WARN_BYTES = 512 * 1024 * 1024;
const FREE_FAIL_BYTES = 64 * 1024 * 1024;
/** No clock of a host that runs this release is right before it. */
const CLOCK_FLOOR = Date.UTC(2025, 0, 1);
const CONNECT_TIMEOUT_MS = 2_000;
/** A card of 32 GB that takes 1,000 writes of each cell lasts four years at this rate. */
const WEAR_WARN_BYTES_PER_DAY = 20e9;
const WEAR_UPTIME_MIN_S = 3_600;
/** Unit of the kernel's block statistics, whatever the device's own. */
const SECTOR_BYTES = 512;

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    config: { type: 'string' },
    data: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  if (positionals.length > 0) throw new UsageError(`"${positionals[0]}" is one word too many`);
  const findings: Finding[] = [];
  const file = values.config ?? io.env['HEADWATER_CONFIG'];
  let config: Config | null = null;
  try {
    config = await loadConfig({
      file,
      env: io.env,
      ...(values.data === undefined ? {} : { flags: { 'data.dir': values.data } }),
    });
    findings.push(ok(`configuration: ${file ?? 'the defaults'}`));
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    // Of the file as a whole: there are no lines to mend.
    const unread = error.problems.some(({ path, line }) => path === '' && line === null);
    const advice = unread
      ? 'name a file that this user may read: --config FILE, or HEADWATER_CONFIG'
      : 'mend these lines; see: headwater config explain';
    findings.push(fail(`configuration: ${error.message}`, advice));
  }
  if (config !== null) {
    const running = await checkListeners(config, findings);
    await checkData(config, running, findings);
    await checkDisk(config, findings);
    await checkAccess(config, systemEnv.clock.now(), findings);
    findings.push(memoryFinding(config.settings['memory.budget'], totalmem()));
  }
  findings.push(...(await clockFindings(systemEnv.clock.now())));
  if (values.json) await io.write(json(findings));
  else {
    for (const { level, what, advice } of findings) {
      const head = level === 'ok' ? 'ok  ' : level.toUpperCase();
      await io.write(`${head} ${what.split('\n').map(visible).join('\n     ')}\n`);
      if (advice !== null) await io.write(`     -> ${advice}\n`);
    }
  }
  return findings.some(({ level }) => level === 'fail') ? EXIT.failed : EXIT.ok;
};

/** Whether a broker answers on any of its addresses. */
async function checkListeners(config: Config, findings: Finding[]): Promise<boolean> {
  const results = await Promise.all(
    Object.entries(config.listeners).flatMap(([name, endpoint]) =>
      endpoint === null || endpoint.port === 0 ? [] : [answers(endpoint).then((open) => ({ name, endpoint, open }))],
    ),
  );
  const open = results.filter((result) => result.open);
  const names = (some: typeof results) =>
    some.map(({ name, endpoint }) => `${name} ${formatAddress(endpoint)}`).join(', ');
  if (open.length === 0)
    findings.push(warn(`ports: nothing listens on ${names(results)}`, 'start the broker: headwater serve'));
  else if (open.length === results.length) findings.push(ok(`ports: ${names(open)}`));
  else {
    const silent = results.filter((result) => !result.open);
    findings.push(
      fail(
        `ports: ${names(open)} answer, ${names(silent)} do not`,
        'another program may hold a port, or the broker runs on another configuration',
      ),
    );
  }
  return open.length > 0;
}

function answers({ host, port }: Endpoint): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = systemEnv.net.connect(host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host, port);
    const timer = systemEnv.clock.after(CONNECT_TIMEOUT_MS, () => finish(false));
    const finish = (open: boolean) => {
      timer.cancel();
      socket.destroy();
      resolve(open);
    };
    socket.once('connect', () => finish(true));
    socket.once('error', () => finish(false));
  });
}

async function checkData(config: Config, running: boolean, findings: Finding[]): Promise<void> {
  const directory = config.settings['data.dir'];
  try {
    await access(join(directory, 'FORMAT'), constants.R_OK | constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EROFS') {
      findings.push(
        fail(
          `data: ${directory} may not be written by this user`,
          'run as the user of the broker, or mend owner and mount',
        ),
      );
      return;
    }
    findings.push(warn(`data: ${directory} holds no data yet`, 'nothing to do before the first start'));
    return;
  }
  if (running) {
    findings.push(ok(`data: ${directory} is in use; stop the broker to have it verified`));
    return;
  }
  try {
    const store = await openLevelStore(directory);
    try {
      const { problems, partitions, bytes: size } = await checkStore(store);
      const first = problems[0];
      findings.push(
        first === undefined
          ? ok(`data: ${directory}, ${count(partitions, 'partition')}, ${bytes(size)}, all is well`)
          : fail(
              `data: ${count(problems.length, 'problem')}, the first: ${first.where}: ${first.what}`,
              'headwater check lists all; a start quarantines what cannot be read',
            ),
      );
    } finally {
      await store.close();
    }
  } catch (error) {
    findings.push(fail(`data: ${reasonOf(error)}`, 'stop whoever uses the directory, or give --data'));
  }
}

async function checkDisk(config: Config, findings: Finding[]): Promise<void> {
  let directory = config.settings['data.dir'];
  while (!(await stat(directory).catch(() => null)) && dirname(directory) !== directory) directory = dirname(directory);
  const { bsize, bavail, files, ffree } = await statfs(directory);
  findings.push(diskFinding(bsize * bavail));
  const wear = await writtenSinceBoot(directory);
  if (wear !== null) findings.push(wearFinding(wear.device, wear.bytes, uptime()));
  if (files > 0 && ffree < 1_000)
    findings.push(fail(`disk: ${ffree} inodes are free`, 'delete small files on this file system'));
}

export function diskFinding(free: number): Finding {
  const what = `disk: ${bytes(free)} free`;
  if (free < FREE_FAIL_BYTES) return fail(what, 'free some space, or lower log.retention.total.bytes');
  if (free < FREE_WARN_BYTES) return warn(what, 'set log.retention.total.bytes to what the log may use');
  return ok(what);
}

/** Of the block device that the directory is on; null where the kernel does not tell. */
async function writtenSinceBoot(directory: string): Promise<{ device: string; bytes: number } | null> {
  try {
    const { dev } = await stat(directory);
    // Linux's dev_t: 12 bits of the major number between two parts of the minor.
    const numbers = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
    const statistics = await readFile(`/sys/dev/block/${numbers}/stat`, 'utf8');
    const sectors = Number(statistics.trim().split(/\s+/)[6]);
    return { device: basename(await readlink(`/sys/dev/block/${numbers}`)), bytes: sectors * SECTOR_BYTES };
  } catch {
    return null;
  }
}

/** What all programs have written to the device since the machine started, `seconds` ago: flash takes only so much. */
export function wearFinding(device: string, written: number, seconds: number): Finding {
  const perDay = (written / seconds) * 86_400;
  const what = `wear: ${bytes(written)} written to ${device} in ${duration(seconds * 1_000)}, ${bytes(perDay)} a day at this rate`;
  // mmcblk: SD cards and eMMC. Disks and SSDs take more, or say themselves how they are.
  const worn = device.startsWith('mmcblk') && seconds >= WEAR_UPTIME_MIN_S && perDay > WEAR_WARN_BYTES_PER_DAY;
  return worn
    ? warn(what, 'compression.type, flush.ms and flush.wear.bytes.per.day spare the card: docs/wear.md')
    : ok(what);
}

export function memoryFinding(budget: number, total: number): Finding {
  const what = `memory: the budget is ${bytes(budget)} of ${bytes(total)}`;
  return budget > total * 0.75 ? warn(what, 'lower memory.budget, or the connections that need it') : ok(what);
}

async function checkAccess(config: Config, now: number, findings: Finding[]): Promise<void> {
  const settings = securitySettings(config);
  let security: Security;
  try {
    security = await Security.load(settings, { env: systemEnv, logger: silentLogger, metrics: new Metrics() });
  } catch (error) {
    findings.push(fail(`access: ${reasonOf(error)}`, 'mend that file; a running broker keeps what it has'));
    return;
  }
  if (security.tls !== null) findings.push(certificateFinding(security.tls.validTo, now));
  const secrets = [settings.usersFile, settings.tls?.key].filter((path) => typeof path === 'string');
  for (const path of secrets) {
    const { mode } = await stat(path);
    if ((mode & 0o007) !== 0) findings.push(warn(`access: everybody may read ${path}`, `chmod 0640 ${path}`));
  }
  findings.push(
    ok(security.hasUsers ? `access: users from ${settings.usersFile}` : 'access: no login; this host only'),
  );
}

export function certificateFinding(validTo: number, now: number): Finding {
  const left = validTo - now;
  if (left < 0) return fail(`certificate: ended ${duration(-left)} ago`, 'install a new one, then: headwater reload');
  const what = `certificate: good for ${duration(left)}`;
  return left < 21 * DAY_MS ? warn(what, 'renew it, then: headwater reload') : ok(what);
}

async function clockFindings(now: number): Promise<Finding[]> {
  if (now < CLOCK_FLOOR)
    return [fail(`clock: it says ${new Date(now).toISOString()}`, 'set it, or let systemd-timesyncd do it')];
  const synchronised = await access('/run/systemd/timesync/synchronized').then(
    () => true,
    () => false,
  );
  const managed = await access('/run/systemd/system').then(
    () => true,
    () => false,
  );
  if (managed && !synchronised) {
    return [
      warn(
        'clock: not synchronised by systemd-timesyncd',
        'timedatectl set-ntp true, unless chrony or another keeps it',
      ),
    ];
  }
  return [ok(`clock: ${new Date(now).toISOString()}`)];
}
