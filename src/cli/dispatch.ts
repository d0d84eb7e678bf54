/**
 * From words to a command. Each command is a module of its own, loaded when it is called, so that the broker's memory
 * holds nothing of the tools and the tools start without the broker.
 */
import { type CommandModule, EXIT, type Io, reasonOf, UsageError } from './command.ts';

const COMMANDS: Readonly<Record<string, { about: string; load: () => Promise<CommandModule> }>> = {
  serve: { about: 'run a broker', load: () => import('./serve.ts') },
  publish: { about: 'publish a message by MQTT', load: () => import('./publish.ts') },
  produce: { about: 'write records to a topic', load: () => import('./produce.ts') },
  consume: { about: 'read records of a topic', load: () => import('./consume.ts') },
  topics: { about: 'list, create, describe, alter, delete topics', load: () => import('./topics.ts') },
  groups: { about: 'list, describe, reset, delete consumer groups', load: () => import('./groups.ts') },
  links: { about: 'state and backlog of the links upstream', load: () => import('./links.ts') },
  standby: { about: 'the role of this broker in a pair', load: () => import('./standby.ts') },
  promote: { about: 'make a standby lead', load: () => import('./promote.ts') },
  routes: { about: 'where an MQTT topic is stored', load: () => import('./routes.ts') },
  users: { about: 'add, remove, list users', load: () => import('./users.ts') },
  config: { about: 'check a configuration, explain settings', load: () => import('./config.ts') },
  check: { about: 'verify a data directory', load: () => import('./check.ts') },
  dump: { about: 'print what a data directory holds', load: () => import('./dump.ts') },
  doctor: { about: 'find what is wrong with an installation', load: () => import('./doctor.ts') },
  reload: { about: 'make the broker read its configuration again', load: () => import('./reload.ts') },
};

const HELP = `headwater: an edge broker. Devices publish by MQTT, apps read with any Kafka client.

Usage: headwater COMMAND [OPTIONS]

${Object.entries(COMMANDS)
  .map(([name, { about }]) => `  ${name.padEnd(10)}${about}`)
  .join('\n')}
  version   print the version
  help      this page; headwater help COMMAND for one command

Tools reach the broker at --bootstrap HOST:PORT (Kafka; default 127.0.0.1:9092 or HEADWATER_BOOTSTRAP); publish at
--mqtt (127.0.0.1:1883 or HEADWATER_MQTT); links, standby, promote and reload at --http (127.0.0.1:8080 or HEADWATER_HTTP).
`;

/** The exit status of one command line. */
export async function dispatch(argv: readonly string[], io: Io): Promise<number> {
  const [name = '', ...args] = argv;
  if (name === 'version' || name === '--version' || name === '-V') {
    await io.write(`${io.version}\n`);
    return EXIT.ok;
  }
  if (name === '' || name === '--help' || name === '-h' || (name === 'help' && args.length === 0)) {
    if (name !== '') await io.write(HELP);
    else io.error(HELP);
    return name === '' ? EXIT.usage : EXIT.ok;
  }
  const wanted = name === 'help' ? args[0]! : name;
  const command = Object.hasOwn(COMMANDS, wanted) ? COMMANDS[wanted] : undefined;
  if (command === undefined) {
    const { suggest } = await import('../config/suggest.ts');
    const near = suggest(wanted, Object.keys(COMMANDS));
    io.error(
      `headwater: there is no command "${wanted}"${near === null ? '' : `; did you mean "${near}"?`}${near === null ? '.' : ''} See: headwater help\n`,
    );
    return EXIT.usage;
  }
  const { usage, run } = await command.load();
  const end = args.indexOf('--');
  const options = end < 0 ? args : args.slice(0, end);
  if (name === 'help' || options.includes('--help') || options.includes('-h')) {
    await io.write(usage);
    return EXIT.ok;
  }
  try {
    return await run(args, io);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EPIPE') return EXIT.ok;
    if (error instanceof UsageError) {
      io.error(`headwater ${name}: ${error.message}\n${usage.split('\n')[0]}\nSee: headwater help ${name}\n`);
      return EXIT.usage;
    }
    io.error(`headwater ${name}: ${reasonOf(error)}\n`);
    return EXIT.failed;
  }
}
