/**
 * What the JSON API answers, and the callbacks that answer it: `broker.ts` hands them in, so that this part knows nothing
 * of the log or the edges. Every number is plain; times are milliseconds, sizes bytes.
 */

export interface BrokerView {
  readonly brokerId: string;
  readonly nodeId: number;
  readonly clusterId: string;
  readonly version: string;
  readonly startedAt: number;
  readonly uptimeMs: number;
  readonly listeners: Readonly<Record<string, string>>;
  readonly rssBytes: number;
  readonly memoryBudgetBytes: number;
  readonly storedBytes: number;
  /** null when unknown. */
  readonly freeBytes: number | null;
  readonly topics: number;
  readonly partitions: number;
  readonly timeTrusted: boolean;
}

export interface PartitionView {
  readonly partition: number;
  readonly logStartOffset: number;
  readonly highWatermark: number;
  readonly logEndOffset: number;
  readonly sizeBytes: number;
  readonly leaderEpoch: number;
  readonly replicas: readonly number[];
  readonly inSyncReplicas: readonly number[];
}

export interface TopicView {
  readonly name: string;
  readonly id: string;
  readonly internal: boolean;
  readonly sizeBytes: number;
  /** Sum of high watermark - log start. */
  readonly records: number;
  readonly partitions: readonly PartitionView[];
  /** Every setting in force. */
  readonly config: Readonly<Record<string, string | number>>;
  /** Those set on the topic itself. */
  readonly overrides: Readonly<Record<string, string>>;
}

export interface GroupView {
  readonly group: string;
  readonly state: string;
  readonly protocol: string;
  readonly members: readonly { readonly memberId: string; readonly clientId: string; readonly host: string }[];
  readonly offsets: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly offset: number;
    readonly logEndOffset: number | null;
    readonly lag: number | null;
    readonly memberId: string | null;
  }[];
}

export interface LinkView {
  readonly name: string;
  readonly type: string;
  /** For instance connecting, live, draining, backing-off, paused, failed. */
  readonly state: string;
  readonly target: string;
  readonly backlogRecords: number;
  readonly backlogBytes: number;
  readonly oldestUnsentAgeMs: number | null;
  readonly recordsPerSecond: number | null;
  readonly bytesPerSecond: number | null;
  readonly etaMs: number | null;
  /** Until the disk is full; null or left out: it is not filling. */
  readonly fullMs?: number | null;
  readonly lostRecords: number;
  /** Partitions that are pulled down and cannot be read at present. */
  readonly pullFailing?: number;
  readonly lastError: string | null;
  readonly partitions?: readonly {
    readonly topic: string;
    readonly partition: number;
    readonly nextOffset: number;
    readonly logEndOffset: number;
    readonly state?: string;
  }[];
}

export interface MqttClientView {
  readonly clientId: string;
  readonly user: string | null;
  readonly address: string;
  readonly protocol: string;
  readonly connected: boolean;
  readonly connectedAt: number | null;
  readonly subscriptions: number;
  readonly inflight: number;
}

export interface MessageView {
  readonly partition: number;
  readonly offset: number;
  readonly timestamp: number;
  /** How key and value are written here: utf8 text, JSON and CBOR as JSON, anything else base64. */
  readonly keyFormat: MessageFormat;
  readonly key: unknown;
  readonly valueFormat: MessageFormat;
  readonly value: unknown;
  readonly valueBytes: number;
  /** Units of the value's fields, where the record names them: { temperature: '°C' }. */
  readonly units: Readonly<Record<string, string>> | null;
  readonly headers: readonly { readonly key: string; readonly value: string | null }[];
}

export type MessageFormat = 'null' | 'text' | 'json' | 'cbor' | 'base64';

export interface ReloadView {
  readonly changed: readonly { readonly path: string; readonly from: string; readonly to: string }[];
  readonly restart: readonly { readonly path: string; readonly from: string; readonly to: string }[];
}

export interface MessageQuery {
  readonly topic: string;
  readonly partition: number;
  /** Offset, or the first record at or after a time. */
  readonly from: { readonly offset: number } | { readonly timestamp: number };
  readonly limit: number;
}

/** One named condition of readiness; `ok` false makes /readyz answer 503. */
export interface ReadyCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly detail?: string;
}

/** Expected failures are HeadwaterErrors; they become 4xx answers with their message. */
export interface StandbyView {
  readonly role: 'leader' | 'follower';
  readonly link: string;
  readonly state: string;
  /** The other broker. */
  readonly peer: string;
  readonly sync: boolean;
  readonly lagRecords: number;
  readonly leaderEpoch: number;
  readonly lastError: string | null;
}

export interface PromotionView {
  readonly leaderEpoch: number;
}

export interface HttpProviders {
  ready(): readonly ReadyCheck[];
  broker(): Promise<BrokerView> | BrokerView;
  topics(): readonly TopicView[] | Promise<readonly TopicView[]>;
  groups(): readonly GroupView[] | Promise<readonly GroupView[]>;
  links(): readonly LinkView[] | Promise<readonly LinkView[]>;
  /** At most `limit`, connected ones first. */
  clients(limit: number): readonly MqttClientView[] | Promise<readonly MqttClientView[]>;
  messages(query: MessageQuery): Promise<readonly MessageView[]>;
  createTopic(name: string, partitions: number, config: ReadonlyMap<string, string>): Promise<void>;
  alterTopic(name: string, changes: ReadonlyMap<string, string | null>, partitions: number | null): Promise<void>;
  deleteTopic(name: string): Promise<void>;
  /** `to`: a position every partition of the topic is set to. The group must have no members. */
  resetOffsets(group: string, topic: string, to: 'earliest' | 'latest' | number): Promise<void>;
  pauseLink(name: string, paused: boolean): Promise<LinkView> | LinkView;
  /** null: it is not one of a pair. */
  standby(): StandbyView | null;
  /** Leads from now on. */
  promote(): Promise<PromotionView>;
  reload(): Promise<ReloadView>;
}
