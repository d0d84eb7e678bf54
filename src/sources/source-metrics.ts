import type { Metrics, Series } from '../metrics.ts';
import type { SourceStatus } from './settings.ts';

export interface SourceCounters {
  readonly records: Series;
  readonly bytes: Series;
  readonly cut: Series;
  readonly truncations: Series;
  readonly vanished: Series;
  readonly failures: Series;
}

/** Registers the metrics of all sources; gives the counters of one. */
export function sourceMetrics(
  metrics: Metrics,
  status: () => readonly SourceStatus[],
): (source: string) => SourceCounters {
  const counters = (what: string, help: string): ((source: string) => Series) =>
    metrics.counters(`headwater_source_${what}_total`, help, 'source');
  const records = counters('records', 'Records of files that are stored.');
  const bytes = counters('bytes', 'Bytes of files that are stored.');
  const cut = counters('cut_records', 'Records that were cut at record.max.bytes.');
  const truncations = counters('truncations', 'Times a file was found shorter or with another beginning: read afresh.');
  const vanished = counters('vanished_files', 'Files that went away while nobody read them: their rest is lost.');
  const failures = counters('failures', 'Steps that failed and were tried again.');
  const gauge = (what: string, help: string, read: (source: SourceStatus) => number): void => {
    metrics.gauge(`headwater_source_${what}`, help, () =>
      status().map((source) => ({ labels: { source: source.name }, value: read(source) })),
    );
  };
  gauge('files', 'Files held open.', (source) => source.files);
  gauge('backlog_bytes', 'Bytes of open files that are not stored yet.', (source) => source.backlogBytes);
  gauge('up', '0 while the source fails.', (source) => (source.state === 'failing' ? 0 : 1));
  return (source) => ({
    records: records(source),
    bytes: bytes(source),
    cut: cut(source),
    truncations: truncations(source),
    vanished: vanished(source),
    failures: failures(source),
  });
}
