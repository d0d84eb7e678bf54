/**
 * Routes: which log topic and key an MQTT topic has. First match wins; what no route matches goes to the catch-all topic
 * with the MQTT topic as its key. Templates: `{topic}`, `{client}`, `{1}` (what the first + of the filter matched; # is
 * the last one), and literal text.
 */
import { HeadwaterError } from '../errors.ts';
import { covers, type Levels, matches, overlaps, parseFilter, parseTopicName } from './topic-filter.ts';

export interface RouteOptions {
  /** MQTT topic filter. */
  readonly mqtt: string;
  /** Log topic. */
  readonly topic: string;
  /** Key template; default `{topic}`. */
  readonly key?: string;
  /** 0: acknowledged on receipt; 1 (default): after the local synced write; all: after every in-sync replica. */
  readonly acks?: 0 | 1 | 'all';
  /** false: live only, nothing is stored. */
  readonly store?: boolean;
}

type Part =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'topic' }
  | { readonly kind: 'client' }
  | { readonly kind: 'capture'; readonly index: number };

export class Route {
  readonly filter: string;
  readonly levels: Levels;
  readonly topicName: string;
  readonly acks: 0 | 1 | 'all';
  readonly store: boolean;
  /** The key is the MQTT topic itself: no header is needed to find it again. */
  readonly keyIsTopic: boolean;
  readonly usesClient: boolean;
  /** Two routes with the same text find the same MQTT topic for a record. */
  readonly readsAs: string;
  readonly #parts: readonly Part[];
  readonly #wildcards: readonly number[];

  constructor(options: RouteOptions) {
    this.filter = options.mqtt;
    try {
      this.levels = parseFilter(options.mqtt);
    } catch (error) {
      throw new HeadwaterError('INVALID_CONFIG', `routes: ${(error as Error).message}`, { cause: error });
    }
    this.topicName = options.topic;
    this.acks = options.acks ?? 1;
    this.store = options.store ?? true;
    this.#wildcards = this.levels.flatMap((level, i) => (level === '+' || level === '#' ? [i] : []));
    this.#parts = this.#parse(options.key ?? '{topic}');
    this.keyIsTopic = this.#parts.length === 1 && this.#parts[0]!.kind === 'topic';
    this.readsAs = JSON.stringify([options.mqtt, options.topic, options.key ?? '{topic}', this.store]);
    this.usesClient = this.#parts.some((part) => part.kind === 'client');
  }

  #parse(template: string): Part[] {
    const parts: Part[] = [];
    for (const piece of template.split(/(\{[^{}]*\})/)) {
      if (piece === '') continue;
      if (piece === '{topic}') parts.push({ kind: 'topic' });
      else if (piece === '{client}') parts.push({ kind: 'client' });
      else if (/^\{\d+\}$/.test(piece)) {
        const index = Number(piece.slice(1, -1)) - 1;
        if (index < 0 || index >= this.#wildcards.length) {
          throw this.#bad(`key "${template}": ${piece}, but the filter has ${this.#wildcards.length} wildcards`);
        }
        parts.push({ kind: 'capture', index });
      } else if (/[{}]/.test(piece)) {
        throw this.#bad(`key "${template}": ${piece} is not one of {topic}, {client}, {1}, {2}, ...`);
      } else parts.push({ kind: 'text', text: piece });
    }
    if (parts.length === 0) throw this.#bad('the key template is empty');
    return parts;
  }

  #bad(why: string): HeadwaterError {
    return new HeadwaterError('INVALID_CONFIG', `routes: ${this.filter}: ${why}`);
  }

  keyOf(topic: string, levels: Levels, clientId: string): string {
    if (this.keyIsTopic) return topic;
    return this.#parts
      .map((part) => {
        if (part.kind === 'text') return part.text;
        if (part.kind === 'topic') return topic;
        if (part.kind === 'client') return clientId;
        const at = this.#wildcards[part.index]!;
        return this.levels[at] === '#' ? levels.slice(at).join('/') : (levels[at] ?? '');
      })
      .join('');
  }

  /**
   * The MQTT topic of a record that came without the `mqtt.topic` header (a Kafka producer's): the key itself, or the
   * filter filled in when the key template is its only wildcard. Null when it cannot be told.
   */
  topicOf(key: string): string | null {
    let topic: string | null = null;
    const [part] = this.#parts;
    if (this.keyIsTopic) topic = key;
    else if (this.#parts.length === 1 && part!.kind === 'capture' && this.#wildcards.length === 1) {
      topic = this.levels.map((level) => (level === '+' || level === '#' ? key : level)).join('/');
    }
    if (topic === null) return null;
    try {
      return matches(this.levels, parseTopicName(topic)) ? topic : null;
    } catch {
      return null;
    }
  }
}

