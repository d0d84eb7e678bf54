/**
 * The broker's own log, on standard error: JSON lines (pino), readable lines when a person watches, and journald's
 * priorities under systemd. Written synchronously: the last words before a crash are the ones that matter.
 */
import { writeSync } from 'node:fs';
import type { Logger } from '../logger.ts';
import type { Io } from './command.ts';
import { visible } from './table.ts';

const STDERR = 2;
/** Values under these names are never printed, at any depth pino looks. */
const SECRETS = ['password', 'secret', 'token', 'authorization', 'passphrase'];

/** pino's level numbers as syslog's, which journald reads from a `<N>` prefix (sd-daemon(3)). */
const PRIORITY: Readonly<Record<number, number>> = { 10: 7, 20: 7, 30: 6, 40: 4, 50: 3, 60: 2 };
const WORDS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'ERROR',
  60: 'FATAL',
};

export interface ProcessLogger {
  readonly logger: Logger;
  setLevel(level: string): void;
}

export async function openLogger(level: string, io: Pick<Io, 'env' | 'terminal'>): Promise<ProcessLogger> {
  const { pino, stdTimeFunctions, stdSerializers } = await import('pino');
  const format =
    io.env['JOURNAL_STREAM'] !== undefined ? journalLine : io.terminal ? readableLine : (line: string) => line;
  const logger = pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      serializers: { err: stdSerializers.err, error: stdSerializers.err },
      redact: { paths: SECRETS.flatMap((name) => [name, `*.${name}`]), censor: '(secret)' },
    },
    { write: (line: string) => writeAll(format(line)) },
  );
  return {
    logger,
    setLevel(next) {
      logger.level = next;
    },
  };
}

function writeAll(line: string): void {
  const bytes = Buffer.from(line, 'utf8');
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(STDERR, bytes, written);
    } catch (error) {
      // A pipe whose reader is slow or gone must not stop the broker: this line is lost.
      const { code } = error as NodeJS.ErrnoException;
      if (code !== 'EINTR') return;
    }
  }
}

export function journalLine(line: string): string {
  const { level } = JSON.parse(line) as { level: number };
  return `<${PRIORITY[level] ?? 6}>${line}`;
}

/** `12:00:00.000 info  message  name=value ...` */
export function readableLine(line: string): string {
  const { level, time, msg, err, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const clock = String(time).slice(11, 23);
  const rest = Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  const cause = err as { message?: string; stack?: string } | undefined;
  const stack = cause === undefined ? '' : `\n${Number(level) >= 50 ? (cause.stack ?? cause.message) : cause.message}`;
  const text = [clock, (WORDS[Number(level)] ?? '').padEnd(5), visible(String(msg)), ...rest.map(visible)].join(' ');
  return `${text}${stack}\n`;
}
