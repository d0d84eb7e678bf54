// One curve over time: no library, no requests to anybody.
import { h, svg } from './dom.js';

const WIDTH = 600;
const HEIGHT = 120;

/**
 * @param {string} title
 * @param {number[]} at milliseconds since 1970, ascending
 * @param {number[]} values
 * @param {(value: number) => string} format
 */
export function chart(title, at, values, format) {
  const last = values.length === 0 ? '–' : format(values[values.length - 1]);
  const now = h('b', {}, last);
  const when = h('span', {}, values.length < 2 ? 'gathering' : `last ${span(at[at.length - 1] - at[0])}`);
  const caption = h('figcaption', {}, h('span', {}, title, ' ', now), when);
  if (values.length < 2) return h('figure', {}, caption);
  const top = Math.max(...values, 1e-9) * 1.05;
  const x = (i) => ((at[i] - at[0]) / (at[at.length - 1] - at[0] || 1)) * WIDTH;
  const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 8);
  const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`);
  const cursor = svg('line', { class: 'cursor', y1: 0, y2: HEIGHT, visibility: 'hidden' });
  const picture = svg(
    'svg',
    {
      class: 'chart',
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: 'none',
      role: 'img',
      'aria-label': `${title}: now ${last}, at most ${format(Math.max(...values))}`,
    },
    svg('line', { class: 'rule', x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }),
    svg('polygon', { class: 'area', points: `0,${HEIGHT} ${points.join(' ')} ${WIDTH},${HEIGHT}` }),
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
  return h('figure', {}, caption, picture);
}

function span(ms) {
  const minutes = Math.round(ms / 60000);
  return minutes < 1
    ? `${Math.round(ms / 1000)} s`
    : minutes < 120
      ? `${minutes} min`
      : `${Math.round(minutes / 60)} h`;
}
