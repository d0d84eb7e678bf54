/** The edge's metrics, registered once. */
import type { Metrics, Series } from '../metrics.ts';

export interface MqttCounters {
  readonly connections: Series;
  readonly refused: (reason: string) => Series;
  readonly disconnects: (reason: string) => Series;
  readonly packetsIn: Series;
  readonly packetsOut: Series;
  readonly bytesIn: Series;
  readonly publishesIn: Series;
  readonly publishRefused: Series;
  readonly deliveries: Series;
  readonly dropped: (reason: string) => Series;
  readonly expired: Series;
  readonly unreadable: Series;
  readonly fellBehind: Series;
  readonly skippedByRetention: Series;
  /** The same by client identifier, or `$share/{name}/{filter}`. */
  readonly skippedBySession: (session: string) => Series;
  readonly pauses: Series;
  readonly throttled: (bound: string) => Series;
  readonly takeovers: Series;
  readonly sessionWrites: Series;
}

export function mqttCounters(metrics: Metrics): MqttCounters {
  const counter = (name: string, help: string) => metrics.counter(`headwater_mqtt_${name}_total`, help);
  const counters = (name: string, help: string) => metrics.counters(`headwater_mqtt_${name}_total`, help, 'reason', 64);
  return {
    connections: counter('connections', 'Network connections accepted.'),
    refused: counters('refused', 'CONNECTs refused, and connections closed before one, by reason.'),
    disconnects: counters('disconnects', 'Connections that ended, by reason.'),
    packetsIn: counter('packets_received', 'MQTT packets received.'),
    packetsOut: counter('packets_sent', 'MQTT packets sent, acknowledgements included.'),
    bytesIn: counter('bytes_received', 'Bytes received on MQTT connections.'),
    publishesIn: counter('publishes_received', 'PUBLISH packets received.'),
    publishRefused: counter('publishes_refused', 'Publishes that were not stored.'),
    deliveries: counter('deliveries', 'PUBLISH packets sent to subscribers.'),
    dropped: counters('deliveries_dropped', 'Messages that a subscriber did not get, by reason.'),
    expired: counter('expired', 'Messages that expired before they could be delivered.'),
    unreadable: counter('unreadable', 'Times that records could not be read back for subscribers.'),
    fellBehind: counter('fell_behind', 'Times that a subscriber fell behind the end of the log.'),
    skippedByRetention: counter('skipped_records', 'Records removed by retention before a session could read them.'),
    skippedBySession: metrics.counters(
      'headwater_mqtt_session_skipped_records_total',
      'Records removed by retention before this session (or shared subscription) could read them.',
      'session',
    ),
    pauses: counter('pauses', 'Times that a socket was not read because of back-pressure.'),
    throttled: metrics.counters(
      'headwater_mqtt_throttled_total',
      'Times that a client was made to wait by a bound on what one client may take.',
      'bound',
    ),
    takeovers: counter('takeovers', 'Sessions taken over by a newer connection.'),
    sessionWrites: counter('session_writes', 'Writes of session state to the store.'),
  };
}
