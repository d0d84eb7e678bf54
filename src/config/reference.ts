/** docs/settings.md, made from the rows; a test holds the page to them. */
import { TOPIC_SETTINGS, type TopicSettingRow } from '../log/topic-config.ts';
import { environmentName } from './load.ts';
import { allowedWords, type Row } from './rows.ts';
import { LINK_FIELDS, ROUTE_FIELDS, SOURCE_FIELDS, TOPIC_FIELDS } from './sections.ts';
import { SETTINGS } from './settings.ts';

const MAX = Number.MAX_SAFE_INTEGER;

/** 604800000 -> 7d: the largest unit that divides it. */
export function humanQuantity(value: number, kind: string): string {
  const units: readonly (readonly [string, number])[] =
    kind === 'bytes'
      ? [
          ['GiB', 1024 ** 3],
          ['MiB', 1024 ** 2],
          ['KiB', 1024],
        ]
      : kind === 'ms'
        ? [
            ['d', 86_400_000],
            ['h', 3_600_000],
            ['m', 60_000],
            ['s', 1_000],
          ]
        : [];
  for (const [unit, factor] of units) if (value > 0 && value % factor === 0) return `${value / factor}${unit}`;
  return String(value);
}

const cell = (text: string) => text.replaceAll('|', '\\|');

function typeWords(row: Row): string {
  switch (row.kind) {
    case 'boolean':
      return '`true`, `false`';
    case 'choice':
      return row.choices.map((choice) => `\`${choice}\``).join(', ');
    case 'list':
      return row.choices === undefined ? 'list' : `list of ${row.choices.map((choice) => `\`${choice}\``).join(', ')}`;
    case 'integer':
    case 'bytes':
    case 'ms': {
      const max = row.max === MAX ? '' : humanQuantity(row.max, row.kind);
      const unit = row.kind === 'integer' ? (row.unit ?? '') : row.kind;
      return `${humanQuantity(row.min, row.kind)} to ${max === '' ? 'any' : max}${unit === '' ? '' : `, ${unit}`}`;
    }
    default:
      return row.kind === 'string' ? (row.allowed ?? 'text') : row.kind;
  }
}

function defaultWords(row: Row): string {
  if (row.required) return '**required**';
  if (row.default === null) return '';
  if (Array.isArray(row.default)) return row.default.length === 0 ? '' : `\`${row.default.join(',')}\``;
  return `\`${typeof row.default === 'number' ? humanQuantity(row.default, row.kind) : String(row.default)}\``;
}

function table(rows: readonly Row[]): string[] {
  return [
    '| name | values | default | while it runs | what it does |',
    '|---|---|---|---|---|',
    ...rows.map(
      (row) =>
        `| \`${row.name}\` | ${cell(typeWords(row))} | ${cell(defaultWords(row))} | ${row.runtime ? 'yes' : 'restart'} | ${cell(row.doc)} |`,
    ),
  ];
}

function topicSettingLine(row: TopicSettingRow): string {
  const isRange = !Array.isArray(row.allowed);
  const { min, max } = row.allowed as { min: number; max: number };
  const kind = row.unit === 'ms' || row.unit === 'bytes' ? row.unit : 'integer';
  const values = isRange
    ? `${humanQuantity(min, kind)} to ${max === MAX ? 'any' : humanQuantity(max, kind)}${row.unit === null ? '' : `, ${row.unit}`}`
    : (row.allowed as readonly string[]).map((value) => `\`${value}\``).join(', ');
  const shown = isRange ? humanQuantity(Number(row.default), kind) : row.default;
  return `| \`${row.name}\` | ${values} | \`${shown}\` | yes | ${cell(row.doc)} |`;
}

export function settingsReference(): string {
  return [
    '# Settings',
    '',
    '<!-- Made from src/config and src/log/topic-config.ts: `headwater config reference`. Edit the rows, not this page. -->',
    '',
    'One YAML file, `headwater serve --config FILE`. Names are written whole, as in `log.retention.hours: 168`; they are',
    "Kafka's where Kafka has one. `headwater config check FILE` lists every mistake with its line; a broker does not start",
    'on a file with a mistake. SIGHUP (or `headwater reload`) reads the file again: what the fourth column allows changes at',
    'once, the rest is named in the log and waits for a restart, and a file with a mistake changes nothing.',
    '',
    'Sizes take `KiB`, `MiB`, `GiB` (and `kB`, `MB`, `GB`), times `ms`, `s`, `m`, `h`, `d`. Every setting can also come from the',
    `environment, which wins over the file: \`log.retention.hours\` as \`${environmentName('log.retention.hours')}\`, \`listeners.mqtt\` as`,
    `\`${environmentName('listeners.mqtt')}\`, the password of the link \`cloud\` as \`${environmentName('links.cloud.password')}\`. Flags win over both.`,
    '',
    '## The broker',
    '',
    ...table(SETTINGS),
    '',
    '## listeners and advertised.listeners',
    '',
    'A map of name to `HOST:PORT`. Names: `mqtt`, `mqtts` (TLS), `ws`, `wss` (MQTT over WebSocket), `kafka`, `kafkas` (TLS), `http`,',
    '`https`. Without the section: `mqtt` on `127.0.0.1:1883`, `kafka` on `127.0.0.1:9092`, `http` on `127.0.0.1:8080`; `off` turns one off.',
    '`*:1883` is every address of the host, a bare `1883` is loopback. An address that other hosts can reach needs',
    '`users.file` (or `allow.anonymous: true`).',
    '`advertised.listeners` is what Kafka clients are told to connect to, behind NAT or in a container; without it, the address',
    'they came to.',
    '',
    '## topics',
    '',
    'A map of topic name to these fields and settings. A topic that is declared exists from the start; one that is not is',
    'created when it is first written to, if `auto.create.topics.enable` says so.',
    '',
    ...table(TOPIC_FIELDS),
    '',
    "Every topic setting, by Kafka's name; `headwater topics alter` and Kafka's tools change them too:",
    '',
    '| name | values | default | while it runs | what it does |',
    '|---|---|---|---|---|',
    ...TOPIC_SETTINGS.map(topicSettingLine),
    '',
    '## routes',
    '',
    'A list, from MQTT topics to topics; the first that matches wins. `headwater routes test MQTT-TOPIC --config FILE` shows which.',
    '',
    ...table(ROUTE_FIELDS),
    '',
    '## links',
    '',
    'A map of link name to these fields. `headwater links` shows their state.',
    '',
    ...table(LINK_FIELDS),
    '',
    '## sources',
    '',
    'A map of source name to these fields: what is read from this machine and stored. See [sources.md](sources.md).',
    '',
    ...table(SOURCE_FIELDS),
    '',
  ].join('\n');
}

/** One setting in words, for `headwater config explain`. */
export function explainRow(row: Row): string {
  return `${row.name}: ${allowedWords(row)}; default ${defaultWords(row).replaceAll('`', '') || '(none)'}; ${row.runtime ? 'changes while the broker runs' : 'needs a restart'}\n  ${row.doc}`;
}
