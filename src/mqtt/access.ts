/** Who may connect, publish and subscribe: what the MQTT edge asks of `security`. */

/** What a client presents with CONNECT. */
export interface Credentials {
  readonly clientId: string;
  readonly username: string | null;
  readonly password: Uint8Array | null;
  /** Subject common name of a verified TLS client certificate. */
  readonly certificate: string | null;
  readonly remoteAddress: string;
}

/** An authenticated user; `name` is what ACLs and logs speak of. */
export interface Principal {
  readonly name: string;
}

export type Action = 'publish' | 'subscribe';

export interface Authenticator {
  /** Null: refused. May take its time (a memory-hard hash); the connection reads nothing meanwhile. */
  authenticate(credentials: Credentials): Promise<Principal | null>;
  /** `topic` is a topic name, or for `subscribe` a filter without `$share/...`. Called per packet: must be quick. */
  authorize(principal: Principal, clientId: string, action: Action, topic: string): boolean;
}

/** No authentication: for listeners on loopback, where who is on the machine may do anything. */
export const allowAll: Authenticator = {
  authenticate: async (credentials) => ({ name: credentials.username ?? 'anonymous' }),
  authorize: () => true,
};
