/** The JSON API under /api/v1: a table of method, path and handler. docs/openapi.json describes it. */
import { HeadwaterError } from '../errors.ts';
import type { HttpProviders } from './views.ts';

export interface ApiCall {
  /** The `{}` segments of the path, decoded. */
  readonly path: readonly string[];
  readonly query: URLSearchParams;
  /** Parsed JSON of the request; undefined without a body. */
  readonly body: unknown;
  readonly providers: HttpProviders;
}

export interface ApiRoute {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** Segments after /api/v1, `{}` for one that is free. */
  readonly path: string;
  readonly about: string;
  readonly handle: (call: ApiCall) => unknown;
}

const MESSAGES_MAX = 500;
const CLIENTS_MAX = 1_000;

const invalid = (message: string) => new HeadwaterError('INVALID_REQUEST', message);

export const API: readonly ApiRoute[] = [
  {
    method: 'GET',
    path: 'broker',
    about: 'The broker: identity, listeners, memory, disk.',
    handle: ({ providers }) => providers.broker(),
  },
  {
    method: 'GET',
    path: 'topics',
    about: 'All topics with partitions, offsets, sizes and settings.',
    handle: ({ providers }) => providers.topics(),
  },
  {
    method: 'GET',
    path: 'topics/{}',
    about: 'One topic.',
    handle: async ({ providers, path }) => found(await providers.topics(), path[0]!, ({ name }) => name, 'topic'),
  },
  {
    method: 'GET',
    path: 'topics/{}/messages',
    about:
      'Records of a partition from `offset` (negative: before the end) or `timestamp`, at most `limit`; query also `partition`.',
    handle: ({ providers, path, query }) => {
      const timestamp = query.get('timestamp');
      const from =
        timestamp === null
          ? { offset: integer('offset', query.get('offset') ?? '0', -MESSAGES_MAX, Number.MAX_SAFE_INTEGER) }
          : { timestamp: integer('timestamp', timestamp, 0, 8.64e15) };
      return providers.messages({
        topic: path[0]!,
        partition: integer('partition', query.get('partition') ?? '0', 0, 2_147_483_647),
        from,
        limit: integer('limit', query.get('limit') ?? '50', 1, MESSAGES_MAX),
      });
    },
  },
  {
    method: 'POST',
    path: 'topics',
    about: 'Creates a topic: { name, partitions?, config? }.',
    handle: async ({ providers, body }) => {
      const { name, partitions, config } = object(body, ['name', 'partitions', 'config']);
      if (typeof name !== 'string') throw invalid('name: a topic name is needed');
      const count = partitions === undefined ? -1 : integer('partitions', String(partitions), -1, 4_096);
      await providers.createTopic(name, count, texts(config, false) as Map<string, string>);
      return found(await providers.topics(), name, (topic) => topic.name, 'topic');
    },
  },
  {
    method: 'PATCH',
    path: 'topics/{}',
    about: 'Alters a topic: { partitions?, config? }; null in config removes an override.',
    handle: async ({ providers, path, body }) => {
      const { partitions, config } = object(body, ['partitions', 'config']);
      const count = partitions === undefined ? null : integer('partitions', String(partitions), 1, 4_096);
      await providers.alterTopic(path[0]!, texts(config, true), count);
      return found(await providers.topics(), path[0]!, (topic) => topic.name, 'topic');
    },
  },
  {
    method: 'DELETE',
    path: 'topics/{}',
    about: 'Deletes a topic and its records.',
    handle: async ({ providers, path }) => {
      await providers.deleteTopic(path[0]!);
      return { deleted: path[0] };
    },
  },
  {
    method: 'GET',
    path: 'groups',
    about: 'All consumer groups with offsets and lag.',
    handle: ({ providers }) => providers.groups(),
  },
  {
    method: 'GET',
    path: 'groups/{}',
    about: 'One consumer group.',
    handle: async ({ providers, path }) => found(await providers.groups(), path[0]!, ({ group }) => group, 'group'),
  },
  {
    method: 'POST',
    path: 'groups/{}/offsets',
    about: 'Resets the offsets of a group without members: { topic, to: earliest, latest or an offset }.',
    handle: async ({ providers, path, body }) => {
      const { topic, to } = object(body, ['topic', 'to']);
      if (typeof topic !== 'string') throw invalid('topic: a topic name is needed');
      const position =
        to === 'earliest' || to === 'latest' ? to : integer('to', String(to), 0, Number.MAX_SAFE_INTEGER);
      await providers.resetOffsets(path[0]!, topic, position);
      return found(await providers.groups(), path[0]!, ({ group }) => group, 'group');
    },
  },
  {
    method: 'GET',
    path: 'links',
    about: 'All links with state and backlog.',
    handle: ({ providers }) => providers.links(),
  },
  {
    method: 'POST',
    path: 'links/{}/pause',
    about: 'Pauses a link.',
    handle: ({ providers, path }) => providers.pauseLink(path[0]!, true),
  },
  {
    method: 'POST',
    path: 'links/{}/resume',
    about: 'Resumes a link.',
    handle: ({ providers, path }) => providers.pauseLink(path[0]!, false),
  },
  {
    method: 'GET',
    path: 'clients',
    about: 'Connected MQTT clients, at most `limit`.',
    handle: ({ providers, query }) => providers.clients(integer('limit', query.get('limit') ?? '200', 1, CLIENTS_MAX)),
  },
  {
    method: 'GET',
    path: 'standby',
    about: 'The role of this broker in a pair; null when it is not one of a pair.',
    handle: ({ providers }) => providers.standby(),
  },
  {
    method: 'POST',
    path: 'promote',
    about: 'A follower leads from now on; the old leader is fenced by the leader epoch.',
    handle: ({ providers }) => providers.promote(),
  },
  {
    method: 'POST',
    path: 'reload',
    about: 'Reads configuration, users, rules and certificates again.',
    handle: ({ providers }) => providers.reload(),
  },
];

