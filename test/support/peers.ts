/**
 * Real peers: programs that are not npm packages. Where one is missing its tests do not run and one visible line says so;
 * with CI set a missing peer fails the run, because there nothing may be left out.
 */
import { spawnSync } from 'node:child_process';

const INSTALL: Readonly<Record<string, string>> = {
  kcat: 'apt-get install kcat',
  mosquitto_pub: 'apt-get install mosquitto-clients',
  mosquitto_sub: 'apt-get install mosquitto-clients',
  mosquitto: 'apt-get install mosquitto',
  java: 'apt-get install openjdk-17-jre-headless',
  javac: 'apt-get install openjdk-17-jdk-headless',
  mvn: 'apt-get install maven',
  python3: 'apt-get install python3 python3-venv',
  openssl: 'apt-get install openssl',
  go: 'https://go.dev/dl',
  chromium: 'apt-get install chromium',
};

const known = new Map<string, boolean>();

function isInstalled(command: string): boolean {
  let found = known.get(command);
  if (found === undefined) {
    found = spawnSync('sh', ['-c', 'command -v "$1"', 'sh', command], { stdio: 'ignore' }).status === 0;
    known.set(command, found);
  }
  return found;
}

/** Whether all `commands` are installed. If not: an error in CI, elsewhere a line that names the tests left out. */
export function havePeers(tests: string, ...commands: string[]): boolean {
  const missing = commands.filter((command) => !isInstalled(command));
  if (missing.length === 0) return true;
  const how = missing.map((command) => `${command} (${INSTALL[command] ?? 'not installed'})`).join(', ');
  return leaveOut(tests, `missing: ${how}`);
}

/** The visible line itself, for conditions that are not a command. Always false. */
export function leaveOut(tests: string, why: string): false {
  if (process.env.CI) throw new Error(`${tests}: ${why}; in CI nothing is left out`);
  process.stderr.write(`LEFT OUT: ${tests}: ${why}\n`);
  return false;
}
