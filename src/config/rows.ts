/**
 * A setting is a row: name, type, range, default, unit, whether it can change while the broker runs, and what larger and
 * smaller do. The TypeScript type, the parser, the error text and docs/settings.md all come from the row.
 */
import { parseQuantity, UNIT_WORDS } from '../log/topic-config.ts';

interface RowBase {
  readonly name: string;
  /** Applied by SIGHUP and `headwater reload`; otherwise a restart is needed. */
  readonly runtime: boolean;
  readonly doc: string;
  /** Must be given (sections only). */
  readonly required?: true;
}

interface NumberRow extends RowBase {
  /** `bytes` and `ms` take units (`512MiB`, `7d`). */
  readonly kind: 'integer' | 'bytes' | 'ms';
  readonly min: number;
  readonly max: number;
  readonly default: number | null;
  /** Shown in the reference instead of nothing, for plain integers. */
  readonly unit?: string;
}

interface BooleanRow extends RowBase {
  readonly kind: 'boolean';
  readonly default: boolean;
}

interface ChoiceRow extends RowBase {
  readonly kind: 'choice';
  readonly choices: readonly string[];
  readonly default: string | null;
}

interface TextRow extends RowBase {
  /** `path`: relative ones in a file are relative to that file. `secret`: never shown again. */
  readonly kind: 'string' | 'path' | 'secret';
  readonly pattern?: RegExp;
  /** The pattern in words. */
  readonly allowed?: string;
  readonly default: string | null;
}

interface ListRow extends RowBase {
  /** A YAML list, or text separated by commas. */
  readonly kind: 'list';
  readonly choices?: readonly string[];
  readonly default: readonly string[];
}

export type Row = NumberRow | BooleanRow | ChoiceRow | TextRow | ListRow;

type Present<R extends Row> = R extends { kind: 'boolean' }
  ? boolean
  : R extends { kind: 'integer' | 'bytes' | 'ms' }
    ? number
    : R extends { kind: 'choice'; choices: infer C extends readonly string[] }
      ? C[number]
      : R extends { kind: 'list' }
        ? readonly string[]
        : string;

/** The type of a row's value: null when the default is null and the row is not required. */
export type ValueOf<R extends Row> =
  | Present<R>
  | (R extends { required: true } ? never : R extends { default: null } ? null : never);

/** The object that a table of rows describes. */
export type Values<Rows extends readonly Row[]> = {
  readonly [R in Rows[number] as R['name']]: ValueOf<R>;
};

export type Value = string | number | boolean | readonly string[] | null;

/** A value, or what is wrong with it in words that name what is allowed. */
export type Parsed = { readonly value: Value } | { readonly problem: string };

const UNIT_HINT = { ...UNIT_WORDS, integer: '' };

/** What a row accepts, in words; used in errors and in the reference. */
export function allowedWords(row: Row): string {
  switch (row.kind) {
    case 'boolean':
      return 'true or false';
    case 'choice':
      return `one of ${row.choices.join(', ')}`;
    case 'list':
      return row.choices === undefined ? 'a list' : `a list of ${row.choices.join(', ')}`;
    case 'integer':
    case 'bytes':
    case 'ms':
      return `a whole number from ${row.min} to ${row.max === Number.MAX_SAFE_INTEGER ? '2^53-1' : row.max}${UNIT_HINT[row.kind]}`;
    default:
      return row.allowed ?? (row.kind === 'path' ? 'a path' : 'text');
  }
}

function show(raw: unknown): string {
  if (typeof raw === 'string') return `"${raw.length > 80 ? `${raw.slice(0, 77)}...` : raw}"`;
  if (Array.isArray(raw)) return 'a list';
  if (raw !== null && typeof raw === 'object') return 'a map';
  return String(raw);
}

function parseNumber(row: NumberRow, raw: unknown): number | null {
  if (typeof raw === 'number') return Number.isSafeInteger(raw) ? raw : null;
  if (typeof raw !== 'string') return null;
  return row.kind === 'integer' ? parseQuantity(raw) : parseQuantity(raw, row.kind);
}

/** `raw` is a YAML scalar or list, or the text of a flag or an environment variable. */
export function parseRow(row: Row, raw: unknown): Parsed {
  const refuse = (): Parsed => ({
    problem: `${row.kind === 'secret' ? 'this value' : show(raw)} is not ${allowedWords(row)}`,
  });
  switch (row.kind) {
    case 'boolean':
      if (typeof raw === 'boolean') return { value: raw };
      if (raw === 'true' || raw === 'false') return { value: raw === 'true' };
      return refuse();
    case 'integer':
    case 'bytes':
    case 'ms': {
      const value = parseNumber(row, raw);
      return value === null || value < row.min || value > row.max ? refuse() : { value };
    }
    case 'choice': {
      const text = typeof raw === 'number' || typeof raw === 'boolean' ? String(raw) : raw;
      return typeof text === 'string' && row.choices.includes(text) ? { value: text } : refuse();
    }
    case 'list': {
      const items = Array.isArray(raw) ? raw : typeof raw === 'string' ? raw.split(',') : [raw];
      const texts: string[] = [];
      for (const item of items) {
        if (typeof item !== 'string' && typeof item !== 'number') return refuse();
        const text = String(item).trim();
        if (text === '' && items.length === 1) return { value: Object.freeze([]) };
        if (text === '' || (row.choices !== undefined && !row.choices.includes(text))) {
          return {
            problem: `${show(text)} is not ${row.choices === undefined ? 'a name' : `one of ${row.choices.join(', ')}`}`,
          };
        }
        if (texts.includes(text)) return { problem: `${show(text)} is listed twice` };
        texts.push(text);
      }
      return { value: Object.freeze(texts) };
    }
    default: {
      const text = typeof raw === 'number' || typeof raw === 'boolean' ? String(raw) : raw;
      if (typeof text !== 'string' || text === '') return refuse();
      return row.pattern === undefined || row.pattern.test(text) ? { value: text } : refuse();
    }
  }
}
