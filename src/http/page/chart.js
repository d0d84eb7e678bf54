// One curve over time: no library, no requests to anybody.
import { h, svg } from './dom.js';

const WIDTH = 600;
const HEIGHT = 120;

/** The next round number above `value`: 1, 2 or 5 of its power of ten, or of 1024 for bytes. */
function round(value, isBytes) {
  let unit = 1;
  while (isBytes && value / unit >= 1024) unit *= 1024;
  const power = 10 ** Math.floor(Math.log10(value / unit));
  const first = [1, 2, 3, 4, 5, 6, 8, 10].find((step) => step * power * unit >= value) ?? 10;
  return first * power * unit;
}

/**
 * @param {string} title
 * @param {number[]} at milliseconds since 1970, ascending
 * @param {number[]} values
 * @param {(value: number) => string} format
 * @param {'number' | 'bytes' | 'count'} kind counts are whole: the middle of their scale must be, too
 */
export function chart(title, at, values, format, kind = 'number') {
  const last = values.length === 0 ? '–' : format(values[values.length - 1]);
  const now = h('b', {}, last);
  const when = h('span', {}, values.length < 2 ? 'gathering' : `last ${span(at[at.length - 1] - at[0])}`);
  const caption = h('figcaption', {}, h('span', {}, title, ' ', now), when);
  if (values.length < 2)
    return h('figure', {}, caption, h('div', { class: 'plot muted' }, 'The first samples come soon.'));
  const highest = Math.max(...values);
  const rounded = highest > 0 ? round(highest, kind === 'bytes') : 1;
  const top = kind === 'count' ? Math.ceil(rounded / 2) * 2 : rounded;
  const x = (i) => ((at[i] - at[0]) / (at[at.length - 1] - at[0] || 1)) * WIDTH;
  const y = (value) => HEIGHT - 1 - (value / top) * (HEIGHT - 2);
  const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`);
  const cursor = svg('line', { class: 'cursor', y1: 0, y2: HEIGHT, visibility: 'hidden' });
  const picture = svg(
    'svg',
    {
      class: 'chart',
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: 'none',
      role: 'img',
      'aria-label': `${title}: now ${last}, at most ${format(highest)}`,
    },
    svg('polygon', { class: 'area', points: `0,${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}` }),
    ...[0, top / 2, top].map((value) => svg('line', { class: 'rule', x1: 0, x2: WIDTH, y1: y(value), y2: y(value) })),
    svg('polyline', { class: 'curve', points: points.join(' ') }),
    cursor,
  );
  picture.addEventListener('pointermove', (event) => {
    const box = picture.getBoundingClientRect();
    const wanted = at[0] + ((event.clientX - box.left) / box.width) * (at[at.length - 1] - at[0]);
    let i = at.findIndex((time) => time >= wanted);
    if (i < 0) i = at.length - 1;
    cursor.setAttribute('x1', String(x(i)));
    cursor.setAttribute('x2', String(x(i)));
    cursor.setAttribute('visibility', 'visible');
    now.textContent = format(values[i]);
    when.textContent = new Date(at[i]).toLocaleTimeString();
  });
  picture.addEventListener('pointerleave', () => {
    cursor.setAttribute('visibility', 'hidden');
    now.textContent = last;
    when.textContent = `last ${span(at[at.length - 1] - at[0])}`;
  });
  const seconds = at[at.length - 1] - at[0] < 600_000 ? { second: '2-digit' } : {};
  const clock = (ms) =>
    new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', ...seconds });
  const middle = at[0] + (at[at.length - 1] - at[0]) / 2;
  return h(
    'figure',
    {},
    caption,
    h(
      'div',
      { class: 'plot' },
      h(
        'div',
        { class: 'scale', 'aria-hidden': 'true' },
        ...[top, top / 2, 0].map((value) => h('span', {}, value === 0 ? '0' : format(value))),
      ),
      picture,
      h(
        'div',
        { class: 'times', 'aria-hidden': 'true' },
        ...[at[0], middle, at[at.length - 1]].map((ms) => h('span', {}, clock(ms))),
      ),
    ),
  );
}

function span(ms) {
  const minutes = Math.round(ms / 60000);
  return minutes < 1
    ? `${Math.round(ms / 1000)} s`
    : minutes < 120
      ? `${minutes} min`
      : `${Math.round(minutes / 60)} h`;
}
