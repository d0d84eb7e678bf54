/** Lines of a stream, each bounded, the last one with or without its newline. */
import type { Readable } from 'node:stream';
import { HeadwaterError } from '../errors.ts';

/** A line longer than the largest batch could not be stored anyway. */
const LINE_MAX_CHARS = 4 * 1024 * 1024;

/** The complete lines of what arrived together: what is typed goes out at once, what is piped goes out in batches. */
export async function* lineBatches(stream: Readable): AsyncGenerator<string[]> {
  const decoder = new TextDecoder('utf-8');
  let rest = '';
  for await (const chunk of stream) {
    rest += decoder.decode(chunk as Uint8Array, { stream: true });
    const lines = rest.split('\n');
    rest = lines.pop()!;
    if (rest.length > LINE_MAX_CHARS) {
      throw new HeadwaterError('BATCH_TOO_LARGE', `a line of the input is longer than ${LINE_MAX_CHARS} characters`);
    }
    if (lines.length > 0) yield lines.map(withoutReturn);
  }
  rest += decoder.decode();
  if (rest !== '') yield [withoutReturn(rest)];
}

export async function* linesOf(stream: Readable): AsyncGenerator<string> {
  for await (const lines of lineBatches(stream)) yield* lines;
}

function withoutReturn(line: string): string {
  return line.endsWith('\r') ? line.slice(0, -1) : line;
}
