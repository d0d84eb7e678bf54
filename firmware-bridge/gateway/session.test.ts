import { describe, expect, it } from 'vitest';
import { Commands } from './commands.ts';
import type { Pending } from './device.ts';
import { Devices } from './device.ts';
import { FakeClock } from './fake-clock.ts';
import type { Frame, UpFrame } from './frames.ts';
import { encodeFrame, FrameReader } from './frames.ts';
import type { Sink } from './session.ts';
import { Session } from './session.ts';

/** A broker that answers when the test says so. */
class FakeSink implements Sink {
  isReady = true;
  readonly published: { sequence: number; done: (stored: boolean) => void; reading: Pending }[] = [];

  publish(reading: Pending, done: (stored: boolean) => void): void {
    this.published.push({ sequence: reading.sequence, done, reading });
  }
}

function setUp() {
  const clock = new FakeClock();
  const sink = new FakeSink();
  const devices = new Devices(clock);
  const sent: Frame[] = [];
  const results: string[] = [];
  const commands = new Commands({
    path: '/nonexistent/commands.json',
    clock,
    log: () => {},
    publishResult: (_device, command, outcome) => results.push(`${command}: ${outcome}`),
  });
  const make = (known = devices): Session =>
    new Session({
      clock,
      devices: known,
      sink,
      commands,
      window: 8,
      send: (bytes) => new FrameReader((frame) => sent.push(structuredClone(frame))).push(bytes),
      log: () => {},
      onDevice: () => {},
    });
  const session = make();
  const give = (frame: UpFrame, to = session): void => to.push(encodeFrame(frame));
  const hello = (change: Partial<UpFrame> = {}, to = session): void =>
    give(
      {
        type: 'hello',
        version: 1,
        epoch: 7,
        acked: 0,
        next: 100,
        now: { boot: 1, ticks: 5000 },
        ticksPerSecond: 1000,
        maxCommand: 64,
        id: 'dev-1',
        kind: '',
        ...change,
      } as UpFrame,
      to,
    );
  const data = (sequence: number, back = sequence === 1 ? 0 : 1, to = session): void =>
    give({ type: 'data', back, sequence, stamp: { boot: 1, ticks: 4000 }, record: Buffer.from([sequence]) }, to);
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const last = (type: Frame['type']): Frame | undefined => sent.filter((frame) => frame.type === type).at(-1);
  const command = (name: string, payload = Buffer.from(name), to = session): void => {
    commands.add('dev-1', { name, payload, isRepeat: false }, () => {});
    to.command();
  };
  return { clock, sink, command, results, devices, sent, session, make, give, hello, data, turn, last };
}

