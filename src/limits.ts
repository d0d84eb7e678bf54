/**
 * Every bound of the broker that is not a setting, unit in the name. Relations between them are asserted at load, so a
 * change that breaks one fails before anything starts. Settings (src/config) may only narrow these.
 */
const KiB = 1024;
const MiB = 1024 * KiB;

// Frames and packets
/** Kafka's socket.request.max.bytes is 100 MiB; an edge host cannot hold that. A larger frame closes the connection. */
export const KAFKA_REQUEST_MAX_BYTES = 8 * MiB;
/** A response is built in memory before it is sent. */
export const KAFKA_RESPONSE_MAX_BYTES = 8 * MiB;
/**
 * Fetch is cut to this whatever the client asks for, except for one batch that is larger: with 8 MiB a consumer of 200 partitions that
 * was behind made the broker 35 MB larger, and was 5 % faster.
 */
export const FETCH_ANSWER_MAX_BYTES = 2 * MiB;
/** [MQTT-3.1.2-24] announced as Maximum Packet Size; 3.1.1 clients that exceed it are disconnected. */
export const MQTT_PACKET_MAX_BYTES = 1 * MiB;
/** One record batch as it is stored. */
export const BATCH_MAX_BYTES = 4 * MiB;
/** The records of one batch once decompressed; more is treated as damage. */
export const BATCH_DECOMPRESSED_MAX_BYTES = 16 * MiB;

// Connections
export const KAFKA_CONNECTIONS_MAX = 1_000;
export const MQTT_CONNECTIONS_MAX = 10_000;
/** From accept to CONNECT [MQTT-3.1.4-1: a reasonable time]. */
export const MQTT_CONNECT_TIMEOUT_MS = 10_000;
/** A packet that does not become whole within this time (slow-loris) closes its connection. */
export const MQTT_PACKET_TIMEOUT_MS = 60_000;
/** Receive Maximum announced to MQTT 5 clients: QoS 1 and 2 publishes not yet acknowledged. */
export const MQTT_RECEIVE_MAXIMUM = 1_024;
/** Deliveries at QoS 1 and 2 on the way to one client, whatever it would take. */
export const MQTT_INFLIGHT_MAX = 256;
/**
 * The same in bytes. And publishes of one connection that wait for their synced write: above it the socket is not read.
 * mqtt.max.inflight.bytes narrows both.
 */
export const MQTT_INFLIGHT_MAX_BYTES = 512 * KiB;
/** Deliveries waiting in one socket; above it the subscriber falls behind and reads from the log. */
export const MQTT_OUTPUT_HIGH_WATER_BYTES = 64 * KiB;
/** Topic Alias Maximum, both ways. */
export const MQTT_TOPIC_ALIASES_MAX = 32;
export const MQTT_TOPIC_LEVELS_MAX = 128;
export const MQTT_SUBSCRIPTIONS_PER_SESSION_MAX = 1_000;
export const MQTT_SUBSCRIPTIONS_MAX = 100_000;
/** Sessions, connected or not. */
export const MQTT_SESSIONS_MAX = 100_000;
/** Retained messages: topics and payloads in memory, all together. */
export const MQTT_RETAINED_MAX_BYTES = 8 * MiB;
/** Wills of connected clients: topics and payloads in memory; a CONNECT with one more is refused. */
export const MQTT_WILLS_MAX_BYTES = 4 * MiB;
/** Sessions that read their backlog from the log at the same time, and how much one of them reads in a step. */
export const MQTT_CATCH_UP_READERS_MAX = 8;
export const MQTT_CATCH_UP_READ_BYTES = 64 * KiB;
/** Topics whose route and matching subscriptions are remembered. */
export const MQTT_TOPIC_CACHE_ENTRIES = 4_096;
/** Bytes queued towards one socket before its reader is paused. */
export const SOCKET_OUTPUT_HIGH_WATER_BYTES = 256 * KiB;

/** Requests that have arrived in part, all Kafka connections together: above it the one that grows is closed. */
export const KAFKA_PARTIAL_REQUESTS_MAX_BYTES = 32 * MiB;
/** Rows that the follower of a pair gets in one answer; one that is larger comes alone. */
export const PAIR_PAGE_BYTES = 256 * KiB;
/** Keys of rows that changed since the follower asked; more, and it asks for everything. */
export const PAIR_CHANGES_MAX_BYTES = 1 * MiB;
/** Answers that wait for slow sockets, all Kafka connections together: above it Fetch answers shrink to one batch. */
export const KAFKA_OUTPUT_MAX_BYTES = 24 * MiB;
/** Requests of one connection that are answered in order: more are left unread (Java clients pipeline 5). */
export const KAFKA_PIPELINED_REQUESTS_MAX = 64;

/** Users of users.file beyond which Kafka's tools add none; `headwater users` may, and so may an editor. */
export const USERS_OVER_KAFKA_MAX = 1_000;

/** Client quotas that are kept. */
export const QUOTAS_MAX = 1_000;
/** Users and client ids whose use of a quota is remembered (about 300 bytes each); all are forgotten when it is full. */
export const QUOTA_CLIENTS_MAX = 4_000;

