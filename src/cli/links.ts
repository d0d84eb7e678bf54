/** `headwater links`: the state of every link upstream, and pause and resume. */
import type { LinkView } from '../http/views.ts';
import { type Command, EXIT, onePositional, parse, UsageError } from './command.ts';
import { callApi } from './http-client.ts';
import { bytes, duration, json, table } from './table.ts';

export const usage = `Usage: headwater links [list|pause NAME|resume NAME] [--http HOST:PORT] [--json]

list    state, backlog, age of the oldest unsent record, rate, time until drained (the default)
pause   stop sending; records gather in the log
resume  send again

  --http HOST:PORT   the broker's HTTP address (default 127.0.0.1:8080 or HEADWATER_HTTP)
  --user NAME:SECRET when the broker asks for a login (or HEADWATER_USER)
  --json             for programs
`;

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    http: { type: 'string' },
    user: { type: 'string' },
    json: { type: 'boolean' },
  });
  const [action = 'list', ...rest] = positionals;
  if (action === 'list') {
    const links = (await callApi(io, values, 'GET', 'links')) as LinkView[];
    await io.write(values.json ? json(links) : linksTable(links));
    return EXIT.ok;
  }
  if (action !== 'pause' && action !== 'resume') throw new UsageError(`there is no "links ${action}"`);
  const name = onePositional(rest, 'link name');
  const link = (await callApi(io, values, 'POST', `links/${encodeURIComponent(name)}/${action}`)) as LinkView;
  await io.write(values.json ? json(link) : `${name}: ${link.state}\n`);
  return EXIT.ok;
};

export function linksTable(links: readonly LinkView[]): string {
  if (links.length === 0) return 'no links are configured\n';
  return table<LinkView>(
    [
      { head: 'LINK', of: ({ name }) => name },
      { head: 'TYPE', of: ({ type }) => type },
      { head: 'STATE', of: ({ state }) => state },
      { head: 'BACKLOG', of: ({ backlogRecords }) => backlogRecords, right: true },
      { head: 'BYTES', of: ({ backlogBytes }) => bytes(backlogBytes), right: true },
      { head: 'OLDEST', of: ({ oldestUnsentAgeMs }) => duration(oldestUnsentAgeMs), right: true },
      { head: 'RECORDS/S', of: ({ recordsPerSecond }) => recordsPerSecond?.toFixed(1), right: true },
      { head: 'ETA', of: ({ etaMs }) => duration(etaMs), right: true },
      { head: 'FULL IN', of: ({ fullMs }) => duration(fullMs ?? null), right: true },
      { head: 'LOST', of: ({ lostRecords }) => lostRecords, right: true },
      { head: 'LAST ERROR', of: ({ lastError }) => lastError },
    ],
    links,
  );
}
