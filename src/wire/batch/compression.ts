/**
 * The five codecs of a record batch. A codec is loaded when it is first needed and works synchronously from then on:
 * batches are small and a commit waits for them. Output is bounded, so that a small batch cannot take all memory.
 */
import * as zlib from 'node:zlib';
import { HeadwaterError } from '../../errors.ts';
import { BATCH_DECOMPRESSED_MAX_BYTES } from '../../limits.ts';
import { BATCH_HEADER_BYTES, type CodecName, codecOf } from './record-batch.ts';
import { RecordCursor } from './record-cursor.ts';

export interface Codec {
  readonly name: CodecName;
  compress(bytes: Uint8Array): Uint8Array;
  /** Throws CORRUPT_BATCH for damaged input and for more than `maxBytes` of output. */
  decompress(bytes: Uint8Array, maxBytes: number): Uint8Array;
}

function corrupt(name: CodecName, error: unknown): never {
  const reason = error instanceof Error ? error.message : String(error);
  throw new HeadwaterError('CORRUPT_BATCH', `${name}: ${reason}`, { cause: error });
}

const none: Codec = { name: 'none', compress: (bytes) => bytes, decompress: (bytes) => bytes };

const gzip: Codec = {
  name: 'gzip',
  // Level 1 and a small window: on telemetry within 15 % of the default's size at a third of its time and memory.
  compress: (bytes) => zlib.gzipSync(bytes, { level: 1, windowBits: 14, memLevel: 7 }),
  decompress(bytes, maxBytes) {
    try {
      return zlib.gunzipSync(bytes, { maxOutputLength: maxBytes });
    } catch (error) {
      return corrupt('gzip', error);
    }
  },
};

async function loadSnappy(): Promise<Codec> {
  const [{ default: blocks }, { compressSnappy, decompressSnappy }] = await Promise.all([
    import('snappyjs'),
    import('./snappy.ts'),
  ]);
  return {
    name: 'snappy',
    compress: (bytes) => compressSnappy(blocks, bytes),
    decompress: (bytes, maxBytes) => decompressSnappy(blocks, bytes, maxBytes),
  };
}

async function loadLz4(): Promise<Codec> {
  const { compressLz4, decompressLz4 } = await import('./lz4.ts');
  return { name: 'lz4', compress: compressLz4, decompress: decompressLz4 };
}

/** node:zlib of Node 22.15 and later. */
interface NativeZstd {
  zstdCompressSync?(bytes: Uint8Array): Buffer;
  zstdDecompressSync?(bytes: Uint8Array, options: { maxOutputLength: number }): Buffer;
}

async function loadZstd(): Promise<Codec> {
  const { zstdCompressSync, zstdDecompressSync } = zlib as NativeZstd;
  if (zstdCompressSync !== undefined && zstdDecompressSync !== undefined) {
    return {
      name: 'zstd',
      compress: (bytes) => zstdCompressSync(bytes),
      decompress(bytes, maxBytes) {
        try {
          return zstdDecompressSync(bytes, { maxOutputLength: maxBytes });
        } catch (error) {
          return corrupt('zstd', error);
        }
      },
    };
  }
  const [{ Decompress }, { decompressZstd }] = await Promise.all([import('fzstd'), import('./zstd.ts')]);
  return {
    name: 'zstd',
    compress() {
      throw new TypeError('loadCodec("zstd", { compress: true }) loads the compressor');
    },
    decompress: (bytes, maxBytes) => decompressZstd((onData) => new Decompress(onData), bytes, maxBytes),
  };
}

async function loadZstdCompressor(): Promise<Codec> {
  const reader = await loadCodec('zstd');
  if ((zlib as NativeZstd).zstdCompressSync !== undefined) return reader;
  // 8 MB of resident memory, so only for those who write zstd.
  const { Zstd } = await import('@hpcc-js/wasm-zstd');
  const zstd = await Zstd.load();
  return { ...reader, compress: (bytes) => zstd.compress(bytes, 3) };
}

const loaders: Readonly<Record<CodecName, () => Promise<Codec>>> = {
  none: async () => none,
  gzip: async () => gzip,
  snappy: loadSnappy,
  lz4: loadLz4,
  zstd: loadZstd,
};

const loaded = new Map<string, Promise<Codec>>();

/** Loads once; `compress` also loads what only a writer of zstd needs. */
export function loadCodec(name: CodecName, options: { compress?: boolean } = {}): Promise<Codec> {
  const writer = name === 'zstd' && options.compress === true;
  const key = writer ? 'zstd for writing' : name;
  let codec = loaded.get(key);
  if (codec === undefined) {
    codec = writer ? loadZstdCompressor() : loaders[name]();
    loaded.set(key, codec);
  }
  return codec;
}

/** The records section, decompressed. `codec` is that of the batch. */
export function decompressRecords(
  batch: Uint8Array,
  codec: Codec,
  maxBytes = BATCH_DECOMPRESSED_MAX_BYTES,
): Uint8Array {
  return codec.decompress(batch.subarray(BATCH_HEADER_BYTES, batch.length), maxBytes);
}

/** A cursor over the records of any batch. Synchronous (no promise) unless the batch is compressed. */
export function openBatch(batch: Uint8Array): RecordCursor | Promise<RecordCursor> {
  const name = codecOf(batch);
  if (name === 'none') return new RecordCursor(batch);
  return loadCodec(name).then((codec) => new RecordCursor(batch, decompressRecords(batch, codec)));
}
