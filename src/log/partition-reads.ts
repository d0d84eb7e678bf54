/** Reads of one partition, by offset and by time: from the tail in memory, else from the slices. */
import { HeadwaterError } from '../errors.ts';
import type { PartitionHost } from './partition-host.ts';
import type { Segments } from './segments.ts';
import { Tail } from './tail-cache.ts';
import { correctedResult, earlierOf, firstCorrected } from './time-corrections.ts';
import type { Partition, ReadOptions, ReadResult } from './types.ts';

interface Readable extends Pick<Partition, 'logStartOffset' | 'logEndOffset' | 'highWatermark' | 'read'> {
  readonly id: number;
  readonly name: string;
  readonly segments: Segments;
}

interface Found {
  readonly offset: number;
  readonly timestamp: number;
}

export class PartitionReads {
  readonly #host: PartitionHost;
  readonly #partition: Readable;
  readonly #tail = new Tail();

  constructor(host: PartitionHost, partition: Readable) {
    this.#host = host;
    this.#partition = partition;
  }

  /** A batch was stored at the log end. */
  stored(baseOffset: number, lastOffset: number, batch: Uint8Array): void {
    this.#host.tailCache.add(this.#tail, baseOffset, lastOffset, batch);
  }

  /** What memory has is not in the log any more. */
  forget(): void {
    this.#host.tailCache.clear(this.#tail);
  }

  /** Below `offset` what memory has says more than the store. */
  forgetBelow(offset: number): void {
    this.#host.tailCache.dropBelow(this.#tail, offset);
  }

  read(options: ReadOptions): Promise<ReadResult> {
    const { id, segments, logStartOffset, logEndOffset } = this.#partition;
    const { from, maxBytes, only = null } = options;
    if (from < logStartOffset || from > logEndOffset) {
      const message = `${this.#partition.name}: offset ${from} is outside ${logStartOffset} to ${logEndOffset}`;
      return Promise.reject(new HeadwaterError('OFFSET_OUT_OF_RANGE', message));
    }
    const upTo = Math.min(options.upTo, logEndOffset);
    const { reader, readAhead, tailCache, corrections } = this.#host;
    let found: Promise<ReadResult>;
    if (from >= this.#tail.firstOffset) found = Promise.resolve(tailCache.read(this.#tail, from, upTo, maxBytes));
    else if (only == null) found = readAhead.read(id, segments, from, upTo, maxBytes);
    else found = reader.read(id, segments, from, upTo, maxBytes, 'records', only);
    const corrected = corrections.of(id);
    return corrected === undefined ? found : found.then((result) => correctedResult(corrected, result));
  }

  async offsetForTimestamp(timestamp: number): Promise<Found | null> {
    const { reader, corrections } = this.#host;
    const { id, segments, logStartOffset } = this.#partition;
    const found = await reader.offsetForTimestamp(id, segments, timestamp, logStartOffset);
    const visible = found !== null && found.offset < this.#partition.highWatermark ? found : null;
    const corrected = corrections.of(id);
    if (corrected === undefined) return visible;
    return earlierOf(visible, await firstCorrected(this.#partition, corrected, timestamp));
  }

  correctedTime(offset: number, timestamp: number): number {
    return this.#host.corrections.time(this.#partition.id, offset, timestamp);
  }

  offsetOfMaxTimestamp(): Promise<Found | null> {
    const { id, segments, logStartOffset } = this.#partition;
    return this.#host.reader.offsetOfMaxTimestamp(id, segments, logStartOffset);
  }
}
