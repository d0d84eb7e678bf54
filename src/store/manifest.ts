/**
 * Which tables a LevelDB database consists of, by its MANIFEST. Others may lie beside them: a table that was being written
 * when the process died is none yet, LevelDB removes it, and it is nobody's damage.
 *
 *   file   = 32-KiB pages of fragments; less than 7 bytes at the end of a page are padding
 *   frag   = masked crc32c u32 of type and data | length u16 | type u8 (1 whole, 2 first, 3 middle, 4 last) | data
 *   record = edit*, each: tag varint | 1 comparator string | 2 log, 3 next file, 4 last sequence, 9 previous log: varint
 *            | 5 level varint, key string | 6 level, file (a table is gone) | 7 level, file, size, smallest, largest
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32c } from '../wire/batch/crc32c.ts';
import { Damage, unmask, varint } from './table-check.ts';

const PAGE_BYTES = 32 * 1024;
const HEADER_BYTES = 7;
const WHOLE = 1;
const FIRST = 2;
const LAST = 4;

/** The records, up to the first that is not whole: LevelDB, too, takes that for the end. Throws Damage. */
function* records(bytes: Buffer): IterableIterator<Buffer> {
  let parts: Buffer[] = [];
  for (let at = 0; at + HEADER_BYTES <= bytes.length; ) {
    const left = PAGE_BYTES - (at % PAGE_BYTES);
    if (left < HEADER_BYTES) {
      at += left;
      continue;
    }
    const length = bytes.readUInt16LE(at + 4);
    const type = bytes[at + 6]!;
    const end = at + HEADER_BYTES + length;
    // Cut off, or space that the file system gave and nothing was written to.
    if (end > bytes.length || (type === 0 && length === 0)) return;
    if (length > left - HEADER_BYTES || type < WHOLE || type > LAST) throw new Damage(`no fragment at ${at}`);
    if (crc32c(bytes, at + 6, end) !== unmask(bytes.readUInt32LE(at))) throw new Damage(`a checksum at ${at}`);
    if (type === WHOLE || type === FIRST) parts = [];
    parts.push(bytes.subarray(at + HEADER_BYTES, end));
    if (type === WHOLE || type === LAST) yield Buffer.concat(parts);
    at = end;
  }
}

function applyEdits(record: Buffer, live: Map<number, number>): void {
  let at = 0;
  const number = () => {
    const [value, next] = varint(record, at);
    at = next;
    return value;
  };
  const string = () => {
    const length = number();
    at += length;
  };
  while (at < record.length) {
    const tag = number();
    switch (tag) {
      case 1:
        string();
        break;
      case 2:
      case 3:
      case 4:
      case 9:
        number();
        break;
      case 5:
        number();
        string();
        break;
      case 6:
        number();
        live.delete(number());
        break;
      case 7: {
        number();
        const file = number();
        live.set(file, number());
        string();
        string();
        break;
      }
      default:
        throw new Damage(`an edit of kind ${tag}`);
    }
  }
  if (at > record.length) throw new Damage('an edit reaches beyond its record');
}

/** The live tables: file number and bytes; null where the MANIFEST does not say: there is none, or it is damaged. */
export async function liveTables(directory: string): Promise<ReadonlyMap<number, number> | null> {
  try {
    const name = (await readFile(join(directory, 'CURRENT'), 'latin1')).trim();
    if (!/^MANIFEST-\d+$/.test(name)) return null;
    const live = new Map<number, number>();
    for (const record of records(await readFile(join(directory, name)))) applyEdits(record, live);
    return live;
  } catch {
    return null;
  }
}
