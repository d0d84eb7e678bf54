/**
 * The one place that knows whether the wall clock may be believed (trust.ts has the rules). It looks at the clock every
 * few seconds and whenever somebody asks, asks the system rarely, and keeps the floor in the metadata database.
 */
import type { Clock, Random, Timer } from '../env.ts';
import type { Logger } from '../logger.ts';
import type { Metrics } from '../metrics.ts';
import type { MetaStore } from '../store/meta.ts';
import { decodeFloor, encodeFloor, FLOOR_KEY } from './floor.ts';
import type { Machine } from './machine.ts';
import { correctedBy, type Span, spansAfter } from './spans.ts';
import {
  askAgainAfter,
  classify,
  EARLIEST_TIME,
  isTrusted,
  nextFloor,
  STEP_TOLERANCE_MS,
  type TimeState,
  TRANSITIONS,
} from './trust.ts';

const LOOK_EVERY_MS = 5_000;
/** A synced write this often at most: 144 a day. */
export const SAVE_EVERY_MS = 600_000;

export interface TrustedTimeParts {
  readonly clock: Clock;
  readonly random: Random;
  readonly machine: Machine;
  readonly metrics: Metrics;
  readonly logger: Logger;
  /** `time.source`. system: the clock is believed whatever it says. */
  readonly source: 'auto' | 'system';
}

export class TrustedTime {
  readonly #parts: TrustedTimeParts;
  #meta: MetaStore | null = null;
  #state: TimeState = 'unknown';
  #floor: number | null = null;
  /** `now - monotonic` when the clock was last believed in this boot; null: it was not. */
  #believed: number | null = null;
  /** `now - monotonic` of the last look: what differs from it by more than the tolerance is a step. */
  #difference: number;
  #synchronised: boolean | null = null;
  #steps = 0;
  #asked = 0;
  #asking = false;
  #askAt = 0;
  #bootId = '';
  #spans: readonly Span[] = [];
  /** `uptime - monotonic`: grows when the machine sleeps, which is no step of its clock. */
  #asleep = 0;
  /** Uptime of the last step, as far as this process knows. */
  #steppedAt = 0;
  #savedAt: number | null = null;
  #saving: Promise<void> = Promise.resolve();
  #looking: Timer | null = null;

  constructor(parts: TrustedTimeParts) {
    this.#parts = parts;
    const { clock, metrics } = parts;
    this.#difference = clock.now() - clock.monotonic();
    metrics.gauge(
      'headwater_time_trusted',
      'Whether the wall clock is believed: 1, or 0 while ages do not count',
      () => (this.check() ? 1 : 0),
    );
    metrics.computedCounter(
      'headwater_time_steps_total',
      'Steps of the wall clock by more than a minute',
      () => this.#steps,
    );
  }

