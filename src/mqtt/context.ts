/** What the connections of one edge share. */
import type { Env } from '../env.ts';
import type { Log } from '../log/types.ts';
import type { Logger } from '../logger.ts';
import type { Authenticator } from './access.ts';
import type { ClientLimits } from './client-limits.ts';
import type { Connection } from './connection.ts';
import type { MqttCounters } from './counters.ts';
import type { FanOut } from './fan-out.ts';
import type { Flusher } from './output.ts';
import type { Publisher } from './publisher.ts';
import type { RetainedMessages } from './retained.ts';
import type { Sessions } from './sessions.ts';
import type { Subscriptions } from './subscriptions.ts';
import type { Wills } from './wills.ts';

export interface MqttSettings {
  readonly maxPacketBytes: number;
  readonly receiveMaximum: number;
  readonly topicAliasMaximum: number;
  /** Seconds; a client that asks for more (or for 0) gets this as Server Keep Alive. 0: the client decides. */
  readonly maxKeepAlive: number;
  /** Seconds; NEVER: no limit. */
  readonly maxSessionExpiry: number;
  /** Publishes of one connection that wait for their write, bytes: above it the socket is not read. */
  readonly maxInflightBytes: number;
}

export interface MqttContext {
  readonly env: Env;
  readonly log: Log;
  readonly logger: Logger;
  readonly access: Authenticator;
  readonly counters: MqttCounters;
  readonly settings: MqttSettings;
  readonly flusher: Flusher;
  readonly publisher: Publisher;
  readonly retained: RetainedMessages;
  readonly sessions: Sessions;
  readonly subscriptions: Subscriptions;
  readonly wills: Wills;
  readonly fanOut: FanOut;
  readonly limits: ClientLimits;
  /** Coarse monotonic time, milliseconds, moved on once a second: what the hot path stamps with. */
  readonly tick: { now: number };
  readonly stopping: () => boolean;
  /** Another broker of a pair leads: clients belong there. */
  readonly follows: () => boolean;
  /** No new connections are taken for want of memory. */
  readonly overloaded: () => boolean;
  onClosed(connection: Connection): void;
}
