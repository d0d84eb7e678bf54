import { describe, expect, it } from 'vitest';
import { renderMetrics } from '../../src/http/prometheus.ts';
import { Metrics } from '../../src/metrics.ts';

const render = (metrics: Metrics) => [...renderMetrics(metrics)].join('');

describe('the Prometheus page', () => {
  it('writes counters, gauges and labels', () => {
    const metrics = new Metrics();
    metrics.counter('a_total', 'Of a.').value = 3;
    metrics.gauge('g', 'Of g.', () => 1.5);
    const by = metrics.counters('b_total', 'Of b.', 'reason');
    by('x').value += 1;
    by('y').value += 2;
    expect(render(metrics)).toBe(
      [
        '# HELP a_total Of a.',
        '# TYPE a_total counter',
        'a_total 3',
        '# HELP g Of g.',
        '# TYPE g gauge',
        'g 1.5',
        '# HELP b_total Of b.',
        '# TYPE b_total counter',
        'b_total{reason="x"} 1',
        'b_total{reason="y"} 2',
        '',
      ].join('\n'),
    );
  });

  it('escapes what would end a line or a label', () => {
    const metrics = new Metrics();
    metrics.counters('e_total', 'back\\slash\nnewline', 'topic')('a"b\\c\nd').value = 1;
    expect(render(metrics)).toBe(
      '# HELP e_total back\\\\slash\\nnewline\n# TYPE e_total counter\ne_total{topic="a\\"b\\\\c\\nd"} 1\n',
    );
  });

  it('writes histograms cumulatively, with +Inf, sum and count', () => {
    const metrics = new Metrics();
    const histogram = metrics.histogram('h_seconds', 'Of h.', [0.1, 1]);
    for (const value of [0.05, 0.1, 0.5, 7]) histogram.observe(value);
    expect(render(metrics).split('\n').slice(2, 7)).toEqual([
      'h_seconds_bucket{le="0.1"} 2',
      'h_seconds_bucket{le="1"} 3',
      'h_seconds_bucket{le="+Inf"} 4',
      'h_seconds_sum 7.65',
      'h_seconds_count 4',
    ]);
  });

  it('writes what is not a number as Prometheus reads it', () => {
    const metrics = new Metrics();
    metrics.gauge('n', 'N.', () => [
      { labels: { k: 'a' }, value: Number.NaN },
      { labels: { k: 'b' }, value: Number.NEGATIVE_INFINITY },
    ]);
    expect(render(metrics)).toContain('n{k="a"} NaN\nn{k="b"} -Inf\n');
  });
});
