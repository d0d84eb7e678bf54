/**
 * How big a slice gets: 16 MB, or an eighth of what retention keeps, so that space comes back in small steps. LevelDB maps
 * the tables of the slice that is written into memory, and what a reader has touched counts as resident; a start verifies
 * them. Sealed ones are read without LevelDB and map nothing, but each costs memory for every partition in it
 * (segments.ts): where much is stored slices are bigger, so that in time there are no more than 512.
 */
const SLICE_BYTES = 16 * 1024 * 1024;
const SLICE_MIN_BYTES = 4 * 1024 * 1024;
const SLICE_MAX_BYTES = 64 * 1024 * 1024;
const SLICES_WANTED = 512;

/**
 * `retainedBytes`: what retention keeps in total (log.retention.total.bytes, or the free disk); Infinity: no bound.
 * `storedBytes`: what there is now.
 */
export function sliceBytes(retainedBytes: number, storedBytes: number): number {
  const few = Math.min(SLICE_MAX_BYTES, Math.max(SLICE_BYTES, Math.ceil(storedBytes / SLICES_WANTED)));
  return Math.max(SLICE_MIN_BYTES, Math.min(few, Math.floor(retainedBytes / 8)));
}

/** Share of LevelDB's write buffer that a chunk may fill, so that the memtable is forced out by us and never by LevelDB. */
const CHUNK_SHARE = 0.87;
/** Above this share the commit at hand becomes the chunk's last: its metadata record then needs no synced write of its own. */
const CHUNK_CLOSING_SHARE = 0.75;
/** Memtable bytes beside key and value, per entry. */
const ENTRY_OVERHEAD_BYTES = 64;

export interface ChunkFill {
  readonly bytes: number;
  readonly entries: number;
}

function memtableBytes(fill: ChunkFill): number {
  return fill.bytes + fill.entries * ENTRY_OVERHEAD_BYTES;
}

/** Whether a commit of this size must go into a new chunk. An empty chunk takes any commit. */
export function needsNewChunk(chunk: ChunkFill, commit: ChunkFill, writeBufferBytes: number): boolean {
  if (chunk.entries === 0) return false;
  return memtableBytes(chunk) + memtableBytes(commit) > writeBufferBytes * CHUNK_SHARE;
}

/** Whether the chunk closes with this commit. */
export function closesChunk(chunk: ChunkFill, commit: ChunkFill, writeBufferBytes: number): boolean {
  return memtableBytes(chunk) + memtableBytes(commit) >= writeBufferBytes * CHUNK_CLOSING_SHARE;
}
