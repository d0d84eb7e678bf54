/**
 * Keeps the stretches of the clock (stretches.ts) in the metadata database and turns them into corrections when the clock is
 * believed: at the start of a boot it marks where the logs end, and after that it looks every second whether the clock was
 * stepped or has become trusted. Key `boot "clock"`, a CBOR array that begins with its format version.
 */
import { Encoder } from 'cbor-x';
import type { Clock, Timer } from '../env.ts';
import type { Logger } from '../logger.ts';
import { metaKey } from '../store/keys.ts';
import type { MetaStore } from '../store/meta.ts';
import type { Machine } from './machine.ts';
import { type Corrected, closed, correctionsOf, type Marks, type Stretch } from './stretches.ts';
import { STEP_TOLERANCE_MS } from './trust.ts';

const VERSION = 1;
const KEY = metaKey('boot', 'clock');
const LOOK_EVERY_MS = 1_000;
/** The oldest go: what they hold keeps its wrong time. */
export const STRETCHES_MAX = 16;
export const CORRECTIONS_MAX = 8_192;
/** How long a boot without the time may last, ms; what has later timestamps was stamped by another clock. */
const BOOT_MAX_MS = 366 * 86_400_000;
const cbor = new Encoder({ useRecords: false });

/** What it asks of the logs, all by partition id. */
export interface Logs {
  starts(): Marks;
  ends(): Marks;
  /** The latest timestamp in the last batch of the partition, ms; null when there is none. */
  lastTimestamp(partition: number): Promise<number | null>;
}

export interface ClockHistoryParts {
  readonly clock: Clock;
  readonly machine: Machine;
  readonly logger: Logger;
  readonly meta: MetaStore;
  readonly logs: Logs;
  readonly trusted: () => boolean;
  /** Corrections in force from now on. */
  readonly apply: (corrected: readonly Corrected[]) => void;
}

export class ClockHistory {
  readonly #parts: ClockHistoryParts;
  #bootId = '';
  #stretches: readonly Stretch[] = [];
  #corrected: readonly Corrected[] = [];
  #timer: Timer | null = null;
  #saving: Promise<void> = Promise.resolve();

  constructor(parts: ClockHistoryParts) {
    this.#parts = parts;
  }

  /** Resolves when the boot is marked. Nothing may be appended before. */
  async start(): Promise<void> {
    const { clock, machine, meta, logs, apply } = this.#parts;
    // Without one every start of the process counts as a boot.
    this.#bootId = (await machine.bootId()) ?? `${clock.now()}`;
    const bytes = await meta.get(KEY);
    const stored = bytes === undefined ? null : decode(bytes);
    this.#stretches = stored?.stretches ?? [];
    this.#corrected = closed(stored?.corrected ?? [], logs.starts(), logs.ends());
    const last = this.#stretches.at(-1);
    if (last !== undefined && last.bootId !== this.#bootId) {
      if (last.believed) this.#stretches = [];
      else this.#stretches = [...this.#stretches.slice(0, -1), { ...last, to: await this.#lastWritten(last) }];
    }
    apply(this.#corrected);
    this.#look();
    await this.#saving;
    this.#timer = clock.every(LOOK_EVERY_MS, () => this.#look());
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    await this.#saving;
  }

  #look(): void {
    const { clock, machine, logs, trusted } = this.#parts;
    const believed = trusted();
    const now = clock.now();
    const difference = now - machine.uptime();
    const last = this.#stretches.at(-1);
    const isSame = last?.bootId === this.#bootId && Math.abs(last.difference - difference) <= STEP_TOLERANCE_MS;
    if (isSame && last.believed === believed) return;
    if (isSame) this.#stretches = [...this.#stretches.slice(0, -1), { ...last, believed: believed || last.believed }];
    else this.#begin({ bootId: this.#bootId, difference, from: now, to: now, believed, marks: logs.ends() });
    if (believed) this.#resolve();
    else if (isSame) return;
    this.#save();
  }

  #begin(stretch: Stretch): void {
    const { logs } = this.#parts;
    const stretches = [...this.#stretches];
    const last = stretches.at(-1);
    // The clock ran on until now; the one of another boot stands at its last record already.
    if (last?.bootId === this.#bootId) {
      const to = last.difference + this.#parts.machine.uptime();
      stretches[stretches.length - 1] = { ...last, to };
    }
    this.#corrected = closed(this.#corrected, logs.starts(), logs.ends());
    this.#stretches = [...stretches, stretch].slice(-STRETCHES_MAX);
  }

  #resolve(): void {
    const { logs, logger, apply } = this.#parts;
    const corrected = correctionsOf(this.#stretches, logs.ends());
    this.#stretches = this.#stretches.slice(-1);
    if (corrected.length === 0) return;
    this.#corrected = [...this.#corrected, ...corrected].slice(-CORRECTIONS_MAX);
    apply(this.#corrected);
    const most = Math.max(...corrected.map(({ by }) => by));
    logger.info({ partitions: new Set(corrected.map(({ partition }) => partition)).size, most }, 'times are corrected');
  }

  async #lastWritten({ marks, from, to }: Stretch): Promise<number> {
    const { logs } = this.#parts;
    let latest = to;
    for (const [partition, end] of logs.ends()) {
      if (end <= (marks.get(partition) ?? 0)) continue;
      const timestamp = await logs.lastTimestamp(partition);
      if (timestamp !== null && timestamp >= from && timestamp < from + BOOT_MAX_MS)
        latest = Math.max(latest, timestamp);
    }
    return latest;
  }

  #save(): void {
    const { meta, logger } = this.#parts;
    const write = meta.write([{ key: KEY, value: encode(this.#stretches, this.#corrected) }]);
    this.#saving = Promise.allSettled([this.#saving, write]).then(([, result]) => {
      if (result.status === 'rejected')
        logger.warn({ err: result.reason as unknown }, 'the history of the clock was not saved');
    });
  }
}

function encode(stretches: readonly Stretch[], corrected: readonly Corrected[]): Uint8Array {
  return cbor.encode([
    VERSION,
    stretches.map(({ bootId, difference, from, to, believed, marks }) => [
      bootId,
      difference,
      from,
      to,
      believed,
      [...marks],
    ]),
    corrected.map(({ partition, start, end, from, to, by }) => [partition, start, end, from, to, by]),
  ]);
}

/** null when it is not one that this version can read: then the clock's history begins anew. */
function decode(bytes: Uint8Array): { stretches: Stretch[]; corrected: Corrected[] } | null {
  try {
    const [version, stretches, corrected] = cbor.decode(bytes) as [number, unknown[][], number[][]];
    if (version !== VERSION) return null;
    return {
      stretches: stretches.map(([bootId, difference, from, to, believed, marks]) => ({
        bootId: String(bootId),
        difference: Number(difference),
        from: Number(from),
        to: Number(to),
        believed: believed === true,
        marks: new Map((marks as [number, number][]).map(([partition, offset]) => [partition, Number(offset)])),
      })),
      corrected: corrected.map((row) => {
        const [partition, start, end, from, to, by] = row.map(Number) as [
          number,
          number,
          number,
          number,
          number,
          number,
        ];
        return { partition, start, end, from, to, by };
      }),
    };
  } catch {
    return null;
  }
}
