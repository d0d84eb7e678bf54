/** `headwater consume`. */
import { Admin } from '../client/admin.ts';
import { type Assignment, type ConsumedRecord, Consumer, isAtEnd } from '../client/consumer.ts';
import { UpstreamError } from '../client/error.ts';
import { systemEnv } from '../env.ts';
import { unitsOf, withUnits } from '../http/units.ts';
import { parseQuantity } from '../log/topic-config.ts';
import { type Command, EXIT, type Io, integerOption, parse, UsageError } from './command.ts';
import { CONNECTION_OPTIONS, CONNECTION_USAGE, withCluster } from './connection.ts';
import { DECODINGS, type Decode, decoderOf } from './decode.ts';
import { parseTime } from './parse-time.ts';
import { json, time, visible } from './table.ts';

export const usage = `Usage: headwater consume TOPIC... [OPTIONS]

Prints the values of records, one a line, until Ctrl-C.

Where to begin (default: with what arrives from now on):
  --from-beginning             the oldest record there is
  --offset N                   this offset; -N: the last N records of each partition
  --from-time TIME             2026-01-31T12:00:00Z, milliseconds since 1970, or an age such as -2h
  --partition N                this partition only
  --group GROUP                as a member of a group: share the partitions, resume where the group stopped

When to end:
  -n, --max-messages N         after N records
  -e, --exit-at-end            at what was the end of the log when it is reached
  --timeout TIME               when nothing came for so long (5s, 500ms; a plain number is ms)

What to print:
  --decode text|json|cbor|hex|base64   how values are written (default text: the bytes as they are); json and cbor
                               with the units of fields that the record names (readings of headwater-gateway)
  -v, --verbose                topic, partition, offset, time and key before each value, headers after it
  --json                       one JSON object a record, with everything; numbers stay numbers, units stand beside
  --read-committed             without records of transactions that are open or were aborted
${CONNECTION_USAGE}`;

export const run: Command = async (args, io) => {
  const { values, positionals: topics } = parse(args, {
    ...CONNECTION_OPTIONS,
    'from-beginning': { type: 'boolean', default: false },
    offset: { type: 'string' },
    'from-time': { type: 'string' },
    partition: { type: 'string' },
    group: { type: 'string' },
    'max-messages': { type: 'string', short: 'n' },
    'exit-at-end': { type: 'boolean', short: 'e', default: false },
    timeout: { type: 'string' },
    decode: { type: 'string', default: 'text' },
    verbose: { type: 'boolean', short: 'v', default: false },
    json: { type: 'boolean', default: false },
    'read-committed': { type: 'boolean', default: false },
  });
  if (topics.length === 0) throw new UsageError('a topic is needed');
  const decoding = DECODINGS.find((name) => name === values.decode);
  if (decoding === undefined)
    throw new UsageError(`--decode: "${values.decode}" is not one of ${DECODINGS.join(', ')}`);
  const begins = [values['from-beginning'], values.offset !== undefined, values['from-time'] !== undefined];
  if (begins.filter(Boolean).length > 1) throw new UsageError('one of --from-beginning, --offset and --from-time');
  const explicit = values.offset !== undefined || values['from-time'] !== undefined || values.partition !== undefined;
  if (values.group !== undefined && explicit) {
    throw new UsageError('with --group the group decides partitions and offsets; see: headwater groups reset');
  }
  const most = Number.MAX_SAFE_INTEGER;
  const begin: Begin = {
    earliest: values['from-beginning'],
    offset: integerOption('offset', values.offset, -most, most),
    time: values['from-time'] === undefined ? undefined : parseTime(values['from-time']),
    partition: integerOption('partition', values.partition, 0, 2_147_483_647),
  };
  const max = integerOption('max-messages', values['max-messages'], 1, most) ?? Number.POSITIVE_INFINITY;
  const timeoutMs = values.timeout === undefined ? Number.POSITIVE_INFINITY : parseQuantity(values.timeout, 'ms');
  if (timeoutMs === null || timeoutMs < 0)
    throw new UsageError(`--timeout: "${values.timeout}" is not a time such as 5s`);
  const format = {
    decode: await decoderOf(decoding),
    text: decoding === 'text',
    verbose: values.verbose,
    json: values.json,
  };

  return withCluster(io, values, async (cluster) => {
    const consumer = new Consumer(cluster, {
      from: values['from-beginning'] ? 'earliest' : 'latest',
      isolation: values['read-committed'] ? 'read_committed' : 'read_uncommitted',
      maxWaitMs: Math.min(1_000, Math.max(50, timeoutMs)),
      ...(values.group === undefined ? {} : { group: values.group, autoCommitMs: 0 }),
    });
    const onStop = () => void consumer.close().catch(() => {});
    io.stopping.addEventListener('abort', onStop, { once: true });
    try {
      if (values.group === undefined) await consumer.assign(await positions(new Admin(cluster), topics, begin));
      else await consumer.subscribe(topics);
      await copy(consumer, io, format, {
        max,
        timeoutMs,
        atEnd: values['exit-at-end'],
        group: values.group !== undefined,
      });
    } catch (error) {
      if (!io.stopping.aborted) throw error;
    } finally {
      io.stopping.removeEventListener('abort', onStop);
      await consumer.close();
    }
    return EXIT.ok;
  });
};

interface Begin {
  readonly earliest: boolean;
  readonly offset: number | undefined;
  readonly time: number | undefined;
  readonly partition: number | undefined;
}

