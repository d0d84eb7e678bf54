/** `headwater promote`: a standby leads from now on. What a virtual IP tool calls (deploy/keepalived). */
import { heldDelay, systemEnv } from '../env.ts';
import type { PromotionView, StandbyView } from '../http/views.ts';
import { type Command, EXIT, parse, UsageError } from './command.ts';
import { callApi } from './http-client.ts';
import { json } from './table.ts';

export const usage = `Usage: headwater promote [--http HOST:PORT] [--if-needed] [--json]

This broker follows another; from now on it leads, under a leader epoch above all that were. The old leader, should it still
run or come back, finds that epoch, refuses writes and follows; what only it had goes to its loss ledger.
Returns when clients are served.

  --if-needed        no error when it leads already
  --http HOST:PORT   the broker's HTTP address (default 127.0.0.1:8080 or HEADWATER_HTTP)
  --user NAME:SECRET when the broker asks for a login (or HEADWATER_USER)
  --json             for programs
`;

const SERVES_WITHIN_MS = 60_000;
const ASK_EVERY_MS = 100;

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    http: { type: 'string' },
    user: { type: 'string' },
    'if-needed': { type: 'boolean' },
    json: { type: 'boolean' },
  });
  if (positionals.length > 0) throw new UsageError(`"${positionals[0]}" is one word too many`);
  if (values['if-needed'] === true) {
    const before = (await callApi(io, values, 'GET', 'standby')) as StandbyView | null;
    if (before?.role === 'leader') {
      await io.write(values.json ? json(before) : 'leads already\n');
      return EXIT.ok;
    }
  }
  const { leaderEpoch } = (await callApi(io, values, 'POST', 'promote', {})) as PromotionView;
  const { clock } = systemEnv;
  const deadline = clock.monotonic() + SERVES_WITHIN_MS;
  for (;;) {
    // Its listeners close and open again in the new role.
    await heldDelay(ASK_EVERY_MS);
    try {
      const status = (await callApi(io, values, 'GET', 'standby')) as StandbyView | null;
      if (status?.state.startsWith('leading') === true) {
        await io.write(values.json ? json(status) : `leads, leader epoch ${leaderEpoch}\n`);
        return EXIT.ok;
      }
    } catch (error) {
      if (clock.monotonic() > deadline) throw error;
    }
  }
};
