import { getEventListeners } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { encode } from 'cbor-x';
import { describe, expect, it } from 'vitest';
import { reasonOf } from '../../src/cli/command.ts';
import { formatRecord, nextOffsets } from '../../src/cli/consume.ts';
import { decoderOf } from '../../src/cli/decode.ts';
import { lineBatches } from '../../src/cli/lines.ts';
import { linksTable } from '../../src/cli/links.ts';
import { parseTime } from '../../src/cli/parse-time.ts';
import { journalLine, readableLine } from '../../src/cli/process-logger.ts';
import { chunksOf, splitLine } from '../../src/cli/produce.ts';
import { reloadRefused } from '../../src/cli/serve.ts';
import { bytes, duration, table, time, visible } from '../../src/cli/table.ts';
import { ConfigError } from '../../src/config/config.ts';
import { Presenter } from '../../src/http/present.ts';
import { silentLogger } from '../../src/logger.ts';

describe('tables for people', () => {
  it('set numbers right and cut no cell', () => {
    const text = table(
      [
        { head: 'NAME', of: (row: { name: string; n: number | null }) => row.name },
        { head: 'N', of: ({ n }) => n, right: true },
      ],
      [
        { name: 'a', n: 1 },
        { name: 'long name', n: null },
        { name: 'b', n: 1234 },
      ],
    );
    expect(text).toBe('NAME          N\na             1\nlong name     -\nb          1234\n');
  });

  it('show sizes and times in two figures or so', () => {
    expect([0, 1_023, 1_536, 10 * 1024 ** 2, 3 * 1024 ** 3].map(bytes)).toEqual([
      '0 B',
      '1023 B',
      '1.5 KiB',
      '10 MiB',
      '3.0 GiB',
    ]);
    expect([0, 850, 65_000, 3_600_000, 100_000_000].map(duration)).toEqual(['0.0s', '0.8s', '1m 5s', '1h', '1d 3h']);
    expect([bytes(null), duration(null), time(-1)]).toEqual(['-', '-', '-']);
  });

  it('let no record drive the terminal', () => {
    expect(visible('a\x1b[31mb\x07\u009b')).toBe('a\\x1b[31mb\\x07\\x9b');
  });

  it('show the state of links', () => {
    const text = linksTable([
      {
        name: 'cloud',
        type: 'kafka',
        state: 'draining',
        target: 'k:9092',
        backlogRecords: 1_500,
        backlogBytes: 2 * 1024 ** 2,
        oldestUnsentAgeMs: 65_000,
        recordsPerSecond: 100,
        bytesPerSecond: null,
        etaMs: 15_000,
        lostRecords: 0,
        lastError: null,
      },
    ]);
    expect(text.split('\n')[1]).toBe(
      'cloud  kafka  draining     1500  2.0 MiB   1m 5s      100.0  15s        -     0  -',
    );
  });
});

