/**
 * The contract of a handler: one file per API key in handle/, listed in handlers.ts. The list is the only registration;
 * the ApiVersions answer is derived from it.
 */
import type { KafkaOperation, KafkaResource } from '../security/acl.ts';
import type { Api, RequestOf, ResponseInput } from '../wire/kafka/schema.ts';
import type { KafkaContext } from './context.ts';
import type { SaslSession } from './sasl.ts';

/** The client at the other end, as far as handlers may know it. */
export interface ClientConnection {
  /** Unique among the connections of this process. */
  readonly id: number;
  /** From the header of the request that is being handled. */
  readonly clientId: string | null;
  /** Address without port, as DescribeGroups shows it. */
  readonly remoteAddress: string;
  /** Name of the listener it came in through. */
  readonly listener: string;
  /** Where this broker is to be found from the client's side: advertised.listeners, or the address it reached us at. */
  readonly advertised: { readonly host: string; readonly port: number };
  /** Who it authenticated as; null without SASL or a client certificate. */
  readonly user: string | null;
  /** null on a listener without SASL. */
  readonly sasl: SaslSession | null;
  /** Whether `user` may: asked once per topic, group or transaction of a request. */
  allows(operation: KafkaOperation, resource: KafkaResource, name: string): boolean;
  readonly closed: boolean;
  /** Runs `task` when the connection is closed, unless the returned function is called before. */
  onClose(task: () => void): () => void;
  /** Reads nothing more from this client for `ms` milliseconds: a quota (KIP-219). What it sent before is answered. */
  throttle(ms: number): void;
  /** Closes after the answers to earlier requests were sent. `reason` goes to the log and is counted. */
  close(reason: string): void;
}

/** Returned by a handler whose request wants no answer (Produce with acks=0). */
export const NO_RESPONSE = Symbol('no response');

type Answer<A extends Api> = ResponseInput<A> | typeof NO_RESPONSE;

export interface Handler<A extends Api = Api> {
  readonly api: A;
  /** Where it differs from what Apache Kafka does, one sentence each; printed in the docs. */
  readonly deviations?: readonly string[];
  /**
   * May start while earlier pipelined requests of the same connection are unanswered. Such a handler does everything whose
   * order matters before it returns its promise. All others start when every earlier request was answered.
   */
  readonly pipelined?: boolean;
  /** Not Kafka's, but between the brokers of a pair: a broker that stands alone does not advertise it. */
  readonly pairOnly?: boolean;
  /** Served before SASL authentication is complete. */
  readonly unauthenticated?: boolean;
  /**
   * Answers one request. Errors that the protocol has a field for are answered in that field. A HeadwaterError that is thrown
   * becomes the response's top-level errorCode, where the version has one; otherwise the connection is closed.
   */
  handle(
    context: KafkaContext,
    request: RequestOf<A>,
    version: number,
    connection: ClientConnection,
  ): Answer<A> | Promise<Answer<A>>;
}

export function handler<A extends Api>(definition: Handler<A>): Handler<A> {
  return definition;
}

/** The handlers of a broker by API key. A key that comes twice is a TypeError at start. */
export class HandlerTable {
  readonly #byKey = new Map<number, Handler>();

  // biome-ignore lint/suspicious/noExplicitAny: each handler is typed by its own API; the table pairs them at run time
  constructor(handlers: readonly Handler<any>[]) {
    for (const one of handlers) {
      const { key, name } = one.api;
      const earlier = this.#byKey.get(key);
      if (earlier !== undefined)
        throw new TypeError(`API key ${key} has two handlers: ${earlier.api.name} and ${name}`);
      this.#byKey.set(key, one);
    }
  }

  get(key: number): Handler | undefined {
    return this.#byKey.get(key);
  }

  /** Ascending by key. */
  all(): Handler[] {
    return [...this.#byKey.values()].sort((a, b) => a.api.key - b.api.key);
  }

  /** Rows of the ApiVersions answer. */
  advertised(inPair: boolean): { apiKey: number; minVersion: number; maxVersion: number }[] {
    return this.all()
      .filter(({ pairOnly }) => inPair || pairOnly !== true)
      .map(({ api }) => ({ apiKey: api.key, minVersion: api.advertise[0], maxVersion: api.advertise[1] }));
  }
}
