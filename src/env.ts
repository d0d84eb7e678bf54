/**
 * The outside world: clock, randomness and network, as values that are handed to constructors. This is the only module
 * that may call Date.now, performance.now, setTimeout, Math.random or node:net; tests and the simulator hand in their own.
 */
import { randomBytes as nodeRandomBytes } from 'node:crypto';
import { createServer, connect as netConnect, type Server, type Socket } from 'node:net';

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall clock, milliseconds since 1970-01-01 UTC. It may step in either direction: never measure a duration with it. */
  now(): number;
  /** Monotonic, milliseconds since an arbitrary start, with fractions. Never steps; restarts with the process. */
  monotonic(): number;
  /** Runs `task` once after `ms` (0 to 2^31-1) unless cancelled. Timers never keep the process alive. */
  after(ms: number, task: () => void): Timer;
  /** Runs `task` every `ms` until cancelled. */
  every(ms: number, task: () => void): Timer;
  /** Runs `task` after the I/O that is ready now has been handled: the place to gather work of one turn into a batch. */
  soon(task: () => void): void;
}

export interface Random {
  /** Uniform in [0, 1). */
  unit(): number;
  /** `size` bytes from a cryptographic source. */
  bytes(size: number): Uint8Array;
}

export interface Net {
  /** An unbound server; the caller listens on it. */
  server(onConnection: (socket: Socket) => void): Server;
  connect(host: string, port: number): Socket;
}

export interface Env {
  readonly clock: Clock;
  readonly random: Random;
  readonly net: Net;
}

function timerOf(handle: NodeJS.Timeout, stop: (handle: NodeJS.Timeout) => void): Timer {
  handle.unref();
  return { cancel: () => stop(handle) };
}

const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (ms, task) => timerOf(setTimeout(task, ms), clearTimeout),
  every: (ms, task) => timerOf(setInterval(task, ms), clearInterval),
  soon: (task) => {
    setImmediate(task);
  },
};

const systemRandom: Random = {
  unit: () => Math.random(),
  bytes: (size) => new Uint8Array(nodeRandomBytes(size)),
};

const systemNet: Net = {
  server: (onConnection) =>
    createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 }, onConnection),
  connect: (host, port) => netConnect({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000 }),
};

/** The real machine. */
export const systemEnv: Env = { clock: systemClock, random: systemRandom, net: systemNet };

/** Promise form of `clock.after` for control flow off the hot path. */
export function delay(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve);
  });
}

/** A delay that keeps the process alive: for tools, which end when nothing is left to do. */
export function heldDelay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
