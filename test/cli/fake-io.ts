/** A process for commands under test: what they print is kept, what they read is given. */
import { Readable } from 'node:stream';
import type { Io } from '../../src/cli/command.ts';

export interface FakeIo extends Io {
  readonly out: string;
  readonly err: string;
}

export function fakeIo({
  input = '',
  env = {},
  terminal = false,
}: {
  input?: string;
  env?: Record<string, string>;
  terminal?: boolean;
} = {}): FakeIo {
  let [out, err] = ['', ''];
  return {
    write: async (text) => {
      out += typeof text === 'string' ? text : Buffer.from(text).toString('utf8');
    },
    error: (text) => {
      err += text;
    },
    stdin: Readable.from(input === '' ? [] : [Buffer.from(input)]),
    env,
    terminal,
    stopping: new AbortController().signal,
    version: '1.2.3',
    get out() {
      return out;
    },
    get err() {
      return err;
    },
  };
}
