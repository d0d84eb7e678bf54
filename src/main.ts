/** The process: argv, signals, streams, exit status. */
import { readFileSync } from 'node:fs';
import { EXIT, type Io, reasonOf } from './cli/command.ts';
import { dispatch } from './cli/dispatch.ts';

function packageVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return String((JSON.parse(text) as { version: unknown }).version);
}

function processIo(): Io {
  const stopping = new AbortController();
  let signals = 0;
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.on(signal, () => {
      // The second one means it: what is acknowledged is stored already.
      if (++signals > 1) process.exit(status);
      stopping.abort(signal);
    });
  }
  let gone: Error | null = null;
  process.stdout.on('error', (error) => {
    gone = error;
  });
  return {
    write: (text) =>
      new Promise((resolve, reject) => {
        if (gone !== null) reject(gone);
        else process.stdout.write(text, (error) => (error == null ? resolve() : reject(error)));
      }),
    error: (text) => {
      process.stderr.write(text);
    },
    stdin: process.stdin,
    env: process.env,
    terminal: process.stdout.isTTY === true,
    stopping: stopping.signal,
    version: packageVersion(),
  };
}

// An event loop that runs empty before the command has ended has done nothing worth a 0.
process.exitCode = EXIT.failed;
dispatch(process.argv.slice(2), processIo()).then(
  (status) => {
    // Open sockets of a tool that is done must not hold it; what is written must still arrive.
    process.stdout.write('', () => process.exit(status));
  },
  (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(EXIT.ok);
    process.stderr.write(`headwater: ${reasonOf(error)}\n`);
    process.exit(EXIT.failed);
  },
);
