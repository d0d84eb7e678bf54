/** `headwater produce`. */
import { Producer } from '../client/producer.ts';
import { type Command, EXIT, integerOption, pairOption, parse, UsageError } from './command.ts';
import { CONNECTION_OPTIONS, CONNECTION_USAGE, withCluster } from './connection.ts';
import { lineBatches } from './lines.ts';
import { json } from './table.ts';

export const usage = `Usage: headwater produce TOPIC [VALUE...] [OPTIONS]

Writes each VALUE, or each line of standard input, as one record; ends when the broker has acknowledged all of them.

  --key KEY                    the key of every record
  --key-separator TEXT         each line is KEY TEXT VALUE; a line without TEXT is an error
  --header NAME=VALUE          may be given several times
  --partition N                not the one the key decides
  --acks 0|1|all               (default all)
  --compression CODEC          gzip, snappy, lz4 or zstd
  --json                       print partition and offset of what was written
${CONNECTION_USAGE}`;

interface Line {
  readonly key: Uint8Array | null;
  readonly value: Uint8Array;
}

/** One request: well below every limit of the broker. */
const BATCH_MAX_BYTES = 256 * 1024;

const ACKS: Readonly<Record<string, -1 | 0 | 1>> = { '0': 0, '1': 1, '-1': -1, all: -1 };
const CODECS = ['gzip', 'snappy', 'lz4', 'zstd'] as const;

/** A line as key and value. `number` is for the error. */
export function splitLine(line: Buffer, separator: string | undefined, key: Uint8Array | null, number: number): Line {
  if (separator === undefined) return { key, value: line };
  const between = Buffer.from(separator);
  const at = line.indexOf(between);
  if (at < 0) throw new UsageError(`line ${number}: there is no ${JSON.stringify(separator)} between key and value`);
  return { key: line.subarray(0, at), value: line.subarray(at + between.length) };
}

function storedBefore(lines: number, done: string): string {
  if (lines === 0) return `nothing was ${done}`;
  return lines === 1 ? `the line before it is ${done}` : `the ${lines} lines before it are ${done}`;
}

/** Consecutive lines, at most BATCH_MAX_BYTES together (one line is always allowed). */
export function* chunksOf(lines: readonly Line[], maxBytes = BATCH_MAX_BYTES): Generator<Line[]> {
  let chunk: Line[] = [];
  let size = 0;
  for (const line of lines) {
    const bytes = (line.key?.length ?? 0) + line.value.length + 32;
    if (chunk.length > 0 && size + bytes > maxBytes) {
      yield chunk;
      chunk = [];
      size = 0;
    }
    chunk.push(line);
    size += bytes;
  }
  if (chunk.length > 0) yield chunk;
}

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    ...CONNECTION_OPTIONS,
    key: { type: 'string' },
    'key-separator': { type: 'string' },
    header: { type: 'string', multiple: true },
    partition: { type: 'string' },
    acks: { type: 'string', default: 'all' },
    compression: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  const [topic, ...given] = positionals;
  if (topic === undefined) throw new UsageError('a topic is needed');
  const acks = ACKS[values.acks];
  if (acks === undefined) throw new UsageError(`--acks: "${values.acks}" is not one of 0, 1, all`);
  const compression = CODECS.find((codec) => codec === values.compression);
  if (values.compression !== undefined && compression === undefined) {
    throw new UsageError(`--compression: "${values.compression}" is not one of ${CODECS.join(', ')}`);
  }
  const separator = values['key-separator'];
  if (separator !== undefined && values.key !== undefined) throw new UsageError('--key or --key-separator, not both');
  if (separator === '') throw new UsageError('--key-separator: must not be empty');
  const partition = integerOption('partition', values.partition, 0, 2_147_483_647);
  const key = values.key === undefined ? null : Buffer.from(values.key);
  const headers = (values.header ?? []).map((text) => {
    const [name, value] = pairOption('header', text);
    return { key: name, value: Buffer.from(value) };
  });
  return withCluster(io, values, async (cluster) => {
    const producer = new Producer(cluster, { acks, ...(compression === undefined ? {} : { compression }) });
    let number = 0;
    const send = async (input: readonly Buffer[]) => {
      const lines: Line[] = [];
      let wrong: UsageError | null = null;
      for (const text of input) {
        try {
          lines.push(splitLine(text, separator, key, number + lines.length + 1));
        } catch (error) {
          if (!(error instanceof UsageError)) throw error;
          wrong = error;
          break;
        }
      }
      for (const chunk of chunksOf(lines)) {
        const records = chunk.map((line) => ({ ...line, headers, ...(partition === undefined ? {} : { partition }) }));
        const results = await producer.send(topic, records);
        if (values.json) for (const result of results) await io.write(json({ topic, ...result }));
      }
      number += lines.length;
      // Whoever mends that line has to know where to go on, however the lines arrived.
      if (wrong !== null)
        throw new UsageError(`${wrong.message}; ${storedBefore(number, acks === 0 ? 'sent' : 'stored')}`);
    };
    if (given.length > 0) await send(given.map((text) => Buffer.from(text)));
    else for await (const lines of lineBatches(io.stdin, io.stopping)) await send(lines);
    return EXIT.ok;
  });
};
