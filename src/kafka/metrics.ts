/** What the Kafka edge counts. */
import type { Metrics, Series } from '../metrics.ts';
import { kafkaErrorName } from '../wire/kafka/errors.ts';

export interface EdgeMetrics {
  readonly request: (api: string) => Series;
  /** Why connections were closed by this side. */
  readonly closed: (reason: string) => Series;
  readonly bytesIn: Series;
  readonly bytesOut: Series;
  readonly malformed: Series;
  readonly connections: Series;
  readonly refusedConnections: Series;
  readonly authenticationFailures: Series;
  /** Answers that told a client to wait, by quota. */
  readonly throttled: (quota: string) => Series;
  /** Counts an error code of the protocol that goes to a client; 0 is not one. */
  error(code: number): void;
}

export function edgeMetrics(metrics: Metrics, open: () => number, outputBytes: () => number): EdgeMetrics {
  const errors = metrics.counters(
    'headwater_kafka_errors_total',
    'Error codes answered to Kafka clients, one for each partition or resource they stand for.',
    'error',
  );
  metrics.gauge('headwater_kafka_connections', 'Open Kafka connections.', open);
  metrics.gauge(
    'headwater_kafka_output_bytes',
    'Answers that wait for sockets, all connections together.',
    outputBytes,
  );
  return {
    request: metrics.counters('headwater_kafka_requests_total', 'Requests by API.', 'api'),
    closed: metrics.counters(
      'headwater_kafka_closed_connections_total',
      'Kafka connections that this broker closed, by reason.',
      'reason',
    ),
    bytesIn: metrics.counter('headwater_kafka_received_bytes_total', 'Bytes received from Kafka clients.'),
    bytesOut: metrics.counter('headwater_kafka_sent_bytes_total', 'Bytes sent to Kafka clients.'),
    malformed: metrics.counter('headwater_kafka_malformed_requests_total', 'Requests that could not be decoded.'),
    connections: metrics.counter('headwater_kafka_accepted_connections_total', 'Kafka connections accepted.'),
    refusedConnections: metrics.counter(
      'headwater_kafka_refused_connections_total',
      'Kafka connections refused because max.connections or memory.budget is reached.',
    ),
    authenticationFailures: metrics.counter(
      'headwater_kafka_authentication_failures_total',
      'SASL exchanges that failed.',
    ),
    throttled: metrics.counters(
      'headwater_kafka_throttled_requests_total',
      'Answers that told a Kafka client to wait for its quota.',
      'quota',
    ),
    error(code) {
      if (code !== 0) errors(kafkaErrorName(code)).value += 1;
    },
  };
}
