/**
 * One source: finds its files, follows them across rotation, lets them take turns. Polls instead of asking to be told: that
 * works on every file system, and a file that is written often costs one read an interval.
 */
import { dirname } from 'node:path';
import { delay, type Env, type Timer } from '../env.ts';
import { asHeadwaterError, HeadwaterError } from '../errors.ts';
import { SOURCE_FILES_MAX, SOURCE_MATCHES_MAX, SOURCE_POSITIONS_MAX, SOURCE_READ_BYTES } from '../limits.ts';
import type { Log, Topic } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { MetaStore } from '../store/meta.ts';
import { Appender } from './appender.ts';
import { expand, type FileFacts, type TailFiles, type TailHandle } from './files.ts';
import { bufferBytes } from './framing.ts';
import { type Position, PositionStore, type Recipe } from './positions.ts';
import type { SourceSettings, SourceStatus } from './settings.ts';
import type { SourceCounters } from './source-metrics.ts';
import { type FileHost, fingerprint, TailFile } from './tail-file.ts';

/** How often positions are written: after a crash so much is read again, and skipped. */
const FLUSH_INTERVAL_MS = 1_000;
const RETRY_MS = 1_000;
/** A quiet file that still has its name is closed after so long, and opened again when its size changes. */
const IDLE_CLOSE_MS = 60_000;
/** Room in a batch beside the value: header, key, record headers. */
const RECORD_ROOM_BYTES = 8 * 1024;

export interface TailSourceDependencies {
  readonly env: Env;
  readonly logger: Logger;
  readonly log: Log;
  readonly meta: MetaStore;
  readonly files: TailFiles;
  readonly counters: SourceCounters;
}

interface Found {
  readonly path: string;
  readonly facts: FileFacts;
}

export class TailSource implements FileHost {
  readonly name: string;
  readonly settings: SourceSettings;
  readonly positions: PositionStore;
  readonly appender: Appender;
  readonly #dependencies: TailSourceDependencies;
  readonly #open = new Map<number, TailFile>();
  /** Complaints that were made; not again for the same file. */
  readonly #complained = new Set<string>();
  #buffer: Buffer | null = null;
  readonly #stop = new AbortController();
  #stopping = false;
  #running: Promise<void> | null = null;
  #wake: (() => void) | null = null;
  #timer: Timer | null = null;
  #busy = false;
  #lastError: string | null = null;

  constructor(name: string, settings: SourceSettings, dependencies: TailSourceDependencies) {
    this.name = name;
    this.settings = settings;
    this.#dependencies = dependencies;
    const { log, env, meta } = dependencies;
    this.positions = new PositionStore(meta, name);
    this.appender = new Appender(log, env.clock, settings.acks === 'all' ? -1 : 1, this.#stop.signal);
  }

  get headers(): readonly string[] {
    return this.settings.headers;
  }

  get multilineTimeoutMs(): number {
    return this.settings['multiline.timeout.ms'];
  }

  now(): number {
    return this.#dependencies.env.clock.monotonic();
  }

  buffer(maxBytes: number): Buffer {
    const bytes = Math.max(SOURCE_READ_BYTES, bufferBytes(maxBytes));
    if (this.#buffer === null || this.#buffer.length !== bytes) this.#buffer = Buffer.allocUnsafeSlow(bytes);
    return this.#buffer;
  }

  /** Made when it is missing. Rejects with what the log says. */
  async topic(): Promise<Topic> {
    const { log } = this.#dependencies;
    const name = this.settings.topic;
    return log.topic(name) ?? (await log.createTopic({ name, partitions: -1, config: new Map() }));
  }

  recipe(topic: Topic): Recipe {
    return {
      start: this.settings['multiline.start'],
      maxBytes: Math.max(
        1,
        Math.min(this.settings['record.max.bytes'], topic.config['max.message.bytes'] - RECORD_ROOM_BYTES),
      ),
      key: this.settings.key,
      keyPattern: this.settings['key.pattern'],
      partitions: topic.partitions.length,
    };
  }

  truncated(path: string): void {
    this.#dependencies.counters.truncations.value++;
    this.#dependencies.logger.warn(
      { source: this.name, path },
      'a file is shorter or begins otherwise: reading it anew',
    );
  }

  stored(records: number, bytes: number, cut: number): void {
    const { counters } = this.#dependencies;
    counters.records.value += records;
    counters.bytes.value += bytes;
    counters.cut.value += cut;
  }

  async start(): Promise<void> {
    await this.positions.load();
    this.#timer = this.#dependencies.env.clock.every(FLUSH_INTERVAL_MS, () => {
      this.positions.flush().catch((error) => this.#failed(error));
    });
    this.#running = this.#run();
  }

