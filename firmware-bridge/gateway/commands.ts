/**
 * Commands that wait for their device. A device may sleep for days, so they are in a file, synced before the broker hears that they
 * arrived; a command leaves it when its result was published. Bounded per device and in all: of too many the newest stay.
 */
import { readFileSync } from 'node:fs';
import type { Clock } from './clock.ts';
import { MAX_BODY } from './frames.ts';
import { writeSynced } from './state-file.ts';

export type Outcome = number | string;

export type Command = {
  readonly device: string;
  /** The number it has on the line; a device that sees it again repeats its result and does nothing. */
  readonly id: number;
  /** What its result is called. */
  readonly name: string;
  readonly payload: Buffer;
  /** UTC in ms; undefined: waits for ever. */
  readonly expiresAt?: number | undefined;
  /** Done, or given up; waits to be published. */
  outcome?: Outcome | undefined;
  tries: number;
};

export type Arrived = {
  readonly name: string;
  readonly payload: Buffer;
  readonly expiresAt?: number | undefined;
  /** The broker may have sent it before: MQTT's DUP. */
  readonly isRepeat: boolean;
  readonly position?: Position | undefined;
};

/** A record of the log by which a redelivered command is recognised (docs/mqtt.md, `headwater-position`). */
export type Position = { readonly partition: string; readonly offset: number };

/** Open ones of one device, and of all devices; results that nobody took are bounded like the latter. */
export const MAX_COMMANDS = 16;
export const MAX_ALL = 1024;
/** What fits a frame. */
export const MAX_COMMAND_PAYLOAD = MAX_BODY - 5;

type Stored = {
  readonly version: 1;
  readonly last: number;
  readonly homes: readonly string[];
  readonly seen: Readonly<Record<string, number>>;
  readonly commands: readonly {
    readonly device: string;
    readonly id: number;
    readonly name: string;
    readonly payload: string;
    readonly expiresAt?: number | undefined;
    readonly outcome?: Outcome | undefined;
  }[];
};

export interface CommandsOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: (message: string, details?: object) => void;
  /** `done` is called once the result is stored, never if the connection is lost first. */
  readonly publishResult: (device: string, command: string, outcome: Outcome, done: () => void) => void;
}

export class Commands {
  readonly #options: CommandsOptions;
  /** In the order in which they came. */
  #commands: Command[] = [];
  /** Devices that said hello at this gateway: for others another one hears of the command. */
  readonly #homes = new Set<string>();
  /** The newest record of each partition that was taken. */
  readonly #seen = new Map<string, number>();
  #last: number;
  #isSaving = false;
  /** Called when what is in memory now is in the file. */
  #waiting: ((error: Error | null) => void)[] = [];

  constructor(options: CommandsOptions) {
    this.#options = options;
    this.#last = (options.clock.wall() >>> 0) % 0x7fffffff;
  }

  /** What the file holds; one that is torn or of a later version is reported and left behind. */
  load(): void {
    const { path, log } = this.#options;
    try {
      const stored = JSON.parse(readFileSync(path, 'utf8')) as Stored;
      if (stored.version !== 1) throw new Error(`version ${stored.version}, known is 1`);
      this.#commands = stored.commands.map((command) => ({
        ...command,
        payload: Buffer.from(command.payload, 'base64'),
        tries: 0,
      }));
      for (const id of stored.homes) this.#homes.add(id);
      for (const [partition, offset] of Object.entries(stored.seen)) this.#seen.set(partition, offset);
      this.#last = stored.last;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      log('waiting commands ignored', { file: path, reason: (error as Error).message });
    }
  }

  /** The device said hello here: from now on commands wait for it, also after a crash. */
  welcome(device: string): void {
    if (this.#homes.has(device)) return;
    this.#homes.add(device);
    this.#save(() => {});
  }

  isHome(device: string): boolean {
    return this.#homes.has(device);
  }

  /** Takes one in. `done` is called when it is in the file, or need not be: then the broker may forget it. */
  add(device: string, arrived: Arrived, done: (error: Error | null) => void): void {
    const { name, payload, expiresAt, isRepeat, position } = arrived;
    if (position !== undefined) {
      if (isRepeat && position.offset <= (this.#seen.get(position.partition) ?? -1)) {
        done(null);
        return;
      }
      this.#seen.set(position.partition, position.offset);
    }
    this.#last = (this.#last + 1) >>> 0;
    const command: Command = { device, id: this.#last, name, payload, expiresAt, tries: 0 };
    this.#commands.push(command);
    if (payload.length > MAX_COMMAND_PAYLOAD) this.finish(command, `longer than ${MAX_COMMAND_PAYLOAD} bytes`);
    this.#bound((other) => other.device === device, MAX_COMMANDS);
    this.#bound(() => true, MAX_ALL);
    this.#save(done);
  }

  /** The command that a device has to carry out next, undefined without one. Those that are too old are given up. */
  next(device: string): Command | undefined {
    const now = this.#options.clock.wall();
    for (const command of this.#commands) {
      if (command.device !== device || command.outcome !== undefined) continue;
      if (command.expiresAt === undefined || command.expiresAt > now) return command;
      this.finish(command, 'expired');
    }
    return undefined;
  }

  /** The device has answered, or never will. */
  finish(command: Command, outcome: Outcome): void {
    if (command.outcome !== undefined) return;
    command.outcome = outcome;
    const done = this.#commands.filter((other) => other.outcome !== undefined);
    if (done.length > MAX_ALL) this.#drop(done[0]!);
    this.#save(() => {});
    this.#publish(command);
  }

  /** The broker is there (again): it hears of the results that it has not stored. */
  resume(): void {
    for (const command of this.#commands) if (command.outcome !== undefined) this.#publish(command);
  }

  /** Resolves when everything is in the file, or could not be written. */
  written(): Promise<void> {
    return this.#isSaving ? new Promise((resolve) => this.#waiting.push(() => resolve())) : Promise.resolve();
  }

  /** Of too many the oldest go, but not one that the device may have begun. */
  #bound(belongs: (command: Command) => boolean, most: number): void {
    const open = this.#commands.filter((command) => command.outcome === undefined && belongs(command));
    for (let excess = open.length - most; excess > 0; excess--) {
      const at = open.findIndex(({ tries }) => tries === 0);
      const [oldest] = open.splice(Math.max(0, at), 1);
      this.finish(oldest!, `given up: more than ${most} commands are waiting`);
    }
  }

  #publish(command: Command): void {
    this.#options.publishResult(command.device, command.name, command.outcome!, () => {
      this.#drop(command);
      this.#save(() => {});
    });
  }

  #drop(command: Command): void {
    const at = this.#commands.indexOf(command);
    if (at >= 0) this.#commands.splice(at, 1);
  }

  /** One write at a time; what happens meanwhile is in the next. */
  #save(done: (error: Error | null) => void): void {
    this.#waiting.push(done);
    if (this.#isSaving) return;
    this.#isSaving = true;
    void this.#write();
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const waiting = this.#waiting;
      this.#waiting = [];
      const stored: Stored = {
        version: 1,
        last: this.#last,
        homes: [...this.#homes],
        seen: Object.fromEntries(this.#seen),
        commands: this.#commands.map(({ tries: _, payload, ...rest }) => ({
          ...rest,
          payload: payload.toString('base64'),
        })),
      };
      const error = await writeSynced(this.#options.path, JSON.stringify(stored)).then(
        () => null,
        (reason: Error) => reason,
      );
      if (error !== null) this.#options.log('commands not written', { reason: error.message });
      for (const done of waiting) done(error);
    }
    this.#isSaving = false;
  }
}
