import { afterEach, describe, expect, it } from 'vitest';
import { type Logger, silentLogger } from '../../src/logger.ts';
import { Metrics } from '../../src/metrics.ts';
import { META_DATABASE } from '../../src/store/keys.ts';
import { MemoryDisk } from '../../src/store/memory.ts';
import type { MetaOperation, MetaStore } from '../../src/store/meta.ts';
import { GroupCommitMetaStore } from '../../src/store/meta-store.ts';
import { decodeFloor, encodeFloor, FLOOR_KEY } from '../../src/time/floor.ts';
import { SAVE_EVERY_MS, TrustedTime } from '../../src/time/trusted-time.ts';
import { seededRandom, VirtualClock } from '../support/virtual-env.ts';

const TODAY = Date.UTC(2027, 4, 1);
const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 86_400_000;
const YEAR = 365 * DAY;

/** A machine with a disk that is switched on and off, and its broker that is started and stopped. */
class Pi {
  readonly disk = new MemoryDisk();
  readonly warnings: string[] = [];
  clock = new VirtualClock();
  /** What the system answers when it is asked. */
  synchronised: boolean | null = false;
  asked = 0;
  saves = 0;
  #boot: string | null = null;
  #boots = 0;
  #uptimeBefore = 0;
  #meta: MetaStore | null = null;
  #off: () => Promise<void> = async () => {};
  time!: TrustedTime;

  /** Power on with this clock, and the broker started. */
  async boot(wall: number, source: 'auto' | 'system' = 'auto'): Promise<void> {
    this.#boot = `boot-${++this.#boots}`;
    this.#uptimeBefore = 20_000;
    await this.start(wall, source);
  }

  async start(wall: number, source: 'auto' | 'system' = 'auto'): Promise<void> {
    this.clock = new VirtualClock(wall);
    const store = this.disk.mount();
    const open = () => store.open(META_DATABASE, {});
    const meta = new GroupCommitMetaStore(await open(), open);
    this.#meta = {
      get: (key) => meta.get(key),
      entries: (range) => meta.entries(range),
      write: (operations: readonly MetaOperation[]) => {
        this.saves++;
        return meta.write(operations);
      },
      close: () => meta.close(),
    };
    this.#off = async () => {
      await this.time.stop();
      await meta.close();
      await store.close();
    };
    const logger: Logger = { ...silentLogger, warn: (_, message) => this.warnings.push(message) };
    const machine = {
      bootId: async () => this.#boot,
      uptime: () => this.#uptimeBefore + this.clock.monotonic(),
      synchronised: async () => {
        this.asked++;
        return this.synchronised;
      },
    };
    const { clock } = this;
    this.time = new TrustedTime({ clock, random: seededRandom(1), machine, metrics: new Metrics(), logger, source });
    await this.time.start(this.#meta);
    await clock.advance(0);
  }

  /** The broker alone; the machine runs on for a while. */
  async stop(meanwhile = 0): Promise<void> {
    await this.#off();
    this.#off = async () => {};
    this.#uptimeBefore += this.clock.monotonic() + meanwhile;
  }

  async powerCut(): Promise<void> {
    await this.clock.advance(0);
    this.disk.crash();
    this.#off = async () => {};
  }

  sleep(ms: number): void {
    this.#uptimeBefore += ms;
    this.clock.setWall(this.clock.now() + ms);
  }

  async step(to: number): Promise<void> {
    this.clock.setWall(to);
    await this.clock.advance(6_000);
  }

  async stored() {
    const bytes = await this.#meta?.get(FLOOR_KEY);
    return bytes === undefined ? null : decodeFloor(bytes);
  }
}

let pi = new Pi();
afterEach(async () => {
  await pi.stop();
  pi = new Pi();
});

describe('a clock nobody vouches for', () => {
  it('is believed at once when its year is plausible and nothing else is known', async () => {
    pi.synchronised = null;
    await pi.boot(TODAY);
    expect(pi.time.state).toBe('floor');
    expect(pi.time.trustedNow()).toBe(TODAY);
    expect(pi.warnings).toEqual([]);
  });

  it('is not believed before the floor, and is once it has passed it', async () => {
    await pi.boot(TODAY);
    await pi.powerCut();
    await pi.boot(TODAY - 10 * MINUTE);
    expect(pi.time.state).toBe('unknown');
    expect(pi.time.trustedNow()).toBeNull();
    expect(pi.warnings).toEqual(['the clock is not believed yet: nothing is deleted for its age']);
    await pi.clock.advance(11 * MINUTE);
    expect(pi.time.state).toBe('floor');
  });

  it('is not believed more than a year ahead of the floor, and does not move it', async () => {
    await pi.boot(TODAY);
    await pi.powerCut();
    await pi.boot(TODAY + 2 * YEAR);
    expect(pi.time.trusted).toBe(false);
    await pi.stop();
    await pi.boot(TODAY + DAY);
    expect(pi.time.state).toBe('floor');
  });
});

