/**
 * What the process may use when everything that is bounded is at its bound at once, added up and held against
 * `memory.budget`: a configuration that could not fit is refused before it starts, with the sum shown.
 */
import {
  APPEND_QUEUE_MAX_BYTES,
  COMMIT_MAX_BYTES,
  GROUPS_TOTAL_MAX_BYTES,
  KAFKA_OUTPUT_MAX_BYTES,
  KAFKA_PARTIAL_REQUESTS_MAX_BYTES,
  KEY_FILTERS_MAX_BYTES,
  MQTT_CATCH_UP_READ_BYTES,
  MQTT_CATCH_UP_READERS_MAX,
  MQTT_RETAINED_MAX_BYTES,
  MQTT_WILLS_MAX_BYTES,
  QUOTA_CLIENTS_MAX,
  QUOTAS_MAX,
  READ_AHEAD_MAX_BYTES,
  SOURCE_READ_BYTES,
  TAIL_CACHE_MAX_BYTES,
  USERS_OVER_KAFKA_MAX,
} from '../limits.ts';
import type { Config } from './config.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

/** Node.js, our code and an empty store with the launcher's flags: measured, x86-64, Node 20. */
const PROCESS_BYTES = 66 * MiB;
/** LevelDB's memtables: two databases written to, each with one full and one filling. */
const MEMTABLE_BYTES = 8 * MiB;
/** An idle connection, sockets included: 2,000 of them were measured at 5 KiB each. */
const CONNECTION_BYTES = 8 * KiB;
/** A user with a scrypt hash and both SCRAM credentials; a quota, or a client's use of one. */
const USER_BYTES = 1 * KiB;
const QUOTA_BYTES = 512;
/** Batches read ahead of what a link has in flight. */
const LINK_READ_AHEAD = 2;

export interface BudgetLine {
  readonly what: string;
  readonly bytes: number;
}

type Budgeted = Pick<Config, 'settings' | 'links' | 'sources'>;

export function memoryBudget({ settings, links, sources }: Budgeted): BudgetLine[] {
  const lines: BudgetLine[] = [
    { what: 'the process itself', bytes: PROCESS_BYTES },
    {
      what: 'the log',
      bytes:
        APPEND_QUEUE_MAX_BYTES +
        COMMIT_MAX_BYTES +
        TAIL_CACHE_MAX_BYTES +
        READ_AHEAD_MAX_BYTES +
        KEY_FILTERS_MAX_BYTES +
        MEMTABLE_BYTES,
    },
    { what: 'Kafka requests and answers', bytes: KAFKA_PARTIAL_REQUESTS_MAX_BYTES + KAFKA_OUTPUT_MAX_BYTES },
    { what: 'max.connections', bytes: settings['max.connections'] * CONNECTION_BYTES },
    { what: 'consumer groups', bytes: GROUPS_TOTAL_MAX_BYTES },
    {
      what: 'users and quotas',
      bytes: USERS_OVER_KAFKA_MAX * USER_BYTES + (QUOTAS_MAX + QUOTA_CLIENTS_MAX) * QUOTA_BYTES,
    },
    {
      what: 'retained messages, wills and MQTT catch-up',
      bytes: MQTT_RETAINED_MAX_BYTES + MQTT_WILLS_MAX_BYTES + MQTT_CATCH_UP_READERS_MAX * MQTT_CATCH_UP_READ_BYTES,
    },
    { what: 'mqtt.max.connections', bytes: settings['mqtt.max.connections'] * CONNECTION_BYTES },
  ];
  for (const link of links.values()) {
    const inFlight = link['max.in.flight.requests.per.connection'] + LINK_READ_AHEAD;
    lines.push({ what: `link ${link.name}`, bytes: inFlight * link['max.request.size'] });
  }
  for (const source of sources.values()) {
    // What is read, and the batches made of it: a record with the line behind it, each once more with its headers.
    const buffer = Math.max(SOURCE_READ_BYTES, 2 * source['record.max.bytes']);
    lines.push({ what: `source ${source.name}`, bytes: 2 * buffer });
  }
  return lines;
}

/** null when it fits. */
export function budgetProblem(config: Budgeted): string | null {
  const lines = memoryBudget(config);
  const sum = lines.reduce((total, { bytes }) => total + bytes, 0);
  const budget = config.settings['memory.budget'];
  if (sum <= budget) return null;
  const mib = (bytes: number) => `${Math.ceil(bytes / MiB)}MiB`;
  const parts = lines.map(({ what, bytes }) => `${what} ${mib(bytes)}`).join(' + ');
  return `${mib(budget)} is less than the ${mib(sum)} that this configuration may use: ${parts}`;
}