  async #run(): Promise<void> {
    const { clock } = this.#dependencies.env;
    let first = true;
    let nextScan = Number.NEGATIVE_INFINITY;
    while (!this.#stopping) {
      let failed = false;
      let more = false;
      if (!this.settings.paused) {
        try {
          if (this.now() >= nextScan) await this.#scan(first);
          first = false;
          nextScan = this.now() + this.settings['poll.interval.ms'];
        } catch (error) {
          this.#failed(error);
          failed = true;
        }
        for (const file of [...this.#open.values()]) {
          if (this.#stopping) break;
          try {
            if (this.#isItsTurn(file) && (await file.step())) more = true;
          } catch (error) {
            if (!this.#stopping) this.#failed(error, file);
            failed = true;
          }
        }
        if (!failed) this.#lastError = null;
      }
      this.#busy = more;
      if (more && !failed) continue;
      await Promise.race([
        delay(clock, failed ? RETRY_MS : this.settings['poll.interval.ms']),
        new Promise<void>((resolve) => {
          this.#wake = resolve;
          if (this.#stopping) resolve();
        }),
      ]);
    }
  }

  /** Those that had its name before are read to their ends first. */
  #isItsTurn(file: TailFile): boolean {
    const { path } = file.position;
    for (const other of this.#open.values()) {
      if (other.id < file.id && other.position.path === path && !other.finished) return false;
    }
    return true;
  }

  #failed(error: unknown, file?: TailFile): void {
    const { message } = asHeadwaterError(error);
    this.#dependencies.counters.failures.value++;
    if (message !== this.#lastError) {
      this.#dependencies.logger.warn(
        { source: this.name, ...(file !== undefined && { path: file.position.path }), error: message },
        'a source could not go on; it tries again',
      );
    }
    this.#lastError = message;
  }

  /** Which files there are, which have gone or have other names, which are to be opened and closed. */
  async #scan(first: boolean): Promise<void> {
    const found = await this.#found();
    const present = new Map(found.map((one) => [identity(one.facts), one]));
    for (const file of this.#open.values()) {
      const here = present.get(identity(file.position));
      file.path = here?.path ?? null;
      const renamed = file.path !== file.position.path;
      if (!renamed) file.rotatedAt = null;
      else file.rotatedAt ??= this.now();
      await this.#closeWhenDone(file);
    }
    const atEnd = !this.positions.started && this.settings['start.at'] === 'end';
    for (const one of found) await this.#consider(one, atEnd);
    if (first) await this.#searchRenamed(present);
    await this.positions.markStarted();
    await this.#forget(present);
  }

