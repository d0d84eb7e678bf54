/** The devices of the demo: each reads one kind of this machine's own vitals from /proc or /sys. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Device {
  readonly name: string;
  /** How its readings are written. */
  readonly format: 'cbor' | 'json';
  /** The present values; throws when the machine does not tell. */
  read(): Readonly<Record<string, number | string>>;
}

const THERMAL = '/sys/class/thermal';

function readLoad(): Record<string, number> {
  const [one, five, fifteen, tasks] = readFileSync('/proc/loadavg', 'utf8').split(' ');
  return { load1: Number(one), load5: Number(five), load15: Number(fifteen), tasks: Number(tasks!.split('/')[1]) };
}

function readCpu(): Record<string, number> {
  const [, user, nice, system, idle, iowait] = readFileSync('/proc/stat', 'utf8').split(/\s+/, 6).map(Number);
  return { user: user! + nice!, system: system!, idle: idle!, iowait: iowait! };
}

function readMemory(): Record<string, number> {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)![1]);
  return { totalKiB: kib('MemTotal'), availableKiB: kib('MemAvailable'), dirtyKiB: kib('Dirty') };
}

/** Sums over whole disks: partitions repeat what their disk counts. */
function readDisk(): Record<string, number> {
  let [reads, writes, readSectors, writtenSectors] = [0, 0, 0, 0];
  for (const line of readFileSync('/proc/diskstats', 'utf8').split('\n')) {
    const cells = line.trim().split(/\s+/);
    if (!/^(sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme\d+n\d+|mmcblk\d+)$/.test(cells[2] ?? '')) continue;
    reads += Number(cells[3]);
    readSectors += Number(cells[5]);
    writes += Number(cells[7]);
    writtenSectors += Number(cells[9]);
  }
  return { reads, writes, readBytes: readSectors * 512, writtenBytes: writtenSectors * 512 };
}

function readNetwork(): Record<string, number> {
  const sums = { receivedBytes: 0, receivedPackets: 0, sentBytes: 0, sentPackets: 0 };
  for (const line of readFileSync('/proc/net/dev', 'utf8').split('\n').slice(2)) {
    const cells = line.trim().split(/[:\s]+/);
    if (cells.length < 11) continue;
    sums.receivedBytes += Number(cells[1]);
    sums.receivedPackets += Number(cells[2]);
    sums.sentBytes += Number(cells[9]);
    sums.sentPackets += Number(cells[10]);
  }
  return sums;
}

function readTemperature(): Record<string, number | string> {
  const zone = readdirSync(THERMAL).find((name) => name.startsWith('thermal_zone'));
  if (zone === undefined) throw new Error('no thermal zone');
  const celsius = Number(readFileSync(`${THERMAL}/${zone}/temp`, 'utf8')) / 1000;
  return { zone: readFileSync(`${THERMAL}/${zone}/type`, 'utf8').trim(), celsius };
}

const DEVICES: readonly Device[] = [
  { name: 'load', format: 'json', read: readLoad },
  { name: 'cpu', format: 'cbor', read: readCpu },
  { name: 'memory', format: 'cbor', read: readMemory },
  { name: 'disk', format: 'json', read: readDisk },
  { name: 'network', format: 'cbor', read: readNetwork },
  { name: 'temperature', format: 'json', read: readTemperature },
];

/** The devices whose vitals this machine tells, and the names of those it does not. */
export function presentDevices(): { devices: Device[]; missing: string[] } {
  const devices: Device[] = [];
  const missing: string[] = [];
  for (const device of DEVICES) {
    try {
      device.read();
      devices.push(device);
    } catch {
      missing.push(device.name);
    }
  }
  return { devices, missing };
}
