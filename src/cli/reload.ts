/** `headwater reload`: what SIGHUP does, with the outcome printed. */
import type { ReloadView } from '../http/views.ts';
import { type Command, EXIT, parse, UsageError } from './command.ts';
import { callApi } from './http-client.ts';
import { json } from './table.ts';

export const usage = `Usage: headwater reload [--http HOST:PORT] [--json]

The broker reads its configuration file, users, ACLs and certificates again. What can change does; what needs a restart
is named; a mistake changes nothing.

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
  if (positionals.length > 0) throw new UsageError(`"${positionals[0]}" is one word too many`);
  const { changed, restart } = (await callApi(io, values, 'POST', 'reload')) as ReloadView;
  if (values.json) {
    await io.write(json({ changed, restart }));
    return EXIT.ok;
  }
  for (const { path, from, to } of changed) await io.write(`changed: ${path}: ${from} -> ${to}\n`);
  for (const { path, from, to } of restart) await io.write(`needs a restart: ${path}: ${from} -> ${to}\n`);
  if (changed.length + restart.length === 0) await io.write('nothing has changed\n');
  return EXIT.ok;
};