describe('lines of standard input', () => {
  async function read(...chunks: (string | Buffer)[]): Promise<string[][]> {
    const batches: string[][] = [];
    for await (const batch of lineBatches(Readable.from(chunks.map((chunk) => Buffer.from(chunk as string)))))
      batches.push(batch.map(String));
    return batches;
  }

  it('come as they arrive, whole, whatever the chunks', async () => {
    expect(await read('a\nb\nc', 'd\r\n', 'e')).toEqual([['a', 'b'], ['cd'], ['e']]);
    expect(await read('\n\n')).toEqual([['', '']]);
    const word = Buffer.from('grün\n');
    expect(await read(word.subarray(0, 3), word.subarray(3))).toEqual([['grün']]);
  });

  it('are the bytes they were, also when these are no text', async () => {
    const batches: Buffer[][] = [];
    for await (const batch of lineBatches(Readable.from([Buffer.from([0xff, 0x00, 0x0a, 0xfe])]))) batches.push(batch);
    expect(batches).toEqual([[Buffer.from([0xff, 0x00])], [Buffer.from([0xfe])]]);
  });

  it('end with Ctrl-C, also while nothing is typed', async () => {
    const stopping = new AbortController();
    const stdin = new PassThrough();
    stdin.write('one\nbeg');
    const batches: string[][] = [];
    for await (const batch of lineBatches(stdin, stopping.signal)) {
      batches.push(batch.map(String));
      setImmediate(() => stopping.abort());
    }
    expect(batches).toEqual([['one']]);
  });

  it('are not read at all when Ctrl-C came before', async () => {
    const batches: Buffer[][] = [];
    for await (const batch of lineBatches(Readable.from([Buffer.from('one\n')]), AbortSignal.abort())) {
      batches.push(batch);
    }
    expect(batches).toEqual([]);
  });

  it('give out what came before the input failed, then its error', async () => {
    const stdin = new PassThrough();
    stdin.write('one\ntwo');
    const batches: string[][] = [];
    const reading = (async () => {
      for await (const batch of lineBatches(stdin, new AbortController().signal)) {
        batches.push(batch.map(String));
        stdin.destroy(new Error('the pipe broke'));
      }
    })();
    await expect(reading).rejects.toThrow('the pipe broke');
    expect(batches).toEqual([['one']]);
  });

  it('leave nothing behind in memory, however many chunks came', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const stopping = new AbortController();
    const seen: WeakRef<Buffer>[] = [];
    let alive = Number.POSITIVE_INFINITY;
    async function* chunks(): AsyncGenerator<Buffer> {
      for (let n = 0; n < 200; n++) {
        const chunk = Buffer.from(`${n}\n`);
        seen.push(new WeakRef(chunk));
        yield chunk;
      }
      // A weak reference that was just made holds its object until the turn is over.
      await new Promise((resolve) => setImmediate(resolve));
      collect();
      alive = seen.filter((chunk) => chunk.deref() !== undefined).length;
    }
    let count = 0;
    for await (const batch of lineBatches(Readable.from(chunks()), stopping.signal)) {
      count += batch.length;
      expect(getEventListeners(stopping.signal, 'abort').length).toBeLessThanOrEqual(1);
    }
    expect(count).toBe(200);
    expect(alive).toBeLessThan(20);
    expect(getEventListeners(stopping.signal, 'abort')).toEqual([]);
  });

  it('are bounded', async () => {
    await expect(read('x'.repeat(5 * 1024 ** 2))).rejects.toMatchObject({ code: 'BATCH_TOO_LARGE' });
  });

  it('split into key and value at the first separator', () => {
    expect(splitLine(Buffer.from('k=v=w'), '=', null, 1)).toEqual({ key: Buffer.from('k'), value: Buffer.from('v=w') });
    expect(splitLine(Buffer.from('v'), undefined, Buffer.from('k'), 1)).toEqual({
      key: Buffer.from('k'),
      value: Buffer.from('v'),
    });
    expect(() => splitLine(Buffer.from('v'), '::', null, 7)).toThrow('line 7: there is no "::" between key and value');
  });

  it('go out in requests below the limit, a larger line alone', () => {
    const line = (size: number) => ({ key: null, value: Buffer.alloc(size) });
    expect([...chunksOf([line(10), line(10), line(500), line(10)], 100)].map((chunk) => chunk.length)).toEqual([
      2, 1, 1,
    ]);
  });
});

describe('consume', () => {
  const record = {
    topic: 't',
    partition: 1,
    offset: 7,
    timestamp: 0,
    key: Buffer.from('k'),
    value: Buffer.from([0x61, 0xff, 0x62]),
    headers: [{ key: 'h', value: Buffer.from('x\n') }],
  };

  it('passes bytes on as they are', async () => {
    const format = { decode: await decoderOf('text'), text: true, verbose: false, json: false };
    expect([...formatRecord(record, format, false)]).toEqual([0x61, 0xff, 0x62, 0x0a]);
    expect(formatRecord({ ...record, value: null }, format, false).toString()).toBe('\n');
  });

  it('shows everything in a line with --verbose, and as an object with --json', async () => {
    const hex = await decoderOf('hex');
    expect(formatRecord(record, { decode: hex, text: false, verbose: true, json: false }, true).toString()).toBe(
      't 1 7 1970-01-01T00:00:00.000Z k 61ff62 h=x\\x0a\n',
    );
    expect(
      JSON.parse(formatRecord(record, { decode: hex, text: false, verbose: false, json: true }, true).toString()),
    ).toEqual({
      topic: 't',
      partition: 1,
      offset: 7,
      timestamp: 0,
      key: 'k',
      value: '61ff62',
      headers: [{ key: 'h', value: 'x\n' }],
    });
  });

  it('shows the units that a record names for its fields; with --json numbers stay numbers', async () => {
    const reading = {
      ...record,
      value: encode({ time: 5, temperature: -21.5 }),
      headers: [{ key: 'units', value: Buffer.from('temperature=Cel') }],
    };
    const cbor = { decode: await decoderOf('cbor'), text: false, verbose: false, json: false };
    expect(formatRecord(reading, cbor, true).toString()).toBe('{"time":5,"temperature":"-21.5 °C"}\n');
    expect(JSON.parse(formatRecord(reading, { ...cbor, json: true }, false).toString())).toMatchObject({
      value: { time: 5, temperature: -21.5 },
      units: { temperature: '°C' },
    });
  });

  it('decodes CBOR and JSON, and says so when a value is neither', async () => {
    const cbor = await decoderOf('cbor');
    expect(
      cbor(
        encode({ t: 21.5, big: 2n ** 60n, raw: Buffer.from([1, 2]), at: new Date(0), list: [undefined, Number.NaN] }),
      ),
    ).toEqual({
      t: 21.5,
      big: '1152921504606846976',
      raw: '0102',
      at: '1970-01-01T00:00:00.000Z',
      list: [null, 'NaN'],
    });
    expect(cbor(Buffer.from([0x82, 1]))).toBe('(not CBOR) 8201');
    expect((await decoderOf('json'))(Buffer.from('{"a'))).toBe('(not JSON) {"a');
  });

  it('commits the first record it did not print, and partitions that gave nothing yet', () => {
    const positions = [
      { topic: 't', partition: 0, offset: 10 },
      { topic: 't', partition: 1, offset: 20 },
      { topic: 't', partition: 2, offset: 0 },
    ];
    const unprinted = [
      { topic: 't', partition: 1, offset: 18 },
      { topic: 't', partition: 1, offset: 19 },
    ];
    expect(nextOffsets(positions, unprinted).map(({ offset }) => offset)).toEqual([10, 18, 0]);
  });

  it('takes times in three forms', () => {
    expect(parseTime('1000', 5)).toBe(1_000);
    expect(parseTime('-2h', 10_000_000)).toBe(2_800_000);
    expect(parseTime('2026-01-31T12:00:00Z')).toBe(Date.UTC(2026, 0, 31, 12));
    expect(() => parseTime('yesterday')).toThrow('"yesterday" is not a time');
  });
});

