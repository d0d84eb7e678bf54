/**
 * `npm run damage -- --cases 1000 [--seed 1] [--from 0] [--dir /dev/shm]`: damages one file of a small real data directory a
 * case and checks what the log makes of it. A case is told by its seed and number. The work is done in a child, so that a
 * crash of the process is a finding like any other and not the end of the run.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { SeededRandom } from '../sim/clock.ts';
import { DAMAGE_KINDS, type Prepared, prepare, tryCase } from './damage.ts';

const CASES_PER_IMAGE = 250;
const CASE_MS_MAX = 30_000;
const FAILURES_SHOWN = 20;

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '1000' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    dir: { type: 'string' },
    child: { type: 'string' },
  },
});
const seed = Number(values.seed);
const below = values.dir ?? (existsSync('/dev/shm') ? '/dev/shm' : tmpdir());

interface Totals {
  cases: number;
  failed: number;
  lost: number;
  /** Cases by kind of damage. */
  kinds: Record<string, number>;
}

function image(number: number): Promise<Prepared> {
  const random = new SeededRandom(seed * 7_919 + number);
  return prepare({
    rounds: 4 + random.below(10),
    stopped: random.chance(0.3),
    unit: () => random.unit(),
    below,
  });
}

/** Runs cases until `to`; writes each one's number to `status` before it begins, and what failed to standard output. */
async function work(from: number, to: number, status: string): Promise<void> {
  const fd = openSync(status, 'w');
  const say = (text: string) => writeSync(fd, text.padEnd(200), 0);
  let prepared: Prepared | null = null;
  let at = -1;
  for (let number = from; number < to; number++) {
    const wanted = Math.floor(number / CASES_PER_IMAGE);
    if (prepared === null || at !== wanted) {
      if (prepared !== null) await rm(dirname(prepared.directory), { recursive: true });
      say(`${number} preparing`);
      prepared = await image(wanted);
      at = wanted;
    }
    const random = new SeededRandom(seed * 1_000_003 + number);
    const file = prepared.files[random.below(prepared.files.length)]!;
    const kind = DAMAGE_KINDS[random.below(DAMAGE_KINDS.length)]!;
    const name = `case ${number} of seed ${seed}: ${file} ${kind}`;
    say(`${number} ${name}`);
    const guard = setTimeout(() => {
      const waiting = process.getActiveResourcesInfo().join(', ');
      const failed = [`${name}: took more than ${CASE_MS_MAX} ms, waits for ${waiting}`];
      console.log(JSON.stringify({ kind, failed, lost: 0 }));
      process.exit(3);
    }, CASE_MS_MAX);
    const { problems, lost } = await tryCase(prepared, file, kind, () => random.unit());
    clearTimeout(guard);
    const failed = problems.length === 0 ? undefined : [name, ...problems.slice(0, 5)];
    console.log(JSON.stringify({ kind, failed, lost }));
  }
  if (prepared !== null) await rm(dirname(prepared.directory), { recursive: true });
  closeSync(fd);
}

/** Runs one child from case `from` on. Resolves with the number of the case to go on with. */
function child(from: number, to: number, totals: Totals, failures: string[]): Promise<number> {
  const status = join(below, `headwater-damage-${process.pid}.status`);
  return new Promise((resolve, reject) => {
    const self = fileURLToPath(import.meta.url);
    const args = [self, '--seed', String(seed), '--from', String(from), '--cases', String(to - from)];
    const process_ = spawn(process.execPath, [...args, '--child', status, '--dir', below], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let rest = '';
    let done = from;
    process_.stdout.setEncoding('utf8');
    process_.stdout.on('data', (text: string) => {
      rest += text;
      for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
        const line = JSON.parse(rest.slice(0, end)) as {
          kind: string;
          failed?: string[];
          lost: number;
        };
        rest = rest.slice(end + 1);
        done++;
        totals.cases++;
        totals.lost += line.lost;
        totals.kinds[line.kind] = (totals.kinds[line.kind] ?? 0) + 1;
        if (line.failed !== undefined) {
          totals.failed++;
          failures.push(line.failed.join('\n  '));
          if (failures.length <= FAILURES_SHOWN) console.error(line.failed.join('\n  '));
        }
        if (totals.cases % 5_000 === 0) console.log(JSON.stringify(totals));
      }
    });
    process_.on('error', reject);
    process_.on('close', (code, signal) => {
      if (code !== 0 && code !== 3) {
        const last = readFileSync(status, 'utf8').trim();
        failures.push(`the process died (${signal ?? code}) in ${last}`);
        console.error(failures.at(-1));
        totals.failed++;
        totals.cases++;
        done++;
      }
      rmSync(status, { force: true });
      resolve(done);
    });
  });
}

const from = Number(values.from);
const to = from + Number(values.cases);
if (values.child !== undefined) await work(from, to, values.child);
else {
  const totals: Totals = { cases: 0, failed: 0, lost: 0, kinds: {} };
  const failures: string[] = [];
  for (let next = from; next < to; ) next = await child(next, to, totals, failures);
  console.log(JSON.stringify(totals));
  console.log(`${totals.cases - totals.failed} passed, ${totals.failed} failed`);
  process.exitCode = totals.failed === 0 ? 0 : 1;
}