/** The longest pause that a Kafka server may ask of us (`throttle_time_ms`); one that asks for more is asked again after this. */
export const THROTTLE_MAX_MS = 3_600_000;

// The log
/** Appends that wait for the next synced write, all partitions together; above it the edges stop reading sockets. */
export const APPEND_QUEUE_MAX_BYTES = 4 * MiB;
/** One synced write: a bigger one only lengthens the wait of everybody in it. */
export const COMMIT_MAX_BYTES = 1 * MiB;
/** The newest batches kept in memory for readers at the end of the log, all partitions together. */
export const TAIL_CACHE_MAX_BYTES = 4 * MiB;
/** Read ahead of readers that go through the log, all together. */
export const READ_AHEAD_MAX_BYTES = 2 * MiB;
/** Key filters of chunks that readers of few topics used lately (log/key-filter.ts). */
export const KEY_FILTERS_MAX_BYTES = 2 * MiB;
/** Keys of one pass of compaction, as hashes with their newest offset (32 bytes each); more keys take more passes. */
export const COMPACTION_MAP_MAX_BYTES = 2 * MiB;
export const OPEN_SLICES_MAX = 64;
export const PARTITIONS_MAX = 4_096;
/** Kafka's rule for topic names: [a-zA-Z0-9._-], not "." or "..". */
export const TOPIC_NAME_MAX_CHARS = 249;
/** Producers remembered per partition for idempotence (KIP-98); the longest idle one gives way. */
export const PRODUCERS_PER_PARTITION_MAX = 1_000;

// Sources
/** Files that one source holds open; the others wait for their turn. */
export const SOURCE_FILES_MAX = 128;
/** Files that one source looks at; what its patterns match beyond that is not read. */
export const SOURCE_MATCHES_MAX = 4_096;
/** Positions that one source remembers; above it those of files that are gone are forgotten. */
export const SOURCE_POSITIONS_MAX = 4_096;
/** A record of a file, whatever the setting: with the line behind it in memory twice. */
export const SOURCE_RECORD_MAX_BYTES = 1 * MiB;
/** What a source reads at once, at least. */
export const SOURCE_READ_BYTES = 128 * KiB;

// Groups
export const GROUPS_MAX = 1_000;
export const GROUP_MEMBERS_MAX = 200;
export const GROUP_METADATA_MAX_BYTES = 64 * KiB;
/** Members and committed offsets of all groups in memory; above it no new member and no new partition is taken. */
export const GROUPS_TOTAL_MAX_BYTES = 8 * MiB;
/** Transactional ids remembered; idle ones expire (transactional.id.expiration.ms). */
export const TRANSACTIONAL_IDS_MAX = 2_000;

function assert(holds: boolean, relation: string): void {
  if (!holds) throw new RangeError(`limits.ts: ${relation} does not hold`);
}

assert(BATCH_MAX_BYTES <= KAFKA_REQUEST_MAX_BYTES, 'BATCH_MAX_BYTES <= KAFKA_REQUEST_MAX_BYTES');
assert(BATCH_MAX_BYTES <= APPEND_QUEUE_MAX_BYTES, 'BATCH_MAX_BYTES <= APPEND_QUEUE_MAX_BYTES');
assert(BATCH_MAX_BYTES <= KAFKA_RESPONSE_MAX_BYTES, 'BATCH_MAX_BYTES <= KAFKA_RESPONSE_MAX_BYTES');
assert(
  KAFKA_REQUEST_MAX_BYTES <= KAFKA_PARTIAL_REQUESTS_MAX_BYTES,
  'KAFKA_REQUEST_MAX_BYTES <= KAFKA_PARTIAL_REQUESTS_MAX_BYTES',
);
assert(FETCH_ANSWER_MAX_BYTES <= KAFKA_RESPONSE_MAX_BYTES, 'FETCH_ANSWER_MAX_BYTES <= KAFKA_RESPONSE_MAX_BYTES');
assert(KAFKA_RESPONSE_MAX_BYTES <= KAFKA_OUTPUT_MAX_BYTES, 'KAFKA_RESPONSE_MAX_BYTES <= KAFKA_OUTPUT_MAX_BYTES');
assert(SOURCE_RECORD_MAX_BYTES <= BATCH_MAX_BYTES, 'SOURCE_RECORD_MAX_BYTES <= BATCH_MAX_BYTES');
assert(SOURCE_FILES_MAX <= SOURCE_POSITIONS_MAX, 'SOURCE_FILES_MAX <= SOURCE_POSITIONS_MAX');
assert(MQTT_PACKET_MAX_BYTES <= BATCH_MAX_BYTES, 'MQTT_PACKET_MAX_BYTES <= BATCH_MAX_BYTES');
assert(COMMIT_MAX_BYTES <= APPEND_QUEUE_MAX_BYTES, 'COMMIT_MAX_BYTES <= APPEND_QUEUE_MAX_BYTES');
