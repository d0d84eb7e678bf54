/** `headwater users`: edits the users file. */
import { loadConfig } from '../config/load.ts';
import { HeadwaterError } from '../errors.ts';
import { createUser } from '../security/users.ts';
import { readUsers, writeUsers } from '../security/users-file.ts';
import { type Command, EXIT, type Io, onePositional, parse, UsageError } from './command.ts';
import { linesOf } from './lines.ts';
import { json, table } from './table.ts';

export const usage = `Usage: headwater users list|add|remove [NAME] (--file FILE | --config FILE)

add NAME      asks for the secret (or reads it as the first line of standard input); replaces that of a known user
remove NAME   forgets a user
list          names and how they may log in

  --file FILE     the users file; created with mode 0600 when it is missing
  --config FILE   take users.file from this configuration (or HEADWATER_CONFIG)
  --no-scram      keep only the memory-hard hash: MQTT, HTTP and Kafka's PLAIN work, SCRAM does not

A running broker takes the change over on SIGHUP or: headwater reload
`;

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, {
    file: { type: 'string' },
    config: { type: 'string' },
    'no-scram': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  });
  const [action = 'list', ...names] = positionals;
  const file = await usersFile(io, values.file, values.config);
  if (action === 'list') {
    const users = await readUsers(file, true);
    const rows = [...users.values()].map(({ name, scram }) => ({ name, mechanisms: ['PLAIN', ...scram.keys()] }));
    if (values.json) await io.write(json(rows));
    else if (rows.length === 0) await io.write(`${file} has no users\n`);
    else {
      await io.write(
        table(
          [
            { head: 'USER', of: ({ name }) => name },
            { head: 'MECHANISMS', of: ({ mechanisms }) => mechanisms.join(',') },
          ],
          rows,
        ),
      );
    }
    return EXIT.ok;
  }
  if (action !== 'add' && action !== 'remove') throw new UsageError(`there is no "users ${action}"`);
  const name = onePositional(names, 'user name');
  const users = await readUsers(file, action === 'remove');
  const known = users.has(name);
  if (action === 'remove') {
    if (!users.delete(name)) throw new HeadwaterError('INVALID_REQUEST', `${file} has no user "${name}"`);
  } else {
    users.set(name, await createUser(name, await readSecret(io, name), !values['no-scram']));
  }
  await writeUsers(file, users);
  const done = action === 'remove' ? 'removed' : known ? 'secret replaced for' : 'added';
  await io.write(values.json ? json({ user: name, action: done, file }) : `${done} ${name}\n`);
  return EXIT.ok;
};

async function usersFile(io: Io, file: string | undefined, configFile: string | undefined): Promise<string> {
  if (file !== undefined) return file;
  const from = configFile ?? io.env['HEADWATER_CONFIG'];
  if (from === undefined) throw new UsageError('--file or --config is needed');
  const config = await loadConfig({ file: from, env: io.env });
  const named = config.settings['users.file'];
  if (named === null) throw new UsageError(`${from} sets no users.file; give --file`);
  return named;
}

/** From the terminal without echo, twice; from a pipe its first line. Never from the command line: everybody could read it. */
async function readSecret(io: Io, name: string): Promise<string> {
  const terminal = io.stdin as NodeJS.ReadStream;
  if (terminal.isTTY !== true) {
    for await (const line of linesOf(io.stdin)) return line.toString('utf8');
    throw new UsageError('the secret is the first line of standard input; there is none');
  }
  const first = await ask(io, terminal, `Secret for ${name}: `);
  if (first !== (await ask(io, terminal, 'Once more: '))) throw new UsageError('the two are not the same');
  return first;
}

function ask(io: Io, terminal: NodeJS.ReadStream, prompt: string): Promise<string> {
  io.error(prompt);
  terminal.setRawMode(true);
  terminal.setEncoding('utf8');
  terminal.resume();
  return new Promise((resolve, reject) => {
    let text = '';
    const finish = (settle: () => void) => {
      terminal.off('data', onData);
      terminal.setRawMode(false);
      terminal.pause();
      io.error('\n');
      settle();
    };
    const onData = (chunk: string) => {
      for (const char of chunk) {
        if (char === '\r' || char === '\n') return finish(() => resolve(text));
        if (char === '\x03' || char === '\x04') return finish(() => reject(new UsageError('cancelled')));
        text = char === '\x7f' || char === '\b' ? [...text].slice(0, -1).join('') : text + char;
      }
    };
    terminal.on('data', onData);
  });
}
