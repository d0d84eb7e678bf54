import type { Metrics, Series } from '../metrics.ts';
import type { LinkCounters } from './kafka-link.ts';
import type { LinkStatus } from './settings.ts';

/** Registers the metrics of all links; gives the counters of one. */
export function linkMetrics(metrics: Metrics, status: () => readonly LinkStatus[]): (link: string) => LinkCounters {
  const counters = (what: string, help: string): ((link: string) => Series) =>
    metrics.counters(`headwater_link_${what}_total`, help, 'link');
  const records = counters('records', 'Records acknowledged upstream.');
  const bytes = counters('bytes', 'Bytes of record batches acknowledged upstream.');
  const resends = counters('resends', 'Batches that were sent again after a failure.');
  const avoided = counters('duplicates_avoided', 'Records that upstream had already when they were due again.');
  const lost = counters('lost_records', 'Records that were removed before they were sent: the loss ledger has them.');
  const oversize = counters('oversize_records', 'Records given up because upstream takes none of their size.');
  const rebuilds = counters('rebuilds', 'Times that a link without progress got new connections.');
  const throttled = counters(
    'throttle_seconds',
    'Pauses that upstream asked for (throttle_time_ms: its client quotas).',
  );
  const refusals = metrics.counters('headwater_link_refusals_total', 'Batches refused upstream, by error.', 'error');
  const gauge = (what: string, help: string, read: (link: LinkStatus) => number): void => {
    metrics.gauge(`headwater_link_${what}`, help, () =>
      status().map((link) => ({ labels: { link: link.name }, value: read(link) })),
    );
  };
  gauge('backlog_records', 'Records that are not upstream yet.', (link) => link.backlogRecords);
  gauge('backlog_bytes', 'Estimated bytes that are not upstream yet.', (link) => link.backlogBytes);
  gauge('oldest_unsent_seconds', 'Age of the oldest record that is not upstream yet.', (link) => {
    return (link.oldestUnsentAgeMs ?? 0) / 1000;
  });
  gauge('eta_seconds', 'Time until the backlog is sent, at the present rate; -1: not moving.', (link) => {
    return link.etaMs === null ? -1 : link.etaMs / 1000;
  });
  gauge(
    'full_seconds',
    'Time until the disk is full, at the rate of the last minutes; -1: it is not filling.',
    (link) => {
      return link.fullMs === null ? -1 : link.fullMs / 1000;
    },
  );
  gauge('pull_failing_partitions', 'Partitions upstream that are pulled and cannot be read at present.', (link) => {
    return link.pullFailing;
  });
  gauge('up', '1 while the link is connected and sends.', (link) => {
    return link.state === 'live' || link.state === 'draining' ? 1 : 0;
  });
  return (link) => ({
    records: records(link),
    bytes: bytes(link),
    resends: resends(link),
    avoided: avoided(link),
    lost: lost(link),
    oversize: oversize(link),
    rebuilds: rebuilds(link),
    throttled: throttled(link),
    refused: (error) => {
      refusals(error).value++;
    },
  });
}