  async #found(): Promise<Found[]> {
    const { files } = this.#dependencies;
    const found = new Map<string, Found>();
    for (const pattern of this.settings.paths) {
      for (const path of await expand(files, pattern)) {
        if (found.size >= SOURCE_MATCHES_MAX) {
          this.#complain(pattern, `matches more than ${SOURCE_MATCHES_MAX} files: the others are not read`);
          break;
        }
        const facts = await files.facts(path);
        if (facts !== null && !found.has(identity(facts))) found.set(identity(facts), { path, facts });
      }
    }
    return [...found.values()];
  }

  async #closeWhenDone(file: TailFile): Promise<void> {
    const now = this.now();
    const { rotatedAt, quietSince } = file;
    file.ended = rotatedAt !== null && now - Math.max(rotatedAt, quietSince) >= this.settings['rotate.wait.ms'];
    if (!file.caughtUp) return;
    const read = file.position.offset >= file.size;
    const idle = file.path !== null && now - quietSince >= IDLE_CLOSE_MS && (read || !file.ended);
    if (!(file.ended && read) && !idle) return;
    this.#open.delete(file.id);
    this.positions.set(file.id, { ...file.position, doneAt: file.size });
    await file.close();
    await this.positions.flush();
  }

  async #consider({ path, facts }: Found, atEnd: boolean): Promise<void> {
    for (const file of this.#open.values()) if (identity(file.position) === identity(facts)) return;
    const known = this.#known(path, facts);
    if (known !== null && known[1].doneAt === facts.size && known[1].offset <= facts.size) return;
    if (this.#open.size >= SOURCE_FILES_MAX) {
      this.#complain(path, `${SOURCE_FILES_MAX} files are open: this one waits until another is done`);
      return;
    }
    let handle: TailHandle;
    try {
      handle = await this.#dependencies.files.open(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      const reason = error instanceof Error ? error.message : String(error);
      this.#complain(path, `cannot be read: ${reason}`);
      throw new HeadwaterError('INVALID_CONFIG', `${path} cannot be read: ${reason}`, { cause: error });
    }
    this.#complained.delete(path);
    await this.#take(handle, path, known, atEnd);
  }

  /** The position of this very file, as far as its numbers tell; the beginning is compared when it is open. */
  #known(path: string, facts: FileFacts): [number, Position] | null {
    let near: [number, Position] | null = null;
    for (const entry of this.positions.entries()) {
      const [, position] = entry;
      if (position.inode !== facts.inode) continue;
      if (position.device === facts.device) return entry;
      // Devices may be numbered otherwise after a restart of the machine.
      if (position.path === path) near = entry;
    }
    return near;
  }

  async #take(handle: TailHandle, path: string, known: [number, Position] | null, atEnd: boolean): Promise<void> {
    const facts = await handle.facts();
    let id: number;
    if (known !== null && known[1].inode === facts.inode && (await sameFile(handle, facts, known[1]))) {
      id = known[0];
      this.positions.set(id, { ...known[1], device: facts.device, doneAt: null });
    } else {
      if (known !== null) {
        // The number was given to another file, or this one was written anew while nobody looked.
        if (known[1].doneAt === null) this.truncated(path);
        await this.positions.remove([known[0]]);
      }
      id = await this.positions.add(freshPosition(facts, path, atEnd ? facts.size : 0));
    }
    const file = new TailFile(this, id, handle, path);
    file.size = facts.size;
    // They may have grown since they were last looked at, and come first.
    for (const other of this.#open.values()) if (other.position.path === path) other.caughtUp = false;
    if (path !== this.positions.get(id)!.path) file.rotatedAt = this.now();
    this.#open.set(id, file);
  }

  /** At a start: files that were renamed while nobody looked are in the same directory still, under a name not watched. */
  async #searchRenamed(present: ReadonlyMap<string, Found>): Promise<void> {
    const { files, counters, logger } = this.#dependencies;
    const missing = [...this.positions.entries()].filter(
      ([id, position]) => position.doneAt === null && !this.#open.has(id) && !present.has(identity(position)),
    );
    for (const [id, position] of missing) {
      const directory = dirname(position.path);
      let handle: TailHandle | null = null;
      for (const name of await files.list(directory)) {
        const facts = await files.facts(`${directory}/${name}`);
        if (facts === null || facts.inode !== position.inode) continue;
        handle = await files.open(`${directory}/${name}`);
        if (await sameFile(handle, await handle.facts(), position)) break;
        await handle.close();
        handle = null;
      }
      if (handle !== null) {
        const file = new TailFile(this, id, handle, null);
        file.rotatedAt = this.now();
        this.#open.set(id, file);
        continue;
      }
      counters.vanished.value++;
      logger.warn(
        { source: this.name, path: position.path, offset: position.offset },
        'a file went away before it was read to its end; what came after this position is lost',
      );
      this.positions.set(id, { ...position, doneAt: position.offset });
    }
  }

  /** Positions of files that are gone, the longest quiet first, above the bound. */
  async #forget(present: ReadonlyMap<string, Found>): Promise<void> {
    const excess = this.positions.size - SOURCE_POSITIONS_MAX;
    if (excess <= 0) return;
    const gone = [...this.positions.entries()].filter(
      ([id, position]) => !this.#open.has(id) && !present.has(identity(position)),
    );
    await this.positions.remove(gone.slice(0, excess).map(([id]) => id));
  }

  #complain(path: string, what: string): void {
    if (this.#complained.has(path) || this.#complained.size >= 1_000) return;
    this.#complained.add(path);
    this.#dependencies.logger.warn({ source: this.name, path }, what);
  }

  status(): SourceStatus {
    let backlogBytes = 0;
    for (const file of this.#open.values()) backlogBytes += file.backlogBytes;
    const { paused, topic } = this.settings;
    const state = paused ? 'paused' : this.#lastError !== null ? 'failing' : this.#busy ? 'reading' : 'waiting';
    return { name: this.name, state, topic, files: this.#open.size, backlogBytes, lastError: this.#lastError };
  }

  /** Ends after the step that is under way, at once when that waits for the log. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#timer?.cancel();
    this.#stop.abort(new HeadwaterError('SHUTTING_DOWN', 'the source is stopped'));
    this.#wake?.();
    await this.#running;
    for (const file of this.#open.values()) await file.close();
    this.#open.clear();
    await this.positions.flush();
  }
}

function identity({ device, inode }: { readonly device: string; readonly inode: string }): string {
  return `${device}:${inode}`;
}

async function sameFile(handle: TailHandle, facts: FileFacts, position: Position): Promise<boolean> {
  if (facts.size < position.offset) return false;
  return position.printBytes === 0 || (await fingerprint(handle, position.printBytes)) === position.print;
}

function freshPosition({ device, inode }: FileFacts, path: string, offset: number): Position {
  return {
    device,
    inode,
    path,
    offset,
    printBytes: 0,
    print: 0,
    topicId: '',
    lanes: [],
    recipe: { start: null, maxBytes: 1, key: null, keyPattern: null, partitions: 0 },
    cuts: [],
    doneAt: null,
  };
}
