/**
 * The newest offset of each key, in bounded memory: open addressing over 16 bytes of a SHA-256, so that two keys are
 * never taken for one.
 */
import { createHash } from 'node:crypto';

const HASH_WORDS = 4;
/** Four words of hash, one double, and what free slots cost: three of four are used at most. */
export const KEY_MAP_BYTES_PER_KEY = 32;

export class KeyMap {
  readonly #hashes: Uint32Array;
  /** Offset + 1; 0: free. */
  readonly #offsets: Float64Array;
  readonly #capacity: number;
  #size = 0;

  /** `maxBytes` is what it takes at most, whatever is put into it. */
  constructor(maxBytes: number) {
    this.#capacity = Math.max(1, Math.floor(maxBytes / KEY_MAP_BYTES_PER_KEY));
    const slots = Math.ceil((this.#capacity * 4) / 3);
    this.#hashes = new Uint32Array(slots * HASH_WORDS);
    this.#offsets = new Float64Array(slots);
  }

  get size(): number {
    return this.#size;
  }

  get byteLength(): number {
    return this.#hashes.byteLength + this.#offsets.byteLength;
  }

  /** The slot of the key, or the free one where it belongs. */
  #slot(hash: Buffer): number {
    const slots = this.#offsets.length;
    let slot = hash.readUInt32LE(0) % slots;
    for (;;) {
      if (this.#offsets[slot] === 0) return slot;
      let word = 0;
      while (word < HASH_WORDS && this.#hashes[slot * HASH_WORDS + word] === hash.readUInt32LE(word * 4)) word++;
      if (word === HASH_WORDS) return slot;
      slot = slot + 1 === slots ? 0 : slot + 1;
    }
  }

  /** Call it in ascending order of offsets. false: the key is new and there is no room for it. */
  put(key: Uint8Array, offset: number): boolean {
    const hash = createHash('sha256').update(key).digest();
    const slot = this.#slot(hash);
    if (this.#offsets[slot] === 0) {
      if (this.#size >= this.#capacity) return false;
      this.#size++;
      for (let word = 0; word < HASH_WORDS; word++) {
        this.#hashes[slot * HASH_WORDS + word] = hash.readUInt32LE(word * 4);
      }
    }
    this.#offsets[slot] = offset + 1;
    return true;
  }

  /** -1: not in it. */
  get(key: Uint8Array): number {
    return this.#offsets[this.#slot(createHash('sha256').update(key).digest())]! - 1;
  }
}