describe('a boot in 1970', () => {
  it('is believed when the clock is stepped by 56 years', async () => {
    await pi.boot(15_000);
    await pi.clock.advance(5 * MINUTE);
    expect(pi.time.trusted).toBe(false);
    expect(await pi.stored()).toBeNull();
    pi.synchronised = true;
    await pi.step(15_000 + 57.4 * YEAR);
    expect(pi.time.state).toBe('synchronised');
  });

  it('without any network ever: never believed, nothing saved, asked ever more rarely', async () => {
    await pi.boot(15_000);
    await pi.clock.advance(10 * DAY);
    expect(pi.time.state).toBe('unknown');
    expect(pi.saves).toBe(0);
    expect(pi.asked).toBeLessThan(10 + 10 * 145);
    await pi.stop();
    expect(pi.saves).toBe(0);
  });

  it('is believed always with time.source=system, and nobody is asked', async () => {
    await pi.boot(15_000, 'system');
    expect(pi.time.state).toBe('system');
    expect(pi.time.trustedNow()).toBe(15_000);
    await pi.step(3);
    expect(pi.time.check()).toBe(true);
    expect([pi.asked, pi.saves]).toEqual([0, 0]);
  });
});

describe('the age of a timestamp', () => {
  it('counts while the clock is believed, and not for what a clock gave that was not set', async () => {
    await pi.boot(15_000);
    expect(pi.time.ageOf(1_000)).toBe(0);
    await pi.clock.advance(5 * MINUTE);
    await pi.step(TODAY);
    // Written a minute before the step.
    expect(pi.time.ageOf(15_000 + 4 * MINUTE)).toBe(MINUTE + 6_000);
    // By a clock of 1970, but not in this boot.
    expect(pi.time.ageOf(DAY)).toBe(0);
    expect(pi.time.writtenAt(DAY)).toBeNull();
    expect(pi.time.ageOf(TODAY)).toBe(6_000);
    expect(pi.time.ageOf(TODAY + DAY)).toBe(0);
    await pi.step(TODAY - DAY);
    expect(pi.time.ageOf(TODAY - 2 * DAY)).toBe(0);
    await pi.stop();
    await pi.boot(15_000, 'system');
    expect(pi.time.ageOf(1_000)).toBe(14_000);
  });
});

describe('a step back by a day', () => {
  it('is noticed by the next decision, before any timer', async () => {
    await pi.boot(TODAY);
    pi.clock.setWall(TODAY - DAY);
    expect(pi.time.trustedNow()).toBeNull();
    expect(pi.time.state).toBe('suspect');
  });

  it('takes trust away until the clock has passed the floor again', async () => {
    await pi.boot(TODAY);
    await pi.step(TODAY - DAY);
    expect(pi.warnings.at(-1)).toBe('the clock is not believed any more: nothing is deleted for its age');
    await pi.clock.advance(DAY / 2);
    expect(pi.time.state).toBe('suspect');
    await pi.clock.advance(DAY / 2);
    expect(pi.time.state).toBe('floor');
  });

  it('by the time server is believed, and lowers the floor', async () => {
    await pi.boot(TODAY);
    pi.synchronised = true;
    await pi.step(TODAY - DAY);
    expect(pi.time.state).toBe('synchronised');
    await pi.stop();
    await pi.boot(TODAY - DAY + MINUTE);
    expect(pi.time.trusted).toBe(true);
  });

  it('while the broker was stopped is noticed in the same boot, though the clock is past the stored floor', async () => {
    await pi.boot(TODAY);
    await pi.stop(2 * DAY);
    await pi.start(TODAY + DAY);
    expect(pi.time.state).toBe('suspect');
    await pi.clock.advance(DAY / 2);
    expect(pi.time.state).toBe('suspect');
    await pi.clock.advance(DAY / 2);
    expect(pi.time.state).toBe('floor');
    await pi.stop(2 * DAY);
    await pi.start(TODAY + 4 * DAY);
    expect(pi.time.state).toBe('floor');
  });

  it('smaller than the tolerance changes nothing', async () => {
    await pi.boot(TODAY);
    await pi.step(TODAY - 30_000);
    expect(pi.time.state).toBe('floor');
    expect(pi.warnings).toEqual([]);
  });
});

