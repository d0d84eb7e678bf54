// Runs a command with its temporary files on an ext4 of its own that is as slow as an SD card: a loop device whose writes the
// kernel holds back. As root, on Linux with the blkio controller of cgroup v1; what it made it takes away.
//   node bench/log/card.mjs [--mb 20] [--iops 1000] [--size 3000] -- node bench/log/run.mjs --only append
// --mb: megabytes a second, --iops: writes a second; 0 for either: no limit. Without limits what is left is an ext4 with a
// journal, whose bytes are counted at its own block device.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values: args, positionals } = parseArgs({
  options: {
    mb: { type: 'string', default: '20' },
    iops: { type: 'string', default: '1000' },
    size: { type: 'string', default: '3000' },
  },
  allowPositionals: true,
});
const [command, ...rest] = positionals;
if (command === undefined) throw new Error('usage: node bench/log/card.mjs [--mb N] [--iops N] [--size MB] -- command');
const LIMITS = '/sys/fs/cgroup/blkio';
const limits = { write_bps_device: Number(args.mb) * 1e6, write_iops_device: Number(args.iops) };
const limited = Object.values(limits).some((limit) => limit > 0);
if (limited && !existsSync(`${LIMITS}/blkio.throttle.write_bps_device`)) {
  throw new Error(
    `${LIMITS} has no blkio.throttle files: this kernel cannot hold a device back; --mb 0 --iops 0 does without`,
  );
}

const run = (program, ...list) => execFileSync(program, list, { encoding: 'utf8' });
const work = mkdtempSync(join(tmpdir(), 'headwater-card-'));
const image = join(work, 'image');
const place = join(work, 'card');
mkdirSync(place);
writeFileSync(image, '');
truncateSync(image, Number(args.size) * 1e6);
let mounted = false;
let device = '';
const limit = (name, value) => writeFileSync(`${LIMITS}/blkio.throttle.${name}`, `${device} ${value}`);
try {
  run('mkfs.ext4', '-q', '-F', '-m', '0', image);
  run('mount', '-o', 'loop,noatime', image, place);
  mounted = true;
  const { dev } = statSync(place);
  device = `${(dev >> 8) & 0xfff}:${(dev & 0xff) | ((dev >> 12) & 0xfff00)}`;
  if (limited) for (const [name, value] of Object.entries(limits)) limit(name, value);
  console.log(`# a card of ${args.mb} MB/s and ${args.iops} writes/s (0: no limit) at ${device}`);
  const { status } = spawnSync(command, rest, { stdio: 'inherit', env: { ...process.env, TMPDIR: place } });
  process.exitCode = status ?? 1;
} finally {
  if (limited && device !== '') for (const name of Object.keys(limits)) limit(name, 0);
  if (mounted) run('umount', place);
  rmSync(work, { recursive: true });
}
