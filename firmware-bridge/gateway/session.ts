/**
 * One device on one port: its frames in, acknowledgements and commands out. A reading is acknowledged to the device when the
 * broker has acknowledged its publish, not before; until then the device keeps it in flash.
 */
import type { Clock } from './clock.ts';
import type { Command, Commands } from './commands.ts';
import type { Device, Devices, Pending } from './device.ts';
import type { Data, DownFrame, Frame, Hello, Pong, Result } from './frames.ts';
import { encodeFrame, FrameReader, PROTOCOL_VERSION } from './frames.ts';

/** Where readings go. */
export interface Sink {
  /** Whether what the log holds is known, so that a device may be welcomed and readings may be published. */
  readonly isReady: boolean;
  /** Calls `done` with true once the log holds the reading, with false when it was refused and may be tried again. After the
   *  connection was lost `done` is never called; `resume` of every device is, once the sink is ready again. */
  publish(reading: Pending, done: (stored: boolean) => void): void;
}

export interface SessionOptions {
  readonly clock: Clock;
  readonly devices: Devices;
  readonly sink: Sink;
  readonly commands: Commands;
  /** How many sequence numbers a device may run ahead of its acknowledgements, 1..255. */
  readonly window: number;
  readonly send: (bytes: Buffer) => void;
  readonly log: (message: string, details?: object) => void;
  /** A device said hello here: it is on no other port any more. */
  readonly onDevice: (session: Session, device: Device) => void;
}

const PING_MS = 10_000;
/** A fresh session asks more often: the first good pair of clocks is wanted soon. */
const FIRST_PINGS_MS = 500;
const FIRST_PINGS = 4;
const COMMAND_RETRY_MS = 1000;
const COMMAND_TRIES = 10;
const REFUSED_RETRY_MS = 1000;

