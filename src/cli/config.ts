/** `headwater config`: check a file without starting anything, explain settings, print the reference. */
import { ConfigError } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { explainRow, settingsReference } from '../config/reference.ts';
import type { Row } from '../config/rows.ts';
import { SETTINGS } from '../config/settings.ts';
import { suggest } from '../config/suggest.ts';
import { type Command, EXIT, onePositional, parse, UsageError } from './command.ts';
import { count, json } from './table.ts';

export const usage = `Usage: headwater config check FILE [--json]
       headwater config explain [SETTING...]
       headwater config reference

check      every mistake of FILE with its line; exit 0 when there is none, 78 otherwise
explain    what a setting does, its range and default; all of them without a name
reference  docs/settings.md
`;

export const run: Command = async (args, io) => {
  const { values, positionals } = parse(args, { json: { type: 'boolean' } });
  const [action, ...rest] = positionals;
  switch (action) {
    case 'check': {
      const file = onePositional(rest, 'file');
      try {
        const config = await loadConfig({ file, env: io.env, files: true, warn: (text) => io.error(`${text}\n`) });
        const { topics, routes, links } = config;
        const counts = [count(topics.size, 'topic'), count(routes.length, 'route'), count(links.size, 'link')];
        await io.write(values.json ? json({ file, problems: [] }) : `${file}: fine (${counts.join(', ')})\n`);
        return EXIT.ok;
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        if (values.json) await io.write(json({ file, problems: error.problems }));
        else io.error(`${error.message}\n`);
        return EXIT.config;
      }
    }
    case 'explain': {
      const rows: readonly Row[] = SETTINGS;
      const wanted = rest.length === 0 ? rows : rest.map((name) => rowOf(rows, name));
      for (const row of wanted) await io.write(`${explainRow(row)}\n`);
      return EXIT.ok;
    }
    case 'reference':
      await io.write(settingsReference());
      return EXIT.ok;
    default:
      throw new UsageError(action === undefined ? 'check, explain or reference?' : `there is no "config ${action}"`);
  }
};

/** What the file holds beside the settings that `explain` knows. */
const SECTIONS: ReadonlySet<string> = new Set([
  'listeners',
  'advertised.listeners',
  'topics',
  'routes',
  'links',
  'sources',
]);

function rowOf(rows: readonly Row[], name: string): Row {
  const row = rows.find((candidate) => candidate.name === name);
  if (row !== undefined) return row;
  const section = name.split('.')[0]!;
  if (SECTIONS.has(section)) {
    throw new UsageError(`"${section}" is a section of its own; it is explained in: headwater config reference`);
  }
  const near = suggest(
    name,
    rows.map((candidate) => candidate.name),
  );
  throw new UsageError(`there is no setting "${name}"${near === null ? '' : `; did you mean ${near}?`}`);
}
