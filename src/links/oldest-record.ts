import type { Partition } from '../log/types.ts';
import { maxTimestampOf, nextOffsetOf } from '../wire/batch/record-batch.ts';

/** When the record at a position was written: read once when somebody asks and known until the position passes it. */
export class OldestRecord {
  readonly #partition: Partition;
  #known: { readonly nextOffset: number; readonly timestamp: number } | null = null;
  #reading = false;

  constructor(partition: Partition) {
    this.#partition = partition;
  }

  /** Milliseconds since 1970; null: not known yet (it is being read for the next time). */
  timestampAt(offset: number): number | null {
    if (this.#known !== null && offset < this.#known.nextOffset) return this.#known.timestamp;
    if (!this.#reading) void this.#read(offset);
    return this.#known?.timestamp ?? null;
  }

  async #read(offset: number): Promise<void> {
    this.#reading = true;
    const { logStartOffset, logEndOffset } = this.#partition;
    try {
      const from = Math.max(offset, logStartOffset);
      const { batches } = await this.#partition.read({ from, upTo: logEndOffset, maxBytes: 1 });
      const [batch] = batches;
      if (batch !== undefined) this.#known = { nextOffset: nextOffsetOf(batch), timestamp: maxTimestampOf(batch) };
    } catch {
      // Only for display: whoever sends reports what cannot be read.
    } finally {
      this.#reading = false;
    }
  }
}
