/** What the gateway knows of one device, whichever port it hangs on: what the log holds of it, and its clocks. */
import type { Clock } from './clock.ts';
import { ClockMap } from './clock-map.ts';
import type { Stamp } from './frames.ts';
import { Seen } from './seen.ts';
import type { DeviceState } from './state-file.ts';

/** A reading on its way: received from the device, not yet acknowledged to it. */
export type Pending = {
  readonly device: Device;
  readonly epoch: number;
  readonly sequence: number;
  readonly record: Buffer;
  /** UTC in ms; undefined when the device's boot was never seen running. */
  readonly time: number | undefined;
  state: 'waiting' | 'sent' | 'stored';
};

export class Device {
  readonly id: string;
  kind = '';
  seen: Seen;
  /** In order. They outlive the port: a device that comes back on another one finds them on their way. */
  pending: Pending[] = [];
  /** Set by the session that has the device: some of `pending` were stored, and with `again` some wait to be published. */
  onProgress: ((again: boolean) => void) | undefined;
  readonly #clock: Clock;
  /** The map of the boot that runs, and those of the boots before that readings may still come from. */
  readonly #boots = new Map<number, ClockMap>();
  #rate: number | undefined;
  /** When a HELLO came: good to a second or so, until the first PONG. */
  #greeting: { readonly stamp: Stamp; readonly at: number; readonly msPerTick: number } | undefined;

  constructor(id: string, seen: Seen, clock: Clock, rate?: number) {
    this.id = id;
    this.seen = seen;
    this.#clock = clock;
    this.#rate = rate;
  }

  /** Milliseconds per tick as measured, to begin with after a restart of the gateway. */
  get rate(): number | undefined {
    return this.#rate;
  }

  /** Another epoch is another life of the device's flash: its numbers begin again. */
  enterEpoch(epoch: number): Seen {
    if (this.seen.epoch !== epoch) {
      this.seen = new Seen(epoch);
      this.pending = [];
      this.#boots.clear();
      this.#greeting = undefined;
    }
    return this.seen;
  }

  /** The broker's log was read again: what was on its way when the connection broke is there, or has to be sent again. */
  resume(): void {
    for (const entry of this.pending) {
      if (entry.state === 'sent') entry.state = this.seen.has(entry.sequence) ? 'stored' : 'waiting';
    }
    this.onProgress?.(true);
  }

  greet(stamp: Stamp, ticksPerSecond: number): void {
    this.#greeting = { stamp, at: this.#clock.monotonic(), msPerTick: 1000 / ticksPerSecond };
  }

  /** The device counted `stamp` at `at` of our monotonic clock, give or take half of `roundTrip` ms. */
  observe(stamp: Stamp, at: number, roundTrip: number, ticksPerSecond: number): void {
    let map = this.#boots.get(stamp.boot);
    if (map === undefined) {
      map = new ClockMap(1000 / ticksPerSecond, this.#rate);
      this.#boots.set(stamp.boot, map);
      if (this.#boots.size > 4) this.#boots.delete(this.#boots.keys().next().value!);
    }
    map.add({ ticks: stamp.ticks, at, roundTrip });
    this.#rate = map.rate;
  }

  /** UTC in ms of a stamp; undefined when its boot was never seen running. */
  timeOf(stamp: Stamp): number | undefined {
    let at = this.#boots.get(stamp.boot)?.at(stamp.ticks);
    const greeting = this.#greeting;
    if (at === undefined && greeting?.stamp.boot === stamp.boot) {
      at = greeting.at + (stamp.ticks - greeting.stamp.ticks) * (this.#rate ?? greeting.msPerTick);
    }
    return at === undefined ? undefined : Math.round(at + this.#clock.wall() - this.#clock.monotonic());
  }
}

/** All devices, at most `limit` of them. */
export class Devices {
  readonly #devices = new Map<string, Device>();
  readonly #clock: Clock;
  readonly #limit: number;

  constructor(clock: Clock, limit = 4096) {
    this.#clock = clock;
    this.#limit = limit;
  }

  [Symbol.iterator](): IterableIterator<Device> {
    return this.#devices.values();
  }

  /** The device of that name, if it is known. */
  find(id: string): Device | undefined {
    return this.#devices.get(id);
  }

  /** The device of that name, in that epoch. */
  get(id: string, epoch: number): Device {
    let device = this.#devices.get(id);
    if (device === undefined) {
      if (this.#devices.size >= this.#limit) throw new Error(`more than ${this.#limit} devices: raise devices.max`);
      device = new Device(id, new Seen(epoch), this.#clock);
      this.#devices.set(id, device);
    }
    device.enterEpoch(epoch);
    return device;
  }

  /** What a state file remembers. */
  restore(id: string, { epoch, floor, above, msPerTick }: DeviceState): void {
    this.#devices.set(id, new Device(id, new Seen(epoch, floor, above), this.#clock, msPerTick));
  }

  /** What a state file has to remember. */
  state(): Record<string, DeviceState> {
    const state: Record<string, DeviceState> = {};
    for (const { id, seen, rate } of this.#devices.values()) {
      const { epoch, floor, above } = seen;
      state[id] = {
        epoch,
        floor,
        ...(above.length > 0 && { above }),
        ...(rate !== undefined && { msPerTick: rate }),
      };
    }
    return state;
  }

  /** The log holds this reading, says the log itself. Of two epochs the one that was read later is the current one. */
  found(id: string, epoch: number, sequence: number): void {
    if (this.#devices.size >= this.#limit && !this.#devices.has(id)) return;
    this.get(id, epoch).seen.add(sequence);
  }
}
