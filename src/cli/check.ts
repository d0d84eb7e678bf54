/** `headwater check`: every invariant of a data directory. */
import { checkStore } from '../log/check.ts';
import { type Command, EXIT, parse, UsageError } from './command.ts';
import { DATA_OPTIONS, DATA_USAGE, withStore } from './data-directory.ts';
import { bytes, count, json, visible } from './table.ts';

export const usage = `Usage: headwater check [--data DIR] [--json]

Verifies a data directory: batches and their CRCs, indexes against data, dense offsets, log start and end, producer state.
Changes nothing. Of a running broker it sees what was stored when it began. Exit status 1 when something is wrong.

${DATA_USAGE}  --json         for programs
`;

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, { ...DATA_OPTIONS, json: { type: 'boolean', default: false } });
  if (positionals.length > 0) throw new UsageError(`"${positionals[0]}" is one word too many; --data DIR?`);
  const report = await withStore(io, values, (store) => checkStore(store));
  const { problems, topics, partitions, slices, chunks } = report;
  if (values.json) await io.write(json(report));
  else {
    for (const { where, what } of problems) await io.write(`${visible(where)}: ${visible(what)}\n`);
    const parts = [
      count(topics, 'topic'),
      count(partitions, 'partition'),
      count(slices, 'slice'),
      count(chunks, 'chunk'),
    ];
    const size = [...parts, bytes(report.bytes)].join(', ');
    await io.write(`${size}: ${problems.length === 0 ? 'all is well' : count(problems.length, 'problem')}\n`);
  }
  return problems.length === 0 ? EXIT.ok : EXIT.failed;
};
