/** Who may see anything beyond health and readiness. */
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Env } from '../env.ts';
import { answerJson } from './answer.ts';

export interface Visitor {
  /** null without a login. */
  readonly user: string | null;
  /** May change things. */
  readonly admin: boolean;
}

/**
 * Checks a name and a secret; null when they are wrong. `address` is for back-off. Throws QUOTA_EXCEEDED when the
 * address has failed too often.
 */
export type Authenticate = (user: string, secret: string, address: string) => Promise<Visitor | null>;

/** A memory-hard hash for every request would be an attack on ourselves: what was right stays right for a while. */
const REMEMBER_MS = 60_000;
const REMEMBER_MAX = 100;

export class Gate {
  readonly #env: Env;
  readonly #authenticate: Authenticate | null;
  readonly #known = new Map<string, { visitor: Visitor; until: number }>();

  constructor(env: Env, authenticate: Authenticate | null) {
    this.#env = env;
    this.#authenticate = authenticate;
  }

  /** The visitor, or null when the refusal has been answered already. */
  async admit(request: IncomingMessage, response: ServerResponse): Promise<Visitor | null> {
    if (this.#authenticate === null) {
      // Without a login, a name that an attacker points at 127.0.0.1 (DNS rebinding) must not open the door.
      if (isLoopbackHost(request.headers.host ?? '') || !isLoopbackAddress(request.socket.localAddress ?? '')) {
        return { user: null, admin: true };
      }
      const message = 'without a login this broker answers to localhost and 127.0.0.1 only';
      answerJson(request, response, { error: { code: 'NOT_AUTHORIZED', message } }, 403);
      return null;
    }
    const header = request.headers.authorization ?? '';
    const basic = /^Basic ([A-Za-z0-9+/=]+)$/.exec(header);
    const text = basic === null ? '' : Buffer.from(basic[1]!, 'base64').toString('utf8');
    const colon = text.indexOf(':');
    if (colon > 0) {
      const digest = createHash('sha256').update(header).digest('base64');
      const now = this.#env.clock.monotonic();
      const known = this.#known.get(digest);
      if (known !== undefined && known.until > now) return known.visitor;
      const address = request.socket.remoteAddress ?? '';
      const visitor = await this.#authenticate(text.slice(0, colon), text.slice(colon + 1), address);
      if (visitor !== null) {
        this.#known.delete(digest);
        this.#known.set(digest, { visitor, until: now + REMEMBER_MS });
        if (this.#known.size > REMEMBER_MAX) this.#known.delete(this.#known.keys().next().value!);
        return visitor;
      }
    }
    answerJson(
      request,
      response,
      { error: { code: 'AUTHENTICATION_FAILED', message: 'unknown user or wrong secret' } },
      401,
      { 'www-authenticate': 'Basic realm="Headwater", charset="UTF-8"' },
    );
    return null;
  }

  /** After users changed: nobody is remembered. */
  forget(): void {
    this.#known.clear();
  }
}

function isLoopbackHost(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?$/i.test(host);
}

function isLoopbackAddress(address: string): boolean {
  return /^(127\.|::1$|::ffff:127\.)/.test(address);
}
