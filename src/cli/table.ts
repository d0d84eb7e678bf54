/** Tables, sizes and times for people. */

export interface Column<T> {
  readonly head: string;
  readonly of: (row: T) => string | number | null | undefined;
  /** Numbers are set to the right. */
  readonly right?: boolean;
}

/** Columns two spaces apart, as wide as their widest cell. Empty without rows but for the heads. */
export function table<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
  const cells = [
    columns.map(({ head }) => head),
    ...rows.map((row) => columns.map(({ of }) => visible(String(of(row) ?? '-')))),
  ];
  const widths = columns.map((_, c) => Math.max(...cells.map((line) => width(line[c]!))));
  const lines = cells.map((line) =>
    line
      .map((cell, c) => {
        const gap = ' '.repeat(widths[c]! - width(cell));
        return columns[c]!.right ? gap + cell : cell + gap;
      })
      .join('  ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

/** Code points: good enough for names; topic and group names are ASCII. */
function width(text: string): number {
  return text.length < 1 ? 0 : [...text].length;
}

/** Control characters would let a record's content drive the terminal. */
export function visible(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** "1 topic", "2 topics". */
export function count(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? '' : 's'}`;
}

/** 1536 -> "1.5 KiB". */
export function bytes(value: number | null): string {
  if (value === null) return '-';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let rest = value;
  while (Math.abs(rest) >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit++;
  }
  return unit === 0 ? `${rest} B` : `${rest.toFixed(rest < 10 ? 1 : 0)} ${units[unit]}`;
}

/** Milliseconds -> "3d 4h", "12m 5s", "0.8s": the two largest units. */
export function duration(ms: number | null): string {
  if (ms === null) return '-';
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)}s`;
  const units: readonly (readonly [string, number])[] = [
    ['d', 86_400],
    ['h', 3_600],
    ['m', 60],
    ['s', 1],
  ];
  let rest = Math.round(ms / 1_000);
  const parts: string[] = [];
  for (const [unit, seconds] of units) {
    const count = Math.floor(rest / seconds);
    rest -= count * seconds;
    if (count > 0 && parts.length < 2) parts.push(`${count}${unit}`);
    else if (parts.length > 0) break;
  }
  return parts.join(' ');
}

/** ISO time with the milliseconds, or "-" for a record without one. */
export function time(ms: number): string {
  return ms < 0 || ms > 8.64e15 ? '-' : new Date(ms).toISOString();
}

/** One JSON value a line: what `--json` prints for streams; lists are one array. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? String(item) : item))}\n`;
}
