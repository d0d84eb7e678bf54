/** `headwater dump`: the batches of a data directory. */
import { dumpStore } from '../log/dump.ts';
import { type Command, EXIT, integerOption, parse, UsageError } from './command.ts';
import { DATA_OPTIONS, DATA_USAGE, withStore } from './data-directory.ts';
import { count, json, time } from './table.ts';

export const usage = `Usage: headwater dump [TOPIC] [--partition N] [--data DIR] [--json]

One line for each stored batch of a data directory, in the order of the store. Of a running broker it sees what was
stored when it began.

  --partition N  this partition only
${DATA_USAGE}  --json         one JSON object a line, with everything
`;

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    ...DATA_OPTIONS,
    partition: { type: 'string' },
    json: { type: 'boolean', default: false },
  });
  const [topic, ...more] = positionals;
  if (more.length > 0) throw new UsageError('one topic, or none for all');
  const partition = integerOption('partition', values.partition, 0, 2_147_483_647);
  const wanted = { ...(topic === undefined ? {} : { topic }), ...(partition === undefined ? {} : { partition }) };
  await withStore(io, values, async (store) => {
    for await (const batch of dumpStore(store, wanted)) {
      if (io.stopping.aborted) break;
      if (values.json) {
        await io.write(json(batch));
        continue;
      }
      const { slice, chunk, lastOffset, bytes, damage, baseOffset, records, codec, maxTimestamp, producerId } = batch;
      const place = `${batch.topic ?? '(deleted)'} ${batch.partition}`;
      const content =
        damage === null
          ? `${baseOffset}..${lastOffset} ${count(records ?? 0, 'record')} ${bytes} bytes ${codec} ${time(maxTimestamp ?? -1)}`
          : `..${lastOffset} ${bytes} bytes DAMAGED: ${damage}`;
      const producer =
        producerId === undefined || producerId < 0
          ? ''
          : ` producer ${producerId}/${batch.producerEpoch}:${batch.baseSequence}`;
      const flags = `${batch.transactional ? ' transactional' : ''}${batch.control ? ' control' : ''}`;
      await io.write(`${place} ${content}${producer}${flags} ${slice}/${chunk}\n`);
    }
  });
  return EXIT.ok;
};
