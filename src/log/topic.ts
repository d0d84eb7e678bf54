/** A topic as the log holds it: its row of the catalog and its partitions. Changed only by the catalog. */

import { loadCodec } from '../wire/batch/compression.ts';
import type { BatchCompressor } from '../wire/batch/record-encoder.ts';
import type { LogPartition } from './partition.ts';
import type { TopicConfig } from './topic-config.ts';
import type { Topic } from './types.ts';

export class LogTopic implements Topic {
  readonly name: string;
  readonly id: string;
  readonly internal: boolean;
  readonly partitions: LogPartition[] = [];
  config: TopicConfig;
  overrides: ReadonlyMap<string, string>;
  /** Compresses batches of MQTT origin; null: they are stored as they are packed. */
  compressor: BatchCompressor | null = null;

  constructor(
    name: string,
    id: string,
    internal: boolean,
    config: TopicConfig,
    overrides: ReadonlyMap<string, string>,
  ) {
    this.name = name;
    this.id = id;
    this.internal = internal;
    this.config = config;
    this.overrides = overrides;
  }

  /** Takes a new configuration into effect, its compressor loaded. */
  async configure(config: TopicConfig, overrides: ReadonlyMap<string, string>): Promise<void> {
    const type = config['compression.type'];
    const compressor =
      type === 'producer' || type === 'uncompressed' ? null : await loadCodec(type, { compress: true });
    this.config = config;
    this.overrides = overrides;
    this.compressor = compressor;
  }
}
