/** `headwater standby`: the role of a broker in a pair. */
import type { StandbyView } from '../http/views.ts';
import { type Command, EXIT, parse, UsageError } from './command.ts';
import { callApi } from './http-client.ts';
import { json, table } from './table.ts';

export const usage = `Usage: headwater standby [--http HOST:PORT] [--json]

The role of this broker in a pair (a link of type standby), and how far the follower is behind.
Exit status: 0 it leads, 3 it follows, 1 it is not one of a pair or cannot be reached.

  --http HOST:PORT   the broker's HTTP address (default 127.0.0.1:8080 or HEADWATER_HTTP)
  --user NAME:SECRET when the broker asks for a login (or HEADWATER_USER)
  --json             for programs
`;

const FOLLOWS = 3;

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    http: { type: 'string' },
    user: { type: 'string' },
    json: { type: 'boolean' },
  });
  if (positionals.length > 0) throw new UsageError(`"${positionals[0]}" is one word too many`);
  const status = (await callApi(io, values, 'GET', 'standby')) as StandbyView | null;
  if (status === null) {
    io.error('this broker is not one of a pair: it has no link of type standby\n');
    return EXIT.failed;
  }
  await io.write(values.json ? json(status) : standbyTable(status));
  return status.role === 'leader' ? EXIT.ok : FOLLOWS;
};

function standbyTable(status: StandbyView): string {
  return table<StandbyView>(
    [
      { head: 'ROLE', of: ({ role }) => role },
      { head: 'STATE', of: ({ state }) => state },
      { head: 'PEER', of: ({ peer }) => peer },
      { head: 'REPLICA', of: ({ sync }) => (sync ? 'sync' : 'async') },
      { head: 'LAG', of: ({ lagRecords }) => lagRecords, right: true },
      { head: 'EPOCH', of: ({ leaderEpoch }) => leaderEpoch, right: true },
      { head: 'LAST ERROR', of: ({ lastError }) => lastError },
    ],
    [status],
  );
}