  /** Reads the floor and begins to look. Until then nothing is believed, unless `time.source` is system. */
  async start(meta: MetaStore): Promise<void> {
    const { clock, random, machine, logger, source } = this.#parts;
    if (source === 'system') return;
    this.#bootId = (await machine.bootId()) ?? Buffer.from(random.bytes(16)).toString('hex');
    const bytes = await meta.get(FLOOR_KEY);
    const stored = bytes === undefined ? null : decodeFloor(bytes);
    if (bytes !== undefined && stored === null) logger.warn({}, 'the floor of the clock cannot be read: begins anew');
    this.#difference = clock.now() - clock.monotonic();
    this.#asleep = machine.uptime() - clock.monotonic();
    if (stored !== null) {
      this.#floor = stored.floor;
      this.#spans = stored.spans;
      // The same boot: the clock can be held to what it said before this process.
      if (stored.bootId === this.#bootId) {
        this.#floor += Math.max(0, machine.uptime() - stored.uptime);
        this.#believed = this.#floor - clock.monotonic();
        const by = clock.now() - this.#floor;
        if (by > STEP_TOLERANCE_MS) {
          const step = { wall: this.#floor, by, ranFor: machine.uptime(), bootId: this.#bootId };
          this.#spans = spansAfter(this.#spans, step);
        }
      }
    }
    this.#meta = meta;
    this.#askAt = clock.monotonic();
    this.#look();
    if (this.#state === 'unknown') {
      const facts = { now: iso(clock.now()), floor: this.#floor === null ? null : iso(this.#floor) };
      logger.warn(facts, 'the clock is not believed yet: nothing is deleted for its age');
    }
    this.#looking = clock.every(LOOK_EVERY_MS, () => this.#look());
  }

  /** Saves the floor when there is something to save. Resolves when it is stored. */
  async stop(): Promise<void> {
    this.#looking?.cancel();
    this.#looking = null;
    if (this.#meta !== null) this.#look();
    if (this.trusted) this.#save();
    this.#meta = null;
    await this.#saving;
  }

  get state(): TimeState | 'system' {
    return this.#parts.source === 'system' ? 'system' : this.#state;
  }

  /** As of the last look, a few seconds ago at most. */
  get trusted(): boolean {
    return this.#parts.source === 'system' || isTrusted(this.#state);
  }

  /** Looks at the clock first: for decisions that delete. */
  check(): boolean {
    if (this.#meta !== null) this.#look();
    return this.trusted;
  }

  /** The wall clock, ms; null while it is not believed. */
  trustedNow(): number | null {
    return this.check() ? this.#parts.clock.now() : null;
  }

  /**
   * When what has this timestamp was written, ms, once the clock is believed: corrected by the steps that the clock has
   * made since. null: it was given by a clock that was not set, and nobody knows.
   */
  writtenAt(timestamp: number): number | null {
    if (this.#parts.source === 'system') return timestamp;
    return correctedBy(this.#spans, timestamp) ?? (timestamp < EARLIEST_TIME ? null : timestamp);
  }

  /** How long ago a timestamp was, ms, never negative; 0 when that cannot be known. */
  ageOf(timestamp: number): number {
    // Looked at first: a step must be known before it makes anything old.
    const written = this.check() ? this.writtenAt(timestamp) : null;
    return written === null ? 0 : Math.max(0, this.#parts.clock.now() - written);
  }

  #look(): void {
    const { clock } = this.#parts;
    const now = clock.now();
    const monotonic = clock.monotonic();
    const difference = now - monotonic;
    const jump = difference - this.#difference;
    this.#difference = difference;
    if (Math.abs(jump) > STEP_TOLERANCE_MS) this.#jumped(now, monotonic, jump);
    const expected = this.#believed === null ? null : this.#believed + monotonic;
    const event = classify({ now, expected, floor: this.#floor, synchronised: this.#synchronised });
    const before = this.#state;
    this.#state = TRANSITIONS[before][event];
    this.#floor = nextFloor(this.#state, this.#floor, now);
    // After a step back the clock needs to pass the floor again; it is not held to what it said before.
    this.#believed = isTrusted(this.#state) ? difference : null;
    if (this.#state !== before) this.#changed(before, now);
    if (isTrusted(this.#state) && (this.#savedAt === null || monotonic - this.#savedAt >= SAVE_EVERY_MS)) this.#save();
    if (monotonic >= this.#askAt) this.#ask();
  }

  /** The wall clock has moved against the monotonic one: the machine slept, or the clock was stepped, or both. */
  #jumped(now: number, monotonic: number, jump: number): void {
    const { machine, logger } = this.#parts;
    const uptime = machine.uptime();
    const slept = uptime - monotonic - this.#asleep;
    this.#asleep += slept;
    const by = jump - slept;
    if (this.#believed !== null) this.#believed += slept;
    if (Math.abs(by) <= STEP_TOLERANCE_MS) return;
    this.#steps++;
    // What the system said was about the clock before the step.
    this.#synchronised = null;
    this.#asked = 0;
    this.#askAt = monotonic;
    if (by > 0) {
      const ranFor = uptime - this.#steppedAt;
      this.#spans = spansAfter(this.#spans, { wall: now - by, by, ranFor, bootId: this.#bootId });
      // Saved as soon as the clock is believed.
      this.#savedAt = null;
    }
    this.#steppedAt = uptime;
    logger.warn({ from: iso(now - by), to: iso(now) }, 'the clock was stepped');
  }

  #changed(before: TimeState, now: number): void {
    const facts = { from: before, to: this.#state, now: iso(now) };
    if (this.#state === 'suspect') {
      this.#parts.logger.warn(facts, 'the clock is not believed any more: nothing is deleted for its age');
    } else if (!isTrusted(before)) this.#parts.logger.info(facts, 'the clock is believed');
  }

  /** One question at a time; an answer from before a step is worth nothing. */
  #ask(): void {
    if (this.#asking) return;
    this.#asking = true;
    this.#asked++;
    const { clock, machine } = this.#parts;
    const steps = this.#steps;
    void machine.synchronised(clock.now()).then((answer) => {
      this.#asking = false;
      if (this.#meta === null) return;
      if (this.#steps === steps) {
        this.#synchronised = answer;
        this.#askAt = clock.monotonic() + askAgainAfter(answer, this.#asked);
      }
      this.#look();
    });
  }

  #save(): void {
    const { clock, machine, logger } = this.#parts;
    if (this.#meta === null || this.#floor === null) return;
    this.#savedAt = clock.monotonic();
    const value = encodeFloor({
      floor: this.#floor,
      bootId: this.#bootId,
      uptime: machine.uptime(),
      spans: this.#spans,
    });
    const write = this.#meta.write([{ key: FLOOR_KEY, value }]);
    this.#saving = Promise.allSettled([this.#saving, write]).then(([, result]) => {
      if (result.status === 'rejected')
        logger.warn({ err: result.reason as unknown }, 'the floor of the clock was not saved');
    });
  }
}

/** For people; a clock can say what no date can hold. */
function iso(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms);
}
