/** What the rest of the broker sees of the configuration: one frozen object, complete, every value checked. */
import { HeadwaterError } from '../errors.ts';
import type { LinkFields, RouteFields, SourceFields } from './sections.ts';
import type { Settings } from './settings.ts';

export interface Endpoint {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** In the order they are documented. The second of each pair is its TLS form. */
export const LISTENER_NAMES = ['mqtt', 'mqtts', 'ws', 'wss', 'kafka', 'kafkas', 'http', 'https'] as const;
export type ListenerName = (typeof LISTENER_NAMES)[number];
export type Listeners = Readonly<Record<ListenerName, Endpoint | null>>;

export interface TopicSection {
  readonly name: string;
  /** -1: num.partitions. */
  readonly partitions: number;
  readonly acks: '0' | '1' | 'all';
  /** 0 to 9; higher goes upstream first. */
  readonly priority: number;
  readonly 'disk.full': 'drop-oldest' | 'reject';
  /** Topic settings (log/topic-config.ts) as text, checked. */
  readonly config: ReadonlyMap<string, string>;
}

export type RouteSection = RouteFields;

export type LinkSection = LinkFields & { readonly name: string };

export type SourceSection = SourceFields & { readonly name: string };

export interface Config {
  /** The file it came from, absolute; null without one. */
  readonly file: string | null;
  readonly settings: Settings;
  /** null: off. */
  readonly listeners: Listeners;
  /** What clients are told to connect to; null: the address they came to. */
  readonly advertised: Listeners;
  /** Defaults of topic settings, under their topic names: `resolveTopicConfig(overrides, topicDefaults)`. */
  readonly topicDefaults: ReadonlyMap<string, string>;
  readonly topics: ReadonlyMap<string, TopicSection>;
  readonly routes: readonly RouteSection[];
  readonly links: ReadonlyMap<string, LinkSection>;
  readonly sources: ReadonlyMap<string, SourceSection>;
}

/** One mistake: where it is, and in words what is wrong and what is allowed. */
export interface Problem {
  /** `links.cloud.acks`; empty for the file as a whole. */
  readonly path: string;
  /** From 1; null when it did not come from a file. */
  readonly line: number | null;
  /** `config.yaml`, `the environment`, `the command line`. */
  readonly source: string;
  readonly message: string;
}

/** All mistakes of a configuration at once. */
export class ConfigError extends HeadwaterError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super('INVALID_CONFIG', problems.map(describeProblem).join('\n'));
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

export function describeProblem({ path, line, source, message }: Problem): string {
  return `${source}${line === null ? '' : `:${line}`}: ${path === '' ? '' : `${path}: `}${message}`;
}