describe('Session', () => {
  it('acknowledges a reading when the broker has acknowledged it, not before', async () => {
    const { sink, hello, data, turn, last } = setUp();
    hello();
    expect(last('welcome')).toMatchObject({ last: 0, epoch: 7, window: 8 });
    data(1);
    data(2);
    await turn();
    expect(last('ack')).toBeUndefined();
    sink.published[1]!.done(true);
    await turn();
    expect(last('ack')).toBeUndefined(); // 1 is still open
    sink.published[0]!.done(true);
    await turn();
    expect(last('ack')).toMatchObject({ acked: 2, received: 2 });
  });

  it('publishes a reading once, however often it comes', async () => {
    const { sink, hello, data, turn, last } = setUp();
    hello();
    data(1);
    data(1);
    await turn();
    expect(last('ack')).toMatchObject({ acked: 0, received: 1 });
    sink.published[0]!.done(true);
    data(1);
    await turn();
    expect(sink.published.length).toBe(1);
    expect(last('ack')).toMatchObject({ acked: 1, received: 1 });
  });

  it('complains once of a gap, and again when the device has gone back and lost it again', () => {
    const { sent, hello, data } = setUp();
    hello();
    data(1);
    for (const sequence of [3, 4, 5]) data(sequence);
    const nacks = (): number => sent.filter((frame) => frame.type === 'nack').length;
    expect(nacks()).toBe(1);
    data(3);
    expect(nacks()).toBe(2);
    data(2);
    data(3);
    data(5);
    expect(nacks()).toBe(3);
  });

  it('takes a number that the device skipped for void', async () => {
    const { sink, hello, data, turn, last } = setUp();
    hello();
    data(1);
    data(4, 3);
    for (const { done } of sink.published) done(true);
    await turn();
    expect(last('ack')).toMatchObject({ acked: 4, received: 4 });
  });

  it('asks a device that it does not know who it is', () => {
    const { data, last, sink } = setUp();
    data(1);
    expect(last('who')).toBeDefined();
    expect(sink.published.length).toBe(0);
  });

  it('does not welcome before it knows what the log holds, and leaves out what the log holds', async () => {
    const { sink, devices, hello, data, turn, last } = setUp();
    sink.isReady = false;
    hello();
    expect(last('welcome')).toBeUndefined();
    for (const sequence of [1, 2, 4]) devices.found('dev-1', 7, sequence);
    sink.isReady = true;
    hello();
    expect(last('welcome')).toMatchObject({ last: 2 });
    data(3, 0);
    data(4);
    expect(sink.published.map(({ sequence }) => sequence)).toEqual([3]);
    sink.published[0]!.done(true);
    await turn();
    expect(last('ack')).toMatchObject({ acked: 4 });
  });

  it('after a lost connection sends again what the log does not hold, in order', async () => {
    const { sink, devices, hello, data, turn, last } = setUp();
    hello();
    for (const sequence of [1, 2, 3]) data(sequence);
    sink.published.length = 0; // the connection broke: no answers come
    devices.found('dev-1', 7, 1);
    devices.found('dev-1', 7, 2);
    for (const device of devices) device.resume();
    expect(sink.published.map(({ sequence }) => sequence)).toEqual([3]);
    await turn();
    expect(last('ack')).toMatchObject({ acked: 2 });
  });

  it('a device that moves to another port while its readings are on their way publishes none twice', async () => {
    const { sink, hello, data, session, make, turn, last } = setUp();
    hello();
    data(1);
    data(2);
    session.close();
    const second = make();
    hello({}, second);
    data(1, 0, second);
    data(2, 1, second);
    data(3, 1, second);
    expect(sink.published.map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
    for (const { done } of sink.published) done(true);
    await turn();
    expect(last('ack')).toMatchObject({ acked: 3 });
  });

  it('tries again what the broker refused', async () => {
    const { clock, sink, hello, data, turn, last } = setUp();
    hello();
    data(1);
    sink.published[0]!.done(false);
    clock.advance(1500);
    expect(sink.published.length).toBe(2);
    sink.published[1]!.done(true);
    await turn();
    expect(last('ack')).toMatchObject({ acked: 1 });
  });

  it('what the log holds behind a void number is known after a checkpoint and a restart, too', () => {
    const { clock, devices, sink, hello, data, make } = setUp();
    for (const sequence of [1, 2, 4, 5]) devices.found('dev-1', 7, sequence); // 3 was torn; the device has not said so yet
    const restarted = new Devices(clock);
    for (const [id, state] of Object.entries(JSON.parse(JSON.stringify(devices.state())))) {
      restarted.restore(id, state as never);
    }
    const session = make(restarted);
    hello({ acked: 2 }, session);
    data(4, 0, session);
    data(5, 1, session);
    data(6, 1, session);
    expect(sink.published.map(({ sequence }) => sequence)).toEqual([6]);
  });

  it('a new epoch begins at its own first number', () => {
    const { sink, hello, data } = setUp();
    hello();
    data(1);
    hello({ epoch: 8 } as never);
    data(1);
    expect(sink.published.map(({ reading }) => reading.epoch)).toEqual([7, 8]);
  });

  it('gives readings the time of their ticks', () => {
    const { clock, sink, give, hello, data, sent } = setUp();
    hello();
    const ping = sent.find((frame) => frame.type === 'ping')!;
    clock.advance(20);
    give({ type: 'pong', token: (ping as { token: number }).token, now: { boot: 1, ticks: 5000 } });
    data(1); // at tick 4000
    expect(sink.published[0]!.reading.time).toBe(1_700_001_000_000 + 10 - 1000);
  });

  it('commands go down one by one, again until they are answered, and their results come up', () => {
    const { clock, results, sent, command, give, hello, data } = setUp();
    hello();
    command('on');
    command('off');
    clock.advance(1100);
    const commands = sent.filter((frame) => frame.type === 'command');
    expect(commands.length).toBe(2);
    expect(commands[0]).toEqual(commands[1]);
    give({ type: 'result', id: commands[0]!.id, status: 0 });
    expect(results).toEqual(['on: 0']);
    data(1); // it is awake, and does not answer
    clock.advance(60_000);
    expect(results).toEqual(['on: 0', 'off: no answer']);
    command('long', Buffer.alloc(65));
    expect(results.at(-1)).toContain('64 bytes');
  });

  it('a command for a device that is not there is carried out when it comes', () => {
    const { results, sent, command, give, hello } = setUp();
    command('on');
    hello();
    const down = sent.filter((frame) => frame.type === 'command');
    expect(down.map(({ payload }) => String(Buffer.from(payload)))).toEqual(['on']);
    give({ type: 'result', id: down[0]!.id, status: 3 });
    expect(results).toEqual(['on: 3']);
  });

  it('a command outlives the port it was begun on, and keeps its number', () => {
    const { results, sent, session, make, command, give, hello } = setUp();
    hello();
    command('on');
    session.close();
    const other = make();
    hello({}, other);
    const down = sent.filter((frame) => frame.type === 'command');
    expect(down.length).toBe(2);
    expect(down[0]).toEqual(down[1]);
    give({ type: 'result', id: down[1]!.id, status: 0 }, other);
    expect(results).toEqual(['on: 0']);
  });

  it('a device that fell asleep on the line gets its command when it is heard again', () => {
    const { clock, results, sent, command, data, hello } = setUp();
    hello();
    command('on');
    clock.advance(60_000);
    expect(results).toEqual([]);
    const before = sent.filter((frame) => frame.type === 'command').length;
    clock.advance(60_000);
    expect(sent.filter((frame) => frame.type === 'command').length).toBe(before);
    data(1);
    expect(sent.filter((frame) => frame.type === 'command').length).toBe(before + 1);
  });

  it('refuses a version that it does not speak', () => {
    const { hello, last, sink } = setUp();
    hello({ version: 9 } as never);
    expect(last('welcome')).toMatchObject({ version: 0 });
    expect(sink.published.length).toBe(0);
  });
});
