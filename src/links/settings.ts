/** What a link is told and what it tells. The section `links` of the configuration fits `LinkSettings`. */
export interface LinkSettings {
  readonly type: 'kafka' | 'mqtt' | 'standby';
  /** type standby. */
  readonly 'initial.role': 'leader' | 'follower';
  readonly 'bootstrap.servers': readonly string[];
  readonly url: string | null;
  readonly topics: readonly string[];
  readonly pull: readonly string[];
  readonly rename: string;
  readonly acks: '1' | 'all';
  readonly replicas: 'async' | 'sync';
  readonly transactional: boolean;
  readonly oversize: 'block' | 'skip';
  readonly 'compression.type': 'stored' | 'gzip' | 'snappy' | 'lz4' | 'zstd';
  readonly filter: readonly string[];
  readonly where: readonly string[];
  readonly transform: 'none' | 'cbor-to-json';
  readonly partitioner: 'keep' | 'hash';
  readonly 'num.partitions': number;
  readonly 'replication.factor': number;
  readonly 'max.bytes.per.second': number;
  readonly 'live.share.percent': number;
  readonly windows: readonly string[];
  readonly 'budget.day.bytes': number;
  readonly 'budget.month.bytes': number;
  readonly 'max.request.size': number;
  readonly 'max.in.flight.requests.per.connection': number;
  readonly 'request.timeout.ms': number;
  readonly 'retry.backoff.ms': number;
  readonly 'retry.backoff.max.ms': number;
  readonly 'client.id': string | null;
  readonly 'security.protocol': 'PLAINTEXT' | 'SSL' | 'SASL_PLAINTEXT' | 'SASL_SSL';
  readonly 'sasl.mechanism': 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512';
  readonly username: string | null;
  readonly password: string | null;
  readonly 'password.file': string | null;
  readonly 'ssl.ca.file': string | null;
  readonly 'ssl.certificate.file': string | null;
  readonly 'ssl.key.file': string | null;
  readonly paused: boolean;
}

export interface LinkPartitionStatus {
  readonly topic: string;
  readonly partition: number;
  /** Everything below it is upstream. */
  readonly nextOffset: number;
  readonly logEndOffset: number;
  readonly state: string;
  readonly upstreamTopic: string;
  readonly upstreamPartition: number;
  readonly error: string | null;
}

export interface LinkStatus {
  readonly name: string;
  readonly type: string;
  /** connecting, live, draining, backing-off, blocked, paused, waiting (window or budget), stopped. */
  readonly state: string;
  readonly target: string;
  readonly backlogRecords: number;
  /** Estimated from the size of the log. */
  readonly backlogBytes: number;
  readonly oldestUnsentAgeMs: number | null;
  readonly recordsPerSecond: number;
  readonly bytesPerSecond: number;
  /** At the present rate; null while there is none. */
  readonly etaMs: number | null;
  /** Until the disk of the log is full at the rate of the last minutes; null: it is not filling. */
  readonly fullMs: number | null;
  readonly resends: number;
  readonly duplicatesAvoided: number;
  readonly lostRecords: number;
  /** Partitions that are pulled down and cannot be read at present. */
  readonly pullFailing: number;
  readonly lastError: string | null;
  readonly partitions: readonly LinkPartitionStatus[];
}
