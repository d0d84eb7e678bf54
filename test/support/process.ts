/** Child processes with their output, a deadline, and an end by pid. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { forgetPid, rememberPid } from './scope.ts';

export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Written to its standard input, which is then closed. */
  readonly input?: string | Uint8Array;
  /** Killed and reported as an error after this; 60,000 when absent. */
  readonly timeoutMs?: number;
}

/** A running child whose output can be looked at while it runs. */
export class Child {
  readonly pid: number;
  readonly finished: Promise<Finished>;
  readonly #process: ChildProcess;
  readonly #stdout: Buffer[] = [];
  readonly #stderr: Buffer[] = [];
  readonly #watchers = new Set<() => void>();
  #ended: Finished | null = null;

  constructor(command: string, args: readonly string[], options: SpawnOptions = {}) {
    const child = spawn(command, args, {
      ...options,
      env: { ...outsideVitest(), ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#process = child;
    this.pid = child.pid ?? -1;
    if (child.pid !== undefined) rememberPid(child.pid);
    const changed = () => {
      for (const watcher of [...this.#watchers]) watcher();
    };
    child.stdin!.on('error', () => {});
    child.stdout!.on('data', (chunk: Buffer) => {
      this.#stdout.push(chunk);
      changed();
    });
    child.stderr!.on('data', (chunk: Buffer) => {
      this.#stderr.push(chunk);
      changed();
    });
    this.finished = new Promise((resolve, reject) => {
      child.on('error', (error) => reject(new Error(`${command} could not be started: ${error.message}`)));
      child.on('close', (code, signal) => {
        if (child.pid !== undefined) forgetPid(child.pid);
        this.#ended = { code, signal, stdout: this.stdout, stderr: this.stderr };
        resolve(this.#ended);
        changed();
      });
    });
    this.finished.catch(() => {});
  }

  get stdout(): string {
    return Buffer.concat(this.#stdout).toString();
  }

  get stderr(): string {
    return Buffer.concat(this.#stderr).toString();
  }

  get running(): boolean {
    return this.#ended === null;
  }

  write(text: string | Uint8Array): void {
    this.#process.stdin!.write(text);
  }

  endInput(): void {
    this.#process.stdin!.end();
  }

  /** Resolves with what `look` returns as soon as that is not undefined; fails when the child ends or `timeoutMs` passes. */
  async until<T>(what: string, timeoutMs: number, look: (stdout: string, stderr: string) => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(watcher);
        act();
      };
      const fail = (why: string) => reject(new Error(`${what}: ${why}\n${tail(this.stdout)}\n${tail(this.stderr)}`));
      const watcher = () => {
        const found = look(this.stdout, this.stderr);
        if (found !== undefined) settle(() => resolve(found));
        else if (this.#ended !== null) {
          const { code, signal } = this.#ended;
          settle(() => fail(`the process ended first (code ${code}, signal ${signal})`));
        }
      };
      const timer = setTimeout(() => settle(() => fail(`not seen within ${timeoutMs} ms`)), timeoutMs);
      this.#watchers.add(watcher);
      this.finished.catch((error: unknown) => settle(() => reject(error)));
      watcher();
    });
  }

  /** Sends `signal` to this very process and waits for its end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Finished> {
    if (this.running) this.#process.kill(signal);
    return this.finished;
  }
}

/** Runs a command to its end. Does not fail on a non-zero exit code: the caller looks at it. */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const child = new Child(command, args, {
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  if (options.input !== undefined) child.write(options.input);
  child.endInput();
  const timeoutMs = options.timeoutMs ?? 60_000;
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    void child.stop('SIGKILL');
  }, timeoutMs);
  try {
    const finished = await child.finished;
    if (late) {
      const output = `${tail(finished.stdout)}\n${tail(finished.stderr)}`;
      throw new Error(`${command} ${args.join(' ')} did not end within ${timeoutMs} ms\n${output}`);
    }
    return finished;
  } finally {
    clearTimeout(timer);
  }
}

/** Like `run`, and fails with the output unless the exit code is 0. Returns standard output. */
export async function mustRun(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, signal, stdout, stderr } = await run(command, args, options);
  if (code !== 0) {
    throw new Error(
      `${command} ${args.join(' ')} ended with code ${code}, signal ${signal}\n${tail(stdout)}\n${tail(stderr)}`,
    );
  }
  return stdout;
}

/** A child is a program of its own and must not believe that it is part of a test run. */
function outsideVitest(): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter(
    (name) => !/^(VITEST|TEST$|NODE_ENV$|NODE_OPTIONS$|FORCE_COLOR$|JOURNAL_STREAM$|NOTIFY_SOCKET$)/.test(name),
  );
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}

function tail(text: string): string {
  return text.length > 4_000 ? `...${text.slice(-4_000)}` : text;
}
