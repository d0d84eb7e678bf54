/** Lines of a stream as the bytes they are, each bounded, the last one with or without its newline. */
import type { Readable } from 'node:stream';
import { HeadwaterError } from '../errors.ts';

/** A line longer than the largest batch could not be stored anyway. */
const LINE_MAX_BYTES = 4 * 1024 * 1024;

const NEWLINE = 0x0a;
const RETURN = 0x0d;

/**
 * The complete lines of what arrived together: what is typed goes out at once, what is piped goes out in batches.
 * Bytes, not text: a record may be anything, and what is not UTF-8 would be stored as something else. Ends when
 * `stopping` aborts, also while it waits for somebody to type; the line that has begun is not given out then.
 */
export async function* lineBatches(stream: Readable, stopping?: AbortSignal): AsyncGenerator<Buffer[]> {
  // Parts of one line, joined when it ends: joining at every chunk would copy a long line again and again.
  let parts: Buffer[] = [];
  let size = 0;
  const chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  for (;;) {
    const next = await nextUnless(chunks, stopping);
    if (next === null) return;
    if (next.done === true) break;
    const bytes = Buffer.from(next.value);
    const lines: Buffer[] = [];
    let from = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
      lines.push(withoutReturn(Buffer.concat([...parts, bytes.subarray(from, end)])));
      parts = [];
      size = 0;
      from = end + 1;
    }
    if (from < bytes.length) parts.push(bytes.subarray(from));
    size += bytes.length - from;
    if (size > LINE_MAX_BYTES) {
      throw new HeadwaterError('BATCH_TOO_LARGE', `a line of the input is longer than ${LINE_MAX_BYTES} bytes`);
    }
    if (lines.length > 0) yield lines;
  }
  if (size > 0) yield [withoutReturn(Buffer.concat(parts))];
}

export async function* linesOf(stream: Readable, stopping?: AbortSignal): AsyncGenerator<Buffer> {
  for await (const lines of lineBatches(stream, stopping)) yield* lines;
}

/**
 * The next chunk; null when `stopping` aborts first. A race against one promise that waits for the abort would keep a reaction,
 * and with it the chunk, for every chunk of the input: here nothing is left when the wait is over.
 */
function nextUnless<T>(chunks: AsyncIterator<T>, stopping?: AbortSignal): Promise<IteratorResult<T> | null> {
  if (stopping === undefined) return chunks.next();
  if (stopping.aborted) return Promise.resolve(null);
  return new Promise((resolve, reject) => {
    const stop = () => resolve(null);
    stopping.addEventListener('abort', stop, { once: true });
    chunks
      .next()
      .then(resolve, reject)
      .finally(() => stopping.removeEventListener('abort', stop));
  });
}

function withoutReturn(line: Buffer): Buffer {
  return line.at(-1) === RETURN ? line.subarray(0, -1) : line;
}