export class Session {
  readonly counters = { readings: 0, duplicates: 0, nacks: 0, badFrames: 0 };
  readonly #options: SessionOptions;
  readonly #reader: FrameReader;
  #device: Device | undefined;
  #hello: Hello | undefined;
  #received = 0;
  #acked = 0;
  /** The gap that was complained of, and the furthest frame seen behind it. */
  #nacked: { received: number; top: number } | undefined;
  #isAckDue = false;
  #isClosed = false;
  #ping: { token: number; at: number } | undefined;
  #pings = 0;
  #cancelPing: (() => void) | undefined;
  /** On the line, waiting for its result. */
  #command: Command | undefined;
  #cancelCommand: (() => void) | undefined;
  /** silent: nothing was heard since the command was sent first; resting: it is not sent until something is heard. */
  #line: 'heard' | 'silent' | 'resting' = 'heard';

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#reader = new FrameReader(
      (frame) => this.#onFrame(frame),
      () => this.#onBad(),
    );
  }

  get device(): Device | undefined {
    return this.#device;
  }

  /** Bytes from the line. */
  push(bytes: Uint8Array): void {
    this.#reader.push(bytes);
  }

  /** The port is gone, or the device is on another one. */
  close(): void {
    this.#isClosed = true;
    this.#cancelPing?.();
    this.detach();
  }

  /** The device said hello on another port. */
  detach(): void {
    if (this.#device?.onProgress === this.#onProgress) this.#device.onProgress = undefined;
    this.#cancelPing?.();
    this.#cancelCommand?.();
    this.#command = undefined;
    this.#device = undefined;
    this.#hello = undefined;
  }

  /** A command for this device waits. */
  command(): void {
    if (this.#command === undefined) this.#nextCommand();
  }

  readonly #onProgress = (again: boolean): void => {
    this.#advance();
    if (again) this.#pump();
  };

  #send(frame: DownFrame): void {
    this.#options.send(encodeFrame(frame));
  }

  #onFrame(frame: Frame): void {
    const wasResting = this.#line === 'resting';
    this.#line = 'heard';
    if (wasResting) this.#nextCommand();
    switch (frame.type) {
      case 'hello':
        this.#onHello(frame);
        break;
      case 'data':
        this.#onData(frame);
        break;
      case 'pong':
        this.#onPong(frame);
        break;
      case 'result':
        this.#onResult(frame);
        break;
      default: // our own direction: an echo on the line
    }
  }

  #onHello(hello: Hello): void {
    const { clock, devices, sink, window, log } = this.#options;
    if (!sink.isReady) return; // the device asks again
    if (hello.version !== PROTOCOL_VERSION) {
      log('a device speaks a version of the protocol that is not known here', { id: hello.id, version: hello.version });
      this.#send({ type: 'welcome', version: 0, epoch: hello.epoch, last: 0, window: 0, time: 0 });
      return;
    }
    const device = devices.get(hello.id, hello.epoch);
    device.kind = hello.kind;
    device.seen.settle(hello.acked);
    const isNew = this.#hello === undefined || this.#device !== device || this.#hello.now.boot !== hello.now.boot;
    this.#device = device;
    this.#hello = hello;
    this.#nacked = undefined;
    if (isNew) {
      log('device', { id: hello.id, epoch: hello.epoch, kind: hello.kind, boot: hello.now.boot });
      this.#options.onDevice(this, device);
    }
    device.onProgress = this.#onProgress;
    device.greet(hello.now, hello.ticksPerSecond);
    // What is on its way to the broker stays so: the device sends it again, and is told that it was received already.
    this.#acked = device.seen.floor;
    device.pending = device.pending.filter((entry) => entry.sequence > this.#acked);
    this.#received = Math.max(this.#acked, device.pending.at(-1)?.sequence ?? 0);
    this.#send({
      type: 'welcome',
      version: PROTOCOL_VERSION,
      epoch: hello.epoch,
      last: this.#acked,
      window,
      time: Math.round(clock.wall()),
    });
    this.#pings = 0;
    this.#sendPing();
    this.#options.commands.welcome(device.id);
    if (this.#command === undefined) this.#nextCommand();
    else this.#sendCommand();
    this.#onProgress(true);
  }

  #onData(data: Data): void {
    const device = this.#device;
    if (device === undefined) {
      this.#send({ type: 'who', version: PROTOCOL_VERSION });
      return;
    }
    if (data.sequence <= this.#received) {
      this.counters.duplicates++;
      this.#ackSoon();
      return;
    }
    if (data.back !== 0 && data.sequence - data.back > this.#received) {
      this.#onGap(data.sequence);
      return;
    }
    this.#nacked = undefined;
    this.#received = data.sequence;
    this.counters.readings++;
    const stored = device.seen.has(data.sequence);
    const entry: Pending = {
      device,
      epoch: device.seen.epoch,
      sequence: data.sequence,
      record: stored ? Buffer.alloc(0) : Buffer.from(data.record),
      time: device.timeOf(data.stamp),
      state: stored ? 'stored' : 'waiting',
    };
    device.pending.push(entry);
    if (stored) this.#advance();
    else if (this.#options.sink.isReady) this.#publish(entry);
  }

  /** A frame was lost before this one. One complaint a gap, and one more whenever the device went back and lost it again. */
  #onGap(sequence: number): void {
    const nacked = this.#nacked;
    if (nacked !== undefined && nacked.received === this.#received && sequence > nacked.top) {
      nacked.top = sequence;
      return;
    }
    this.#nacked = { received: this.#received, top: sequence };
    this.#sendAck('nack');
  }

  /** Noise ate a frame, most likely the next reading. */
  #onBad(): void {
    this.counters.badFrames++;
    if (this.#device === undefined || this.#nacked !== undefined) return;
    this.#nacked = { received: this.#received, top: this.#received };
    this.#sendAck('nack');
  }

  #pump(): void {
    const { sink } = this.#options;
    if (!sink.isReady) return;
    for (const entry of this.#device?.pending ?? []) {
      if (entry.state === 'waiting') this.#publish(entry);
    }
  }

  #publish(entry: Pending): void {
    entry.state = 'sent';
    this.#options.sink.publish(entry, (stored) => this.#onPublished(entry, stored));
  }

  #onPublished(entry: Pending, stored: boolean): void {
    const { device } = entry;
    if (device.seen.epoch !== entry.epoch) return;
    if (stored) {
      device.seen.add(entry.sequence);
      entry.state = 'stored';
      device.onProgress?.(false);
      return;
    }
    this.#options.clock.after(REFUSED_RETRY_MS, () => {
      if (entry.state !== 'sent') return;
      entry.state = 'waiting';
      device.onProgress?.(true);
    });
  }

  /** Moves the acknowledgement over everything at the front that the log holds. */
  #advance(): void {
    const device = this.#device;
    if (device === undefined) return;
    let count = 0;
    while (device.pending[count]?.state === 'stored') count++;
    const last = device.pending[count - 1];
    if (last === undefined) return;
    device.pending.splice(0, count);
    this.#acked = last.sequence;
    device.seen.settle(last.sequence);
    this.#ackSoon();
  }

  /** One ACK for all that happens in this turn of the event loop. */
  #ackSoon(): void {
    if (this.#isAckDue) return;
    this.#isAckDue = true;
    setImmediate(() => {
      this.#isAckDue = false;
      if (!this.#isClosed) this.#sendAck('ack');
    });
  }

  #sendAck(type: 'ack' | 'nack'): void {
    if (this.#device === undefined) return;
    if (type === 'nack') this.counters.nacks++;
    const { window } = this.#options;
    const epoch = this.#device.seen.epoch;
    this.#send({ type, epoch, acked: this.#acked, received: this.#received, window });
  }

  #sendPing(): void {
    const { clock } = this.#options;
    this.#cancelPing?.();
    const token = ((this.#ping?.token ?? 0) + 1) >>> 0;
    this.#ping = { token, at: clock.monotonic() };
    this.#send({ type: 'ping', token });
    this.#cancelPing = clock.after(this.#pings++ < FIRST_PINGS ? FIRST_PINGS_MS : PING_MS, () => this.#sendPing());
  }

  #onPong(pong: Pong): void {
    const ping = this.#ping;
    if (ping === undefined || ping.token !== pong.token || this.#device === undefined) return;
    const roundTrip = this.#options.clock.monotonic() - ping.at;
    this.#device.observe(pong.now, ping.at + roundTrip / 2, roundTrip, this.#hello!.ticksPerSecond);
  }

  #nextCommand(): void {
    this.#cancelCommand?.();
    const device = this.#device;
    const hello = this.#hello;
    if (device === undefined || hello === undefined) return;
    const { commands } = this.#options;
    this.#command = commands.next(device.id);
    while (this.#command !== undefined && this.#command.payload.length > hello.maxCommand) {
      commands.finish(this.#command, `longer than the ${hello.maxCommand} bytes that this device takes`);
      this.#command = commands.next(device.id);
    }
    if (this.#command === undefined) return;
    this.#command.tries = 0;
    this.#line = 'silent';
    this.#sendCommand();
  }

  #sendCommand(): void {
    const command = this.#command;
    this.#cancelCommand?.();
    if (command === undefined) return;
    if (command.tries++ >= COMMAND_TRIES) {
      // One that sleeps gets it when it wakes; one that is awake does not want it.
      if (this.#line === 'silent') this.#line = 'resting';
      else this.#finishCommand(command, 'no answer');
      return;
    }
    this.#send({ type: 'command', id: command.id, payload: command.payload });
    this.#cancelCommand = this.#options.clock.after(COMMAND_RETRY_MS, () => this.#sendCommand());
  }

  #onResult(result: Result): void {
    const command = this.#command;
    if (command !== undefined && command.id === result.id) this.#finishCommand(command, result.status);
  }

  #finishCommand(command: Command, status: number | string): void {
    this.#options.commands.finish(command, status);
    this.#nextCommand();
  }
}
