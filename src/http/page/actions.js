// Requests to the API, and the dialogs that change something.
import { h } from './dom.js';

/** Throws an Error whose message is the broker's own reason. */
export async function api(path, method = 'GET', body = undefined) {
  const answer = await fetch(`/api/v1/${path}`, {
    method,
    headers: {
      accept: 'application/json',
      'x-requested-with': 'page',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const value = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(value?.error?.message ?? `the broker answered ${answer.status}`);
  return value;
}

/**
 * A form in a dialog. `fields`: name, label and attributes of an input, or options for a select. `act` gets the values;
 * what it throws is shown and the dialog stays.
 */
export function ask(title, fields, action, act, danger = false) {
  const dialog = document.querySelector('#dialog');
  const inputs = fields.map(({ name, label, options, ...attributes }) => {
    const input = options
      ? h('select', { name, ...attributes }, ...options.map((value) => h('option', { value }, value)))
      : h('input', { name, autocomplete: 'off', ...attributes });
    return h('label', {}, label, input);
  });
  const problem = h('p', { class: 'bad', role: 'alert' });
  const submit = async (event) => {
    event.preventDefault();
    problem.textContent = '';
    try {
      await act(Object.fromEntries(new FormData(event.target)));
      dialog.close();
      window.dispatchEvent(new Event('refresh'));
    } catch (error) {
      problem.textContent = error.message;
    }
  };
  dialog.replaceChildren(
    h(
      'form',
      { submit },
      h('h2', { id: 'dialog-title' }, title),
      ...inputs,
      problem,
      h(
        'div',
        { class: 'bar' },
        h('button', { type: 'button', click: () => dialog.close() }, 'Cancel'),
        h('button', { class: danger ? 'danger' : 'primary' }, action),
      ),
    ),
  );
  dialog.showModal();
}

/** `name=value` a line or separated by blanks. */
export function pairs(text) {
  const result = {};
  for (const part of text.trim().split(/\s+/)) {
    if (part === '') continue;
    const equals = part.indexOf('=');
    if (equals < 1) throw new Error(`"${part}" is not name=value`);
    result[part.slice(0, equals)] = part.slice(equals + 1) === '' ? null : part.slice(equals + 1);
  }
  return result;
}

export function createTopic() {
  ask(
    'Create a topic',
    [
      { name: 'name', label: 'Name', required: true, pattern: '[A-Za-z0-9._\\-]{1,249}' },
      { name: 'partitions', label: 'Partitions (empty: the default)', type: 'number', min: 1, max: 4096 },
      { name: 'config', label: 'Settings, for instance retention.ms=7d compression.type=zstd' },
    ],
    'Create',
    async ({ name, partitions, config }) => {
      const body = { name, config: pairs(config) };
      await api('topics', 'POST', partitions === '' ? body : { ...body, partitions: Number(partitions) });
      location.hash = `#/topics/${encodeURIComponent(name)}`;
    },
  );
}

export function alterTopic(topic) {
  const set = Object.entries(topic.overrides).map(([name, value]) => `${name}=${value}`);
  ask(
    `Alter ${topic.name}`,
    [
      {
        name: 'partitions',
        label: 'Partitions (may grow only)',
        type: 'number',
        min: topic.partitions.length,
        max: 4096,
        value: topic.partitions.length,
      },
      { name: 'config', label: 'Settings to change; name= for the default', value: set.join(' ') },
    ],
    'Alter',
    async ({ partitions, config }) => {
      const body = { config: pairs(config) };
      const grown = Number(partitions) > topic.partitions.length;
      await api(
        `topics/${encodeURIComponent(topic.name)}`,
        'PATCH',
        grown ? { ...body, partitions: Number(partitions) } : body,
      );
    },
  );
}

export function deleteTopic(topic) {
  ask(
    `Delete ${topic.name} and its ${topic.records.toLocaleString('en-US')} records?`,
    [{ name: 'name', label: 'Type its name to go on', required: true }],
    'Delete',
    async ({ name }) => {
      if (name !== topic.name) throw new Error('that is not its name');
      await api(`topics/${encodeURIComponent(name)}`, 'DELETE');
      location.hash = '#/topics';
    },
    true,
  );
}

export function resetOffsets(group) {
  const topics = [...new Set(group.offsets.map(({ topic }) => topic))];
  ask(
    `Reset offsets of ${group.group}`,
    [
      { name: 'topic', label: 'Topic', options: topics },
      {
        name: 'to',
        label: 'To: earliest, latest or an offset',
        required: true,
        pattern: 'earliest|latest|[0-9]+',
        value: 'earliest',
      },
    ],
    'Reset',
    ({ topic, to }) =>
      api(`groups/${encodeURIComponent(group.group)}/offsets`, 'POST', {
        topic,
        to: /^\d+$/.test(to) ? Number(to) : to,
      }),
  );
}