export class RouteTable {
  #routes: readonly Route[];
  /** Replaced while the broker ran: nothing is stored by them any more, but what was still reaches its subscribers. */
  #former: readonly Route[] = [];
  /** Log topics whose records may be for MQTT subscribers. */
  #read: ReadonlySet<string>;
  /** The last one: every topic that no other route takes, those beginning with $ too. */
  readonly catchAll: Route;

  constructor(rules: readonly RouteOptions[], catchAllTopic: string) {
    this.catchAll = new Route({ mqtt: '#', topic: catchAllTopic });
    this.#routes = [...rules.map((rule) => new Route(rule)), this.catchAll];
    this.#read = this.storedTopics();
  }

  get routes(): readonly Route[] {
    return this.#routes;
  }

  /** New routes from here on. Throws INVALID_CONFIG, and changes nothing, for one that cannot be. */
  replace(rules: readonly RouteOptions[]): void {
    const routes = [...rules.map((rule) => new Route(rule)), this.catchAll];
    const now = new Set(routes.map((route) => route.readsAs));
    const former = new Map<string, Route>();
    for (const route of [...this.#routes, ...this.#former]) {
      if (route.store && !now.has(route.readsAs)) former.set(route.readsAs, route);
    }
    this.#routes = routes;
    this.#former = [...former.values()];
    this.#read = new Set([...this.storedTopics(), ...this.#former.map((route) => route.topicName)]);
  }

  find(levels: Levels): Route {
    for (const route of this.#routes) if (matches(route.levels, levels)) return route;
    return this.catchAll;
  }

  /** Log topics in which records matching the filter may be stored. */
  topicsFor(filter: Levels): Set<string> {
    const names = new Set<string>();
    for (const route of this.#routes) {
      if (route !== this.catchAll && !overlaps(route.levels, filter)) continue;
      if (route.store) names.add(route.topicName);
      if (covers(route.levels, filter)) break;
    }
    for (const route of this.#former) if (overlaps(route.levels, filter)) names.add(route.topicName);
    return names;
  }

  /** Names of all log topics that must exist. */
  storedTopics(): Set<string> {
    return new Set(this.#routes.filter((route) => route.store).map((route) => route.topicName));
  }

  get readTopics(): ReadonlySet<string> {
    return this.#read;
  }

  /** Whether records of this log topic may be for MQTT subscribers. */
  isRead(topicName: string): boolean {
    return this.#read.has(topicName);
  }

  /** MQTT topic of a record in `topicName` that carries no `mqtt.topic` header; null: it is not for MQTT. */
  topicOf(topicName: string, key: string): string | null {
    return topicIn(this.#routes, topicName, key) ?? topicIn(this.#former, topicName, key);
  }
}

function topicIn(routes: readonly Route[], topicName: string, key: string): string | null {
  for (const route of routes) {
    if (route.topicName !== topicName || !route.store) continue;
    const topic = route.topicOf(key);
    if (topic !== null) return topic;
  }
  return null;
}