describe('a value on the page', () => {
  it('is shown as what it is', async () => {
    const presenter = new Presenter();
    expect(await presenter.present(null)).toEqual({ format: 'null', value: null });
    expect(await presenter.present(Buffer.from('{"a":1}'))).toEqual({ format: 'json', value: { a: 1 } });
    expect(await presenter.present(Buffer.from('hello'))).toEqual({ format: 'text', value: 'hello' });
    expect(await presenter.present(encode({ a: 1 }))).toEqual({ format: 'cbor', value: { a: 1 } });
    expect(await presenter.present(Buffer.from([0xff, 0xfe]))).toEqual({ format: 'base64', value: '//4=' });
    expect(await presenter.present(new Uint8Array(100_000))).toMatchObject({ format: 'base64' });
    const deep = Buffer.concat([Buffer.alloc(500, 0x81), Buffer.from([0xff, 0x01])]);
    expect(await presenter.present(deep)).toMatchObject({ format: 'base64' });
  });
});

describe('the process log', () => {
  const line = '{"level":40,"time":"2026-01-31T12:00:00.123Z","port":1883,"msg":"a\\u001bb"}\n';

  it('is readable on a terminal and has a priority for journald', () => {
    expect(readableLine(line)).toBe('12:00:00.123 warn  a\\x1bb port=1883\n');
    expect(journalLine(line)).toBe(`<4>${line}`);
  });
});

describe('a reload that is refused', () => {
  it("tells mistakes line by line, and shows a stack only for what is nobody's mistake", () => {
    const told: [object, string][] = [];
    const logger = { ...silentLogger, error: (fields: object, text: string) => void told.push([fields, text]) };
    const problem = (line: number) => ({ path: 'flush.ms', line, source: 'f', message: 'is wrong' });
    reloadRefused(new ConfigError([problem(1), problem(2)]), logger);
    const bug = new TypeError('x');
    reloadRefused(bug, logger);
    const text = 'reload refused, everything stays as it was';
    expect(told).toEqual([
      [{}, `${text}: f:1: flush.ms: is wrong`],
      [{}, `${text}: f:2: flush.ms: is wrong`],
      [{ err: bug }, text],
    ]);
  });
});

describe('a reason', () => {
  it('is one line that says what to do', () => {
    const error = (fields: object) => Object.assign(new Error('x'), fields);
    expect(reasonOf(error({ code: 'ECONNREFUSED', address: '127.0.0.1', port: 9092 }))).toBe(
      'nothing listens on 127.0.0.1:9092; is the broker running?',
    );
    expect(reasonOf(error({ code: 'EADDRINUSE', address: '127.0.0.1', port: 1883 }))).toBe(
      '127.0.0.1:1883 is taken by another process; stop it, or listen elsewhere',
    );
    expect(reasonOf(new AggregateError([error({ code: 'ECONNREFUSED', address: '::1', port: 1 })]))).toContain('::1:1');
  });
});
