/** What the demo shows: a block redrawn in place on a terminal, a line now and then elsewhere. */
import type { WriteStream } from 'node:tty';

export interface Row {
  readonly name: string;
  readonly records: number | null;
  readonly perSecond: number | null;
  /** Free text behind the numbers. */
  readonly detail: string;
}

export interface Picture {
  readonly seconds: number;
  readonly phase: string;
  /** Whether the phase is one to worry about. */
  readonly alarm: boolean;
  readonly rows: readonly Row[];
  /** Latest readings, decoded. */
  readonly readings: readonly string[];
}

const ESC = '\x1b[';

export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly #live: boolean;
  readonly #colour: boolean;
  #drawn = 0;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
    this.#live = out.isTTY === true;
    this.#colour = this.#live && process.env['NO_COLOR'] === undefined;
    if (this.#live) out.write(`${ESC}?25l`);
  }

  /** Whether pictures replace each other; if not, they should come rarely. */
  get live(): boolean {
    return this.#live;
  }

  show(picture: Picture): void {
    if (this.#live) this.#redraw(this.#block(picture));
    else this.#out.write(`${oneLine(picture)}\n`);
  }

  /** A line that stays, above the next picture. */
  say(text: string, mood: 'plain' | 'good' | 'bad' = 'plain'): void {
    this.#erase();
    this.#out.write(`${this.#paint(text, mood === 'good' ? '32' : mood === 'bad' ? '31' : '')}\n`);
  }

  /** The last picture stays where it is; what follows comes below. */
  keep(): void {
    this.#drawn = 0;
  }

  close(): void {
    if (this.#live) this.#out.write(`${ESC}?25h`);
  }

  #block({ seconds, phase, alarm, rows, readings }: Picture): string[] {
    const columns = (this.#out as WriteStream).columns ?? 80;
    const clipped = (line: string) => (line.length > columns - 1 ? `${line.slice(0, columns - 2)}…` : line);
    const lines = [clipped(`${seconds.toFixed(1).padStart(5)} s  ${phase}`)];
    lines[0] = this.#paint(lines[0]!, alarm ? '1;31' : '1;32');
    lines.push(this.#paint(clipped(`        ${'records'.padStart(19)}${'per second'.padStart(12)}`), '2'));
    for (const { name, records, perSecond, detail } of rows) {
      const numbers = `${number(records).padStart(10)}${number(perSecond).padStart(12)}`;
      lines.push(clipped(`  ${name.padEnd(15)}${numbers}   ${detail}`));
    }
    lines.push('');
    for (const reading of readings) lines.push(this.#paint(clipped(`  ${reading}`), '2'));
    return lines;
  }

  #redraw(lines: readonly string[]): void {
    this.#erase();
    this.#out.write(`${lines.join('\n')}\n`);
    this.#drawn = lines.length;
  }

  #erase(): void {
    if (this.#drawn > 0) this.#out.write(`${ESC}${this.#drawn}A${ESC}0J`);
    this.#drawn = 0;
  }

  #paint(text: string, code: string): string {
    return this.#colour && code !== '' ? `${ESC}${code}m${text}${ESC}0m` : text;
  }
}

function number(value: number | null): string {
  return value === null ? '-' : Math.round(value).toLocaleString('en');
}

function oneLine({ seconds, phase, rows }: Picture): string {
  const cells = rows.map(({ name, records, perSecond }) => {
    const rate = perSecond === null ? '' : ` (${number(perSecond)}/s)`;
    return `${name} ${number(records)}${rate}`;
  });
  return `${seconds.toFixed(1).padStart(5)} s  ${phase}: ${cells.join(', ')}`;
}