describe('a synchronised clock', () => {
  it('is believed wherever the floor is', async () => {
    await pi.boot(TODAY);
    await pi.powerCut();
    pi.synchronised = true;
    await pi.boot(TODAY + 3 * YEAR);
    expect(pi.time.state).toBe('synchronised');
  });

  it('stays believed when the network goes', async () => {
    pi.synchronised = true;
    await pi.boot(TODAY);
    pi.synchronised = false;
    await pi.clock.advance(5 * DAY);
    expect(pi.time.state).toBe('synchronised');
  });

  it('is asked about again after a step: an old answer does not vouch for a new time', async () => {
    pi.synchronised = true;
    await pi.boot(TODAY);
    pi.synchronised = false;
    const { asked } = pi;
    await pi.step(TODAY + 2 * YEAR);
    expect(pi.asked).toBe(asked + 1);
    expect(pi.time.state).toBe('suspect');
  });

  it('is asked about once an hour', async () => {
    pi.synchronised = true;
    await pi.boot(TODAY);
    await pi.clock.advance(DAY);
    expect(pi.asked).toBeLessThanOrEqual(25);
  });
});

describe('what was written before the clock was stepped forward', () => {
  it('is as old as the monotonic clock says, also after a power cut', async () => {
    await pi.boot(TODAY);
    await pi.powerCut();
    // The clock goes on where it was; in truth ten days have passed.
    await pi.boot(TODAY + 1_000);
    await pi.clock.advance(HOUR);
    const written = pi.clock.now();
    await pi.clock.advance(HOUR);
    await pi.step(pi.clock.now() + 10 * DAY);
    expect(pi.time.ageOf(written)).toBe(HOUR + 6_000);
    await pi.powerCut();
    await pi.boot(written + 11 * DAY);
    expect(pi.time.writtenAt(written)).toBe(written + 10 * DAY);
    // Written in the boot before.
    expect(pi.time.writtenAt(TODAY - DAY)).toBe(TODAY - DAY);
  });

  it('while the broker was stopped, too', async () => {
    await pi.boot(TODAY);
    await pi.clock.advance(HOUR);
    await pi.stop(HOUR);
    await pi.start(TODAY + 2 * HOUR + 10 * DAY);
    expect(pi.time.ageOf(TODAY)).toBe(2 * HOUR);
    await pi.stop();
    await pi.start(TODAY + 2 * HOUR + 10 * DAY);
    expect(pi.time.ageOf(TODAY)).toBe(2 * HOUR);
  });

  it('is no matter of a machine that slept', async () => {
    await pi.boot(TODAY);
    const asleep = 3 * DAY;
    pi.sleep(asleep);
    expect(pi.time.check()).toBe(true);
    expect(pi.warnings).toEqual([]);
    expect(pi.time.ageOf(TODAY)).toBe(asleep);
    // Awake, it is held to the time it slept.
    pi.clock.setWall(TODAY + DAY);
    expect(pi.time.check()).toBe(false);
  });
});

describe('the floor on disk', () => {
  it('is saved when the clock is first believed, then every ten minutes, then at the end', async () => {
    await pi.boot(TODAY);
    expect(pi.saves).toBe(1);
    await pi.clock.advance(SAVE_EVERY_MS - 1);
    expect(pi.saves).toBe(1);
    await pi.clock.advance(60 * MINUTE + 1);
    expect(pi.saves).toBe(8);
    const { clock } = pi;
    await clock.advance(MINUTE);
    const last = clock.now();
    await pi.stop();
    expect(pi.saves).toBe(9);
    await pi.boot(last);
    expect((await pi.stored())!.floor).toBe(last);
  });

  it('survives a power cut', async () => {
    await pi.boot(TODAY);
    await pi.clock.advance(SAVE_EVERY_MS);
    await pi.powerCut();
    await pi.boot(TODAY);
    expect(pi.time.state).toBe('unknown');
  });

  it('goes through its bytes; what cannot be read is none', () => {
    const value = { floor: TODAY, bootId: 'b', uptime: 12, spans: [{ from: 1, to: 2, by: 3, bootId: 'a' }] };
    const bytes = encodeFloor(value);
    expect(decodeFloor(bytes)).toEqual(value);
    expect(decodeFloor(bytes.subarray(0, 5))).toBeNull();
    expect(decodeFloor(new Uint8Array())).toBeNull();
    expect(decodeFloor(Uint8Array.of(0x84, 0x02, 0x01, 0x61, 0x62, 0x01))).toBeNull();
    expect(decodeFloor(Uint8Array.of(0x84, 0x01, 0xf6, 0x61, 0x62, 0x01))).toBeNull();
  });
});