async function positions(admin: Admin, topics: readonly string[], begin: Begin): Promise<Assignment[]> {
  const descriptions = await admin.topics(topics);
  const partitions = descriptions.flatMap(({ name, partitions: all }) =>
    all
      .filter(({ index }) => begin.partition === undefined || index === begin.partition)
      .map(({ index }) => ({ topic: name, partition: index })),
  );
  if (partitions.length === 0)
    throw new UsageError(`--partition: ${topics.join(', ')} has no partition ${begin.partition}`);
  const ask = (timestamp: number) => admin.offsets(partitions.map((at) => ({ ...at, timestamp })));
  const same = (a: { topic: string; partition: number }, b: { topic: string; partition: number }) =>
    a.topic === b.topic && a.partition === b.partition;
  if (begin.time !== undefined) {
    const found = await ask(begin.time);
    return partitions.map((at) => {
      const offset = found.find((answer) => same(answer, at))?.offset ?? -1;
      return { ...at, offset: offset < 0 ? ('latest' as const) : offset };
    });
  }
  if (begin.offset !== undefined && begin.offset < 0) {
    const [starts, ends] = [await ask(-2), await ask(-1)];
    return partitions.map((at) => {
      const start = starts.find((answer) => same(answer, at))?.offset ?? 0;
      const end = ends.find((answer) => same(answer, at))?.offset ?? 0;
      return { ...at, offset: Math.max(start, end + begin.offset!) };
    });
  }
  const offset = begin.offset ?? (begin.earliest ? ('earliest' as const) : ('latest' as const));
  return partitions.map((at) => ({ ...at, offset }));
}

interface Until {
  readonly max: number;
  readonly timeoutMs: number;
  readonly atEnd: boolean;
  readonly group: boolean;
}

async function copy(consumer: Consumer, io: Io, format: Format, until: Until): Promise<void> {
  const { clock } = systemEnv;
  let printed = 0;
  let last = clock.monotonic();
  while (!io.stopping.aborted) {
    const records = await consumer.poll();
    if (records.length > 0) {
      last = clock.monotonic();
      const wanted = records.slice(0, until.max - printed);
      await io.write(Buffer.concat(wanted.map((record) => formatRecord(record, format, io.terminal))));
      printed += wanted.length;
      if (until.group) await commit(consumer, records.slice(wanted.length));
      if (printed >= until.max) return;
    } else if (clock.monotonic() - last >= until.timeoutMs) return;
    if (until.atEnd && consumer.positions().every(isAtEnd)) return;
  }
}

/** What was printed is what is committed: nothing is skipped when the group resumes. */
async function commit(consumer: Consumer, unprinted: readonly ConsumedRecord[]): Promise<void> {
  try {
    await consumer.commit(nextOffsets(consumer.positions(), unprinted));
  } catch (error) {
    // The group is rebalancing: the next owner of the partition prints these records again.
    if (!(error instanceof UpstreamError) || !REBALANCING.has(error.kafka)) throw error;
  }
}

/** ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS. */
const REBALANCING: ReadonlySet<number> = new Set([22, 25, 27]);

/**
 * What a group commits: for each partition the first record that was read but not printed, else where reading goes on. A
 * partition that gave nothing yet is committed too: whoever resumes starts there, not at what has arrived since.
 */
export function nextOffsets(
  positions: readonly { topic: string; partition: number; offset: number }[],
  unprinted: readonly { topic: string; partition: number; offset: number }[],
): { topic: string; partition: number; offset: number }[] {
  return positions.map(({ topic, partition, offset }) => {
    const first = unprinted.find((record) => record.topic === topic && record.partition === partition);
    return { topic, partition, offset: first?.offset ?? offset };
  });
}

export interface Format {
  readonly decode: Decode;
  /** Values are written as they are. */
  readonly text: boolean;
  readonly verbose: boolean;
  readonly json: boolean;
}

const NEWLINE = Buffer.from('\n');

export function formatRecord(record: ConsumedRecord, format: Format, terminal: boolean): Buffer {
  const { topic, partition, offset, timestamp, key, value, headers } = record;
  const units = format.text ? null : unitsOf(headers);
  if (format.json) {
    return Buffer.from(
      json({
        topic,
        partition,
        offset,
        timestamp,
        key: key === null ? null : key.toString('utf8'),
        value: value === null ? null : format.decode(value),
        headers: headers.map((header) => ({
          key: header.key,
          value: header.value === null ? null : Buffer.from(header.value).toString('utf8'),
        })),
        ...(units === null ? {} : { units }),
      }),
    );
  }
  if (format.text && !format.verbose && !terminal) return value === null ? NEWLINE : Buffer.concat([value, NEWLINE]);
  const decoded = value === null ? '(null)' : withUnits(format.decode(value), units);
  const text = typeof decoded === 'string' ? decoded : JSON.stringify(decoded);
  const shown = terminal ? visible(text) : text;
  if (!format.verbose) return Buffer.from(`${shown}\n`);
  const keyText = key === null ? '-' : visible(key.toString('utf8'));
  const tail = headers.map(
    (header) => ` ${header.key}=${header.value === null ? '' : visible(Buffer.from(header.value).toString('utf8'))}`,
  );
  return Buffer.from(`${topic} ${partition} ${offset} ${time(timestamp)} ${keyText} ${shown}${tail.join('')}\n`);
}
