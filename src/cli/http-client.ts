/** The JSON API of a running broker, for what its protocols do not carry (links, reload). */
import { request } from 'node:http';
import { parseAddress } from '../config/address.ts';
import { HeadwaterError } from '../errors.ts';
import { DEFAULT_HTTP, type Io, UsageError } from './command.ts';

const ANSWER_MAX_BYTES = 16 * 1024 * 1024;
const TIMEOUT_MS = 10_000;

export interface ApiOptions {
  readonly http?: string | undefined;
  readonly user?: string | undefined;
}

/** `user` is NAME:PASSWORD; HEADWATER_USER in the environment keeps it off the process list. */
export async function callApi(
  io: Io,
  { http, user }: ApiOptions,
  method: 'GET' | 'POST' | 'DELETE' | 'PATCH',
  path: string,
  body?: object,
): Promise<unknown> {
  const text = http ?? io.env['HEADWATER_HTTP'] ?? DEFAULT_HTTP;
  const address = parseAddress(text);
  if (address === null) throw new UsageError(`--http: "${text}" is not HOST:PORT`);
  const credentials = user ?? io.env['HEADWATER_USER'];
  const content = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: address.host,
        port: address.port,
        method,
        path: `/api/v1/${path}`,
        timeout: TIMEOUT_MS,
        headers: {
          accept: 'application/json',
          // A header that no cross-site form can set: the server asks for it on every change.
          'x-requested-with': 'headwater',
          ...(credentials === undefined
            ? {}
            : { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` }),
          ...(content === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(content) }),
        },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        let size = 0;
        answer.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > ANSWER_MAX_BYTES) call.destroy(new Error(`the answer is larger than ${ANSWER_MAX_BYTES} bytes`));
          else chunks.push(chunk);
        });
        answer.on('error', reject);
        answer.on('end', () => {
          try {
            resolve(readAnswer(answer.statusCode ?? 0, Buffer.concat(chunks).toString('utf8'), text));
          } catch (error) {
            reject(error);
          }
        });
      },
    );
    call.on('timeout', () => call.destroy(new Error(`${text} did not answer within ${TIMEOUT_MS / 1_000} s`)));
    call.on('error', reject);
    call.end(content);
  });
}

function readAnswer(status: number, text: string, address: string): unknown {
  let value: unknown;
  try {
    value = text === '' ? null : JSON.parse(text);
  } catch {
    throw new HeadwaterError('MALFORMED', `${address} did not answer with JSON (HTTP ${status}); is it a Headwater?`);
  }
  if (status >= 200 && status < 300) return value;
  const reason = (value as { error?: { message?: unknown } } | null)?.error?.message;
  throw new HeadwaterError(
    'INVALID_REQUEST',
    typeof reason === 'string' ? reason : `${address} answered HTTP ${status}`,
  );
}
