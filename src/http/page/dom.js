// Elements without markup: what a record or a name contains is text and stays text.

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * `h('td', { class: 'number' }, 5)`. Functions become event listeners (`click`, ...), the rest attributes.
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes]
 * @param {...Child} children
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  setAttributes(element, attributes);
  append(element, children);
  return element;
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  setAttributes(element, attributes);
  append(element, children);
  return element;
}

function setAttributes(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
}

function append(element, children) {
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false)
      element.append(child instanceof Node ? child : String(child));
  }
}

/**
 * A table with a caption for screen readers. A column: head, of(row) and perhaps number: true.
 * @param {string} caption
 */
export function table(caption, columns, rows, empty) {
  if (rows.length === 0) return h('p', { class: 'muted' }, empty);
  const cell = (column, content) => h('td', { class: column.class ?? (column.number ? 'number' : null) }, content);
  return h(
    'div',
    { class: 'scroll', role: 'region', 'aria-label': caption, tabindex: 0 },
    h(
      'table',
      {},
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          ...columns.map((column) => h('th', { scope: 'col', class: column.number ? 'number' : null }, column.head)),
        ),
      ),
      h('tbody', {}, ...rows.map((row) => h('tr', {}, ...columns.map((column) => cell(column, column.of(row)))))),
    ),
  );
}

/** A list of names and values. */
export function facts(entries) {
  return h(
    'dl',
    { class: 'facts' },
    ...entries.map(([name, value, kind]) => h('div', {}, h('dt', {}, name), h('dd', { class: kind }, value))),
  );
}

export function count(value) {
  return value === null || value === undefined ? '–' : Number(value).toLocaleString('en-US');
}

export function bytes(value) {
  if (value === null || value === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${value} B` : `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

export function duration(ms) {
  if (ms === null || ms === undefined) return '–';
  const parts = [];
  let rest = Math.round(ms / 1000);
  for (const [unit, seconds] of [
    ['d', 86400],
    ['h', 3600],
    ['m', 60],
    ['s', 1],
  ]) {
    const n = Math.floor(rest / seconds);
    rest -= n * seconds;
    if (n > 0 && parts.length < 2) parts.push(`${n}${unit}`);
    else if (parts.length > 0) break;
  }
  return parts.join(' ') || '0s';
}

export function time(ms) {
  return ms === null || ms === undefined || ms < 0
    ? '–'
    : new Date(ms).toISOString().replace('T', ' ').replace('Z', '');
}
