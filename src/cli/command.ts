/** What a command of the command line is, and the few things every one of them does the same way. */
import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { suggest } from '../config/suggest.ts';
import { unreadable } from '../config/unreadable.ts';
import { HeadwaterError } from '../errors.ts';

/** The process as a command sees it; tests hand in their own. */
export interface Io {
  /** Resolves when the reader is ready for more; rejects with EPIPE when it is gone. */
  write(text: string | Uint8Array): Promise<void>;
  error(text: string): void;
  readonly stdin: Readable;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether a person reads the output. */
  readonly terminal: boolean;
  /** Aborted by Ctrl-C and SIGTERM: finish what is begun and return. */
  readonly stopping: AbortSignal;
  readonly version: string;
}

/** Resolves with the exit status. */
export type Command = (args: readonly string[], io: Io) => Promise<number>;

export interface CommandModule {
  readonly usage: string;
  readonly run: Command;
}

/** Exit statuses. 78 is EX_CONFIG of sysexits.h: the service manager does not try again. */
export const EXIT = { ok: 0, failed: 1, usage: 2, config: 78 } as const;

/** The command line itself is wrong. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export const DEFAULT_BOOTSTRAP = '127.0.0.1:9092';
export const DEFAULT_HTTP = '127.0.0.1:8080';
export const DEFAULT_MQTT = '127.0.0.1:1883';

type Options = NonNullable<ParseArgsConfig['options']>;

/** node:util's parseArgs with its errors as UsageErrors. */
export function parse<const O extends Options>(args: readonly string[], options: O) {
  try {
    return parseArgs({ args: withNegativeValues(args, options), options, allowPositionals: true, strict: true });
  } catch (error) {
    throw new UsageError(wrongUsage(error as NodeJS.ErrnoException, options));
  }
}

/** What node:util has against the words, in one line. */
function wrongUsage({ code, message }: NodeJS.ErrnoException, options: Options): string {
  const [reason = message] = message.split(/\. To specify|\n/);
  const unknown = code === 'ERR_PARSE_ARGS_UNKNOWN_OPTION' ? /'(--?([^']+))'/.exec(reason) : null;
  if (unknown === null) return reason;
  const near = nearestOption(unknown[2]!, Object.keys(options));
  return `there is no option ${unknown[1]}${near === null ? '' : `; did you mean --${near}?`}`;
}

/** Also the name that this one goes on from: Kafka's tools say --bootstrap-server where ours say --bootstrap. */
function nearestOption(name: string, known: readonly string[]): string | null {
  return suggest(name, known) ?? known.find((option) => name.startsWith(`${option}-`)) ?? null;
}

/** `--offset -5` as `--offset=-5`: no option of ours begins with a digit, so a word that does is the value. */
function withNegativeValues(args: readonly string[], options: Options): string[] {
  const words: string[] = [];
  for (const word of args) {
    const before = words.at(-1);
    const name = optionName(before, options);
    if (name !== null && options[name]!.type === 'string' && /^-\d/.test(word)) {
      words[words.length - 1] = `--${name}=${word}`;
    } else words.push(word);
  }
  return words;
}

function optionName(word: string | undefined, options: Options): string | null {
  if (word?.startsWith('--') === true) return Object.hasOwn(options, word.slice(2)) ? word.slice(2) : null;
  return Object.keys(options).find((name) => `-${options[name]!.short}` === word) ?? null;
}

/** A whole number from an option. */
export function integerOption(name: string, text: string | undefined, min: number, max: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^-?\d+$/.test(text) || value < min || value > max) {
    const top = max === Number.MAX_SAFE_INTEGER ? '2^53-1' : max;
    const bottom = min === -Number.MAX_SAFE_INTEGER ? '-(2^53-1)' : min;
    throw new UsageError(`--${name}: "${text}" is not a whole number from ${bottom} to ${top}`);
  }
  return value;
}

/** The file of an option such as --ca. */
export async function fileOption(name: string, file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new UsageError(`--${name}: ${file}: ${unreadable(error)}`);
  }
}

/** `name=value` as given to --config. */
export function pairOption(name: string, text: string): [string, string] {
  const equals = text.indexOf('=');
  if (equals < 1) throw new UsageError(`--${name}: "${text}" is not NAME=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/** The one positional argument a command asks for. */
export function onePositional(positionals: readonly string[], what: string): string {
  if (positionals.length !== 1) {
    const found = positionals.length === 0 ? 'none is given' : `${positionals.length} are given`;
    throw new UsageError(`one ${what} is needed; ${found}`);
  }
  return positionals[0]!;
}

/** The reason of a failure in one line, without a stack. */
export function reasonOf(error: unknown): string {
  if (error instanceof HeadwaterError) return refusedOf(error.cause) ?? error.message;
  if (error instanceof AggregateError && error.errors.length > 0) return reasonOf(error.errors[0]);
  const refused = refusedOf(error);
  if (refused !== null) return refused;
  const { code, message, syscall } = error as NodeJS.ErrnoException;
  const { address, port } = error as { address?: string; port?: number };
  if (code === 'EADDRINUSE') return `${address}:${port} is taken by another process; stop it, or listen elsewhere`;
  if (code === 'EACCES' && syscall === 'listen')
    return `this user may not listen on ${address}:${port}; ports below 1024 are the system's`;
  if (syscall === 'getaddrinfo') return `the host name cannot be resolved: ${message}`;
  return message || String(error);
}

function refusedOf(error: unknown): string | null {
  const { code, address, port } = (error ?? {}) as { code?: string; address?: string; port?: number };
  return code === 'ECONNREFUSED' && address !== undefined
    ? `nothing listens on ${address}:${port}; is the broker running?`
    : null;
}