/** The route of a path under /api/v1 and what its `{}` are; `allow` lists methods when only the method is wrong. */
export function matchApi(
  method: string,
  path: string,
): { readonly route: ApiRoute; readonly path: string[] } | { readonly allow: readonly string[] } {
  const segments = path.split('/');
  const allow: string[] = [];
  for (const route of API) {
    const wanted = route.path.split('/');
    if (wanted.length !== segments.length) continue;
    if (!wanted.every((segment, i) => segment === '{}' || segment === segments[i])) continue;
    const free = segments.filter((_, i) => wanted[i] === '{}');
    if (route.method === method || (method === 'HEAD' && route.method === 'GET'))
      return { route, path: free.map(decode) };
    allow.push(route.method);
  }
  return { allow };
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw invalid(`"${segment}" is not percent-encoded as it should be`);
  }
}

function integer(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || value < min || value > max) {
    throw invalid(`${name}: "${text}" is not a whole number from ${min} to ${max}`);
  }
  return value;
}

function object(body: unknown, allowed: readonly string[]): Record<string, unknown> {
  if (body === null || typeof body !== 'object' || Array.isArray(body)) throw invalid('a JSON object is needed');
  for (const key of Object.keys(body)) {
    if (!allowed.includes(key)) throw invalid(`unknown field "${key}"; allowed: ${allowed.join(', ')}`);
  }
  return body as Record<string, unknown>;
}

function texts(value: unknown, nullable: boolean): Map<string, string | null> {
  const result = new Map<string, string | null>();
  if (value === undefined) return result;
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw invalid('config: must be an object');
  for (const [key, item] of Object.entries(value)) {
    if (item === null && nullable) result.set(key, null);
    else if (typeof item === 'string' || typeof item === 'number') result.set(key, String(item));
    else throw invalid(`config.${key}: must be text or a number${nullable ? ', or null for the default' : ''}`);
  }
  return result;
}

function found<T>(all: readonly T[], name: string, of: (item: T) => string, what: string): T {
  const item = all.find((candidate) => of(candidate) === name);
  if (item === undefined) throw new HeadwaterError('UNKNOWN_TOPIC', `there is no ${what} "${name}"`);
  return item;
}
