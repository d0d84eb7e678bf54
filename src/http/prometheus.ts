/** Metrics as Prometheus' text format, version 0.0.4. */
import type { Family, Labels, Metrics } from '../metrics.ts';

export const PROMETHEUS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** One piece per family, so that a page of many series never stands in memory as a whole. */
export function* renderMetrics(metrics: Metrics): Generator<string> {
  for (const family of metrics.families()) yield renderFamily(family);
}

function renderFamily(family: Family): string {
  const { name, type, help } = family;
  const lines = [`# HELP ${name} ${escapeHelp(help)}`, `# TYPE ${name} ${type}`];
  for (const { labels, value } of family.samples()) lines.push(`${name}${labelText(labels)} ${numberText(value)}`);
  for (const { labels, histogram } of family.histograms?.() ?? []) {
    let total = 0;
    histogram.counts.forEach((count, i) => {
      total += count;
      const bound = histogram.bounds[i];
      const le = bound === undefined ? '+Inf' : numberText(bound);
      lines.push(`${name}_bucket${labelText({ ...labels, le })} ${numberText(total)}`);
    });
    lines.push(`${name}_sum${labelText(labels)} ${numberText(histogram.sum)}`);
    lines.push(`${name}_count${labelText(labels)} ${numberText(total)}`);
  }
  return `${lines.join('\n')}\n`;
}

function labelText(labels: Labels): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return parts.length === 0 ? '' : `{${parts.join(',')}}`;
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function escapeLabel(text: string): string {
  return escapeHelp(text).replaceAll('"', '\\"');
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Number.POSITIVE_INFINITY) return '+Inf';
  if (value === Number.NEGATIVE_INFINITY) return '-Inf';
  return String(value);
}
