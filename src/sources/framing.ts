/**
 * Records in the bytes of a file. A record's end is a function of the bytes from its start on, of the framing and of the
 * cuts, and of nothing else (not of when something was read): after a crash the same bytes give the same records.
 */
export interface Framing {
  /** A line that matches begins a record, lines that do not belong to it; null: every line is a record. */
  readonly start: RegExp | null;
  /** A record is cut after so many bytes, its last line ending not counted. */
  readonly maxBytes: number;
}

export interface Frame {
  /** Positions in the file: of the first byte, and after the last with its line ending. */
  readonly start: number;
  readonly end: number;
  /** A view of the buffer: without the line ending at its end. */
  readonly value: Uint8Array;
}

export interface Framed {
  readonly frames: readonly Frame[];
  /** Where the first incomplete record begins; the end of what was given when there is none. */
  readonly next: number;
  /** After the last whole line of that incomplete record; `next` when it has none. */
  readonly wholeLines: number;
  /** Records that were cut at `maxBytes`. */
  readonly cut: number;
}

const NEWLINE = 0x0a;
const RETURN = 0x0d;
/** The start pattern sees so much of a line. */
const PATTERN_BYTES = 1_024;

/** Room for a record of any allowed length and the line behind it, which decides whether the record is over. */
export function bufferBytes(maxBytes: number): number {
  return 2 * maxBytes + 4;
}

/** A line, or as much of one as a record may hold. */
interface Piece {
  /** After it, its line ending included. */
  readonly end: number;
  /** Ends because it is too long, not with the line. */
  readonly cut: boolean;
}

/** null: its end is not among the bytes. */
function pieceAt(bytes: Uint8Array, at: number, maxBytes: number): Piece | null {
  const newline = bytes.subarray(at, at + maxBytes + 1).indexOf(NEWLINE);
  if (newline >= 0) return { end: at + newline + 1, cut: false };
  return bytes.length - at > maxBytes ? { end: at + maxBytes, cut: true } : null;
}

function isStart(bytes: Uint8Array, at: number, end: number, start: RegExp): boolean {
  const line = bytes.subarray(at, Math.min(withoutEnding(bytes, at, end), at + PATTERN_BYTES));
  return start.test(Buffer.from(line.buffer, line.byteOffset, line.length).toString('utf8'));
}

function withoutEnding(bytes: Uint8Array, from: number, end: number): number {
  if (end > from && bytes[end - 1] === NEWLINE) {
    return end - 1 > from && bytes[end - 2] === RETURN ? end - 2 : end - 1;
  }
  return end;
}

interface RecordEnd {
  /** -1: not known yet. */
  readonly end: number;
  readonly wholeLines: number;
  readonly cut: boolean;
}

function recordEnd(bytes: Uint8Array, from: number, { start, maxBytes }: Framing): RecordEnd {
  const first = pieceAt(bytes, from, maxBytes);
  if (first === null) return { end: -1, wholeLines: from, cut: false };
  if (start === null || first.cut) return { end: first.end, wholeLines: first.end, cut: first.cut };
  let end = first.end;
  for (;;) {
    const next = pieceAt(bytes, end, maxBytes);
    if (next === null) return { end: -1, wholeLines: end, cut: false };
    if (isStart(bytes, end, next.end, start)) return { end, wholeLines: end, cut: false };
    if (withoutEnding(bytes, end, next.end) - from > maxBytes) return { end, wholeLines: end, cut: true };
    end = next.end;
  }
}

/**
 * `bytes` are those of the file from `base` on. `cuts`: positions where a record ends whatever follows, ascending; they
 * were decided (and stored) when nothing more seemed to come.
 */
export function frame(bytes: Uint8Array, base: number, framing: Framing, cuts: readonly number[]): Framed {
  const frames: Frame[] = [];
  let at = 0;
  let cut = 0;
  while (at < bytes.length) {
    // Up to the next cut it is as if the file ended there: so it was when the cut was decided.
    const forced = cuts.find((position) => position > base + at);
    const known = forced === undefined ? bytes.length : Math.min(bytes.length, forced - base);
    const found = recordEnd(bytes.subarray(0, known), at, framing);
    let { end } = found;
    if (end < 0 && forced === base + known) {
      const tooLong = withoutEnding(bytes, at, known) - at > framing.maxBytes;
      end = tooLong && found.wholeLines > at ? found.wholeLines : known;
    }
    if (end < 0) return { frames, next: base + at, wholeLines: base + found.wholeLines, cut };
    if (found.cut) cut++;
    frames.push({ start: base + at, end: base + end, value: bytes.subarray(at, withoutEnding(bytes, at, end)) });
    at = end;
  }
  return { frames, next: base + at, wholeLines: base + at, cut };
}
