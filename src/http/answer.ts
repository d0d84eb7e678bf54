/** One HTTP answer, with the headers every answer carries. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type ErrorCode, HeadwaterError } from '../errors.ts';

/** The page is served from here and asks nobody else. */
const SECURITY_HEADERS: readonly (readonly [string, string])[] = [
  [
    'content-security-policy',
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  ],
  ['x-content-type-options', 'nosniff'],
  ['x-frame-options', 'DENY'],
  ['referrer-policy', 'no-referrer'],
  ['cross-origin-resource-policy', 'same-origin'],
  ['cross-origin-opener-policy', 'same-origin'],
];

export interface AnswerOptions {
  readonly status?: number;
  readonly type: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Default `no-store`. */
  readonly cache?: string;
}

export function begin(response: ServerResponse, options: AnswerOptions): void {
  response.statusCode = options.status ?? 200;
  for (const [name, value] of SECURITY_HEADERS) response.setHeader(name, value);
  response.setHeader('content-type', options.type);
  response.setHeader('cache-control', options.cache ?? 'no-store');
  for (const [name, value] of Object.entries(options.headers ?? {})) response.setHeader(name, value);
}

export function answer(
  request: IncomingMessage,
  response: ServerResponse,
  body: string | Uint8Array,
  options: AnswerOptions,
): void {
  begin(response, options);
  if (options.status !== 304) response.setHeader('content-length', Buffer.byteLength(body));
  response.end(request.method === 'HEAD' ? undefined : body);
}

export function answerJson(
  request: IncomingMessage,
  response: ServerResponse,
  value: unknown,
  status = 200,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = status === 204 ? '' : `${JSON.stringify(value)}\n`;
  answer(request, response, body, { status, type: 'application/json; charset=utf-8', headers });
}

/** HTTP's status for our codes; what is not here is a 400 when the caller can mend it, else a 500. */
const STATUS: Readonly<Partial<Record<ErrorCode, number>>> = {
  UNKNOWN_TOPIC: 404,
  UNKNOWN_TOPIC_ID: 404,
  TOPIC_EXISTS: 409,
  OFFSET_OUT_OF_RANGE: 416,
  NOT_AUTHORIZED: 403,
  AUTHENTICATION_FAILED: 401,
  BATCH_TOO_LARGE: 413,
  QUOTA_EXCEEDED: 429,
  DISK_FULL: 507,
  SERVER_BUSY: 503,
  SHUTTING_DOWN: 503,
  STORE_FAILED: 503,
  INTERNAL: 500,
};

export function answerError(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (error instanceof HeadwaterError) {
    const status = STATUS[error.code] ?? 400;
    answerJson(request, response, { error: { code: error.code, message: error.message } }, status);
  } else {
    answerJson(
      request,
      response,
      { error: { code: 'INTERNAL', message: 'a bug in Headwater; its log says more' } },
      500,
    );
  }
}
