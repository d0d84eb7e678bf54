/**
 * Everything a test file starts ends with it: processes by their pid, temporary directories, sockets. Tasks run in
 * reverse order after the last test of the file, and once more when the worker itself goes away.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

const tasks: (() => void | Promise<void>)[] = [];
const pids = new Set<number>();

afterAll(async () => {
  const errors: unknown[] = [];
  for (let task = tasks.pop(); task !== undefined; task = tasks.pop()) {
    try {
      await task();
    } catch (error) {
      errors.push(error);
    }
  }
  // What has no task of its own ends here: a worker that is killed itself has no 'exit'.
  for (const pid of pids) killQuietly(pid);
  if (errors.length > 0) throw new AggregateError(errors, 'cleaning up after the tests failed');
});

process.on('exit', () => {
  for (const pid of pids) killQuietly(pid);
});

export function atEnd(task: () => void | Promise<void>): void {
  tasks.push(task);
}

/** Remembers a child so that it dies with the worker, whatever happens; `forgetPid` once it has exited. */
export function rememberPid(pid: number): void {
  pids.add(pid);
}

export function forgetPid(pid: number): void {
  pids.delete(pid);
}

/** A new empty directory, removed at the end of the test file. */
export function tempDir(name: string): string {
  const path = mkdtempSync(join(tmpdir(), `headwater-${name}-`));
  atEnd(() => rmSync(path, { recursive: true, force: true, maxRetries: 3 }));
  return path;
}

function killQuietly(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // Already gone.
  }
}
