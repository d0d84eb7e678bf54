// Each view: asks the API and returns elements.
import { alterTopic, api, createTopic, deleteTopic, resetOffsets } from './actions.js';
import { chart } from './chart.js';
import { bytes, count, duration, facts, h, table, time } from './dom.js';
import { perSecond, rate } from './rates.js';

const link = (href, text) => h('a', { href }, text);
const topicLink = (name) => link(`#/topics/${encodeURIComponent(name)}`, name);
const section = (title, buttons, ...content) =>
  h('section', {}, h('div', { class: 'bar' }, h('h2', {}, title), ...buttons), ...content);
const button = (text, click, kind = null) => h('button', { type: 'button', class: kind, click }, text);

/** Records that the topic has taken in, a second. */
const intake = ({ name, partitions }) =>
  perSecond(
    rate(
      `topic ${name}`,
      partitions.reduce((sum, { highWatermark }) => sum + highWatermark, 0),
    ),
  );

/** Counts between samples as a rate a second. */
function rates({ at, records }) {
  const result = [];
  for (let i = 1; i < at.length; i++) {
    const seconds = (at[i] - at[i - 1]) / 1000;
    // A clock that was set, or topics that were deleted: no rate.
    result.push(seconds > 0 ? Math.max(0, (records[i] - records[i - 1]) / seconds) : 0);
  }
  return result;
}

export async function overview() {
  const [broker, links, history] = await Promise.all([api('broker'), api('links'), api('history')]);
  const perSecond = rates(history);
  const recent = perSecond.length === 0 ? null : perSecond[perSecond.length - 1];
  return [
    section(
      'Broker',
      [],
      facts([
        ['Records/s', recent === null ? '–' : recent.toFixed(recent < 10 ? 1 : 0)],
        ['Stored', bytes(broker.storedBytes)],
        ['Free on disk', bytes(broker.freeBytes)],
        ['Memory', bytes(broker.rssBytes), broker.rssBytes > broker.memoryBudgetBytes ? 'bad' : null],
        ['Memory budget', bytes(broker.memoryBudgetBytes)],
        ['Topics / partitions', `${count(broker.topics)} / ${count(broker.partitions)}`],
        ['Up', duration(broker.uptimeMs)],
        ['Clock', broker.timeTrusted ? 'trusted' : 'not trusted yet', broker.timeTrusted ? null : 'warn'],
        ...Object.entries(broker.listeners).map(([name, address]) => [name, address]),
      ]),
    ),
    h(
      'section',
      {},
      h('h2', {}, 'The last hours'),
      h(
        'div',
        { class: 'charts' },
        chart('Records/s', history.at.slice(1), perSecond, (value) => value.toFixed(value < 10 ? 1 : 0)),
        chart('Backlog, records', history.at, history.backlog, (value) => count(Math.round(value)), 'count'),
        chart('Memory', history.at, history.rssBytes, bytes, 'bytes'),
        chart('Stored', history.at, history.storedBytes, bytes, 'bytes'),
      ),
    ),
    linksSection(links),
  ];
}

/** A shorter list is seen at a glance. */
const FILTER_FROM = 10;

/** The list of topics, made once: what is typed into its filter stays when the figures are renewed or another view was looked at. */
function topicList() {
  let all = [];
  const title = h('span');
  const field = h('input', { id: 'filter', type: 'search', autocomplete: 'off', spellcheck: 'false', input: draw });
  const found = h('output', { for: 'filter' });
  const filter = h('div', { class: 'filter' }, h('label', { for: 'filter' }, 'Filter by name'), field, found);
  const rows = h('div');
  function draw() {
    filter.hidden = all.length < FILTER_FROM;
    const part = filter.hidden ? '' : field.value.trim();
    const shown = all.filter(({ name }) => name.toLowerCase().includes(part.toLowerCase()));
    title.textContent = `Topics (${all.length})`;
    found.textContent = part === '' ? '' : `${shown.length} of ${all.length}`;
    rows.replaceChildren(
      table(
        'Topics',
        [
          { head: 'Topic', of: ({ name }) => topicLink(name) },
          { head: 'Partitions', of: ({ partitions }) => partitions.length, number: true },
          { head: 'Records', of: ({ records }) => count(records), number: true },
          { head: 'Intake', of: ({ intake }) => intake, number: true },
          { head: 'Size', of: ({ sizeBytes }) => bytes(sizeBytes), number: true },
          {
            head: 'Kept',
            of: ({ config }) => (config['retention.ms'] < 0 ? 'for ever' : duration(config['retention.ms'])),
          },
          { head: 'Cleanup', of: ({ config }) => config['cleanup.policy'] },
        ],
        shown,
        all.length === 0 ? 'No topics yet. The first record makes one.' : `No topic has “${part}” in its name.`,
      ),
    );
  }
  return {
    section: section(title, [button('Create topic', createTopic, 'primary')], filter, rows),
    show(topics) {
      all = topics;
      // Who is at a link in it with the keyboard keeps the place.
      if (!rows.contains(document.activeElement)) draw();
    },
  };
}

let list = null;

export async function topics() {
  const all = await api('topics');
  list ??= topicList();
  list.show(all.map((topic) => ({ ...topic, intake: intake(topic) })));
  return [list.section];
}

export async function topic(name) {
  const found = await api(`topics/${encodeURIComponent(name)}`);
  const settings = Object.entries(found.config);
  return [
    section(
      name,
      [
        link(`#/messages/${encodeURIComponent(name)}/0/-50`, 'Messages'),
        button('Alter', () => alterTopic(found)),
        button('Delete', () => deleteTopic(found), 'danger'),
      ],
      facts([
        ['Records', count(found.records)],
        ['Intake', intake(found)],
        ['Size', bytes(found.sizeBytes)],
        ['Id', found.id],
      ]),
    ),
    section(
      'Partitions',
      [],
      table(
        'Partitions',
        [
          {
            head: 'Partition',
            of: ({ partition }) => link(`#/messages/${encodeURIComponent(name)}/${partition}/-50`, partition),
            number: true,
          },
          { head: 'Start', of: ({ logStartOffset }) => count(logStartOffset), number: true },
          { head: 'High watermark', of: ({ highWatermark }) => count(highWatermark), number: true },
          { head: 'End', of: ({ logEndOffset }) => count(logEndOffset), number: true },
          { head: 'Size', of: ({ sizeBytes }) => bytes(sizeBytes), number: true },
          { head: 'Replicas', of: ({ replicas }) => replicas.join(', ') },
          { head: 'In sync', of: ({ inSyncReplicas }) => inSyncReplicas.join(', ') },
          { head: 'Epoch', of: ({ leaderEpoch }) => leaderEpoch, number: true },
        ],
        found.partitions,
        'none',
      ),
    ),
    section(
      'Settings',
      [],
      table(
        'Settings',
        [
          { head: 'Name', of: ([key]) => key },
          { head: 'Value', of: ([, value]) => String(value) },
          {
            head: 'Set',
            of: ([key]) => (key in found.overrides ? 'on the topic' : h('span', { class: 'muted' }, 'default')),
          },
        ],
        settings,
        'none',
      ),
    ),
  ];
}

export async function groups() {
  const all = await api('groups');
  const lag = ({ offsets }) => offsets.reduce((sum, offset) => sum + (offset.lag ?? 0), 0);
  return [
    section(
      `Consumer groups (${all.length})`,
      [],
      table(
        'Consumer groups',
        [
          { head: 'Group', of: ({ group }) => link(`#/groups/${encodeURIComponent(group)}`, group) },
          { head: 'State', of: ({ state }) => state },
          { head: 'Members', of: ({ members }) => members.length, number: true },
          { head: 'Lag', of: (group) => count(lag(group)), number: true },
        ],
        all,
        'No consumer groups.',
      ),
    ),
  ];
}

export async function group(name) {
  const found = await api(`groups/${encodeURIComponent(name)}`);
  return [
    section(
      name,
      found.offsets.length > 0 ? [button('Reset offsets', () => resetOffsets(found))] : [],
      facts([
        ['State', found.state],
        ['Assignor', found.protocol || '–'],
        ['Members', found.members.length],
      ]),
    ),
    section(
      'Offsets',
      [],
      table(
        'Offsets',
        [
          { head: 'Topic', of: (row) => topicLink(row.topic) },
          { head: 'Partition', of: ({ partition }) => partition, number: true },
          { head: 'Offset', of: ({ offset }) => count(offset), number: true },
          { head: 'End', of: ({ logEndOffset }) => count(logEndOffset), number: true },
          { head: 'Lag', of: (row) => h('span', { class: row.lag > 0 ? 'warn' : null }, count(row.lag)), number: true },
          { head: 'Member', of: ({ memberId }) => memberId ?? '–' },
        ],
        found.offsets,
        'Nothing is committed.',
      ),
    ),
    section(
      'Members',
      [],
      table(
        'Members',
        [
          { head: 'Client', of: ({ clientId }) => clientId },
          { head: 'Host', of: ({ host }) => host },
          { head: 'Member', of: ({ memberId }) => memberId },
        ],
        found.members,
        'Nobody is in the group.',
      ),
    ),
  ];
}

function linksSection(all) {
  const toggle = ({ name, state }) => {
    const paused = state === 'paused';
    const act = () =>
      api(`links/${encodeURIComponent(name)}/${paused ? 'resume' : 'pause'}`, 'POST').finally(() =>
        window.dispatchEvent(new Event('refresh')),
      );
    return button(paused ? 'Resume' : 'Pause', act);
  };
  const kinds = { live: 'good', draining: 'warn', 'backing-off': 'bad', blocked: 'bad' };
  return section(
    'Links',
    [],
    table(
      'Links',
      [
        { head: 'Link', of: ({ name }) => name },
        { head: 'Target', of: ({ target }) => target },
        { head: 'State', of: ({ state }) => h('span', { class: kinds[state] ?? null }, state) },
        { head: 'Backlog', of: ({ backlogRecords }) => count(backlogRecords), number: true },
        { head: 'Bytes', of: ({ backlogBytes }) => bytes(backlogBytes), number: true },
        { head: 'Oldest', of: ({ oldestUnsentAgeMs }) => duration(oldestUnsentAgeMs), number: true },
        { head: 'Records', of: ({ recordsPerSecond }) => perSecond(recordsPerSecond), number: true },
        {
          head: 'Rate',
          of: ({ bytesPerSecond }) => (bytesPerSecond === null ? '–' : `${bytes(Math.round(bytesPerSecond))}/s`),
          number: true,
        },
        { head: 'Drained in', of: ({ etaMs }) => duration(etaMs), number: true },
        { head: 'Disk full in', of: ({ fullMs }) => duration(fullMs ?? null), number: true },
        {
          head: 'Lost',
          of: ({ lostRecords }) => h('span', { class: lostRecords > 0 ? 'bad' : null }, count(lostRecords)),
          number: true,
        },
        { head: 'Last error', of: ({ lastError }) => lastError ?? '–' },
        { head: '', of: toggle },
      ],
      all,
      'No links are configured.',
    ),
  );
}

export async function links() {
  return [linksSection(await api('links'))];
}

export async function clients() {
  const all = await api('clients?limit=500');
  return [
    section(
      `MQTT clients (${all.length})`,
      [],
      table(
        'MQTT clients',
        [
          { head: 'Client', of: ({ clientId }) => clientId },
          { head: 'User', of: ({ user }) => user ?? '–' },
          { head: 'Address', of: ({ address }) => address },
          { head: 'Protocol', of: ({ protocol }) => protocol },
          { head: 'Since', of: ({ connectedAt }) => time(connectedAt) },
          { head: 'Subscriptions', of: ({ subscriptions }) => count(subscriptions), number: true },
          { head: 'In flight', of: ({ inflight }) => count(inflight), number: true },
        ],
        all,
        'Nobody is connected.',
      ),
    ),
  ];
}

const PAGE = 50;

/** `from`: an offset, negative from the end, or `@` and a time. */
export async function messages(name, partition = '0', from = '-50') {
  const all = await api('topics');
  if (name === undefined) name = all.find(({ records }) => records > 0)?.name ?? all[0]?.name;
  if (name === undefined) return [h('section', {}, h('p', { class: 'muted' }, 'No topics yet.'))];
  const where = from.startsWith('@') ? `timestamp=${Date.parse(from.slice(1))}` : `offset=${from}`;
  const found = await api(`topics/${encodeURIComponent(name)}/messages?partition=${partition}&${where}&limit=${PAGE}`);
  const go = (offset) => `#/messages/${encodeURIComponent(name)}/${partition}/${offset}`;
  const topicOf = all.find((candidate) => candidate.name === name);
  const submit = (event) => {
    event.preventDefault();
    const { topic: wanted, part, begin, at } = Object.fromEntries(new FormData(event.target));
    const start = at !== '' ? `@${new Date(at).toISOString()}` : begin === '' ? '-50' : begin;
    location.hash = `#/messages/${encodeURIComponent(wanted)}/${part}/${encodeURIComponent(start)}`;
  };
  const options = all.map((candidate) =>
    h('option', { value: candidate.name, selected: candidate.name === name }, candidate.name),
  );
  const last = found[found.length - 1];
  const first = found[0];
  const parts = topicOf?.partitions.length ?? 1;
  return [
    section(
      'Messages',
      [],
      h(
        'form',
        { class: 'bar form', submit },
        h('label', {}, 'Topic', h('select', { name: 'topic' }, ...options)),
        h(
          'label',
          {},
          'Partition',
          h('input', { name: 'part', type: 'number', min: 0, max: parts - 1, value: partition, required: true }),
        ),
        h(
          'label',
          {},
          'From offset (negative: from the end)',
          h('input', {
            name: 'begin',
            inputmode: 'numeric',
            pattern: '-?[0-9]*',
            value: from.startsWith('@') ? '' : from,
          }),
        ),
        h('label', {}, 'or from time', h('input', { name: 'at', type: 'datetime-local', step: 1 })),
        h('button', { class: 'primary' }, 'Show'),
      ),
      table(
        'Messages',
        [
          { head: 'Offset', of: ({ offset }) => offset, number: true },
          { head: 'Time', of: ({ timestamp }) => time(timestamp) },
          {
            head: 'Key',
            of: ({ key, keyFormat }) => (keyFormat === 'null' ? h('span', { class: 'muted' }, 'null') : shown(key)),
          },
          {
            head: 'Value',
            of: ({ value, valueFormat, units }) =>
              valueFormat === 'null'
                ? h('span', { class: 'muted' }, 'null')
                : units
                  ? fields(value, units)
                  : shown(value),
            class: 'value',
          },
          { head: 'As', of: ({ valueFormat }) => h('span', { class: 'muted' }, valueFormat) },
          { head: 'Bytes', of: ({ valueBytes }) => count(valueBytes), number: true },
          { head: 'Headers', of: ({ headers }) => headers.map(({ key, value }) => `${key}=${value}`).join(' ') },
        ],
        found,
        'Nothing there.',
      ),
      h(
        'p',
        { class: 'bar' },
        first && first.offset > 0 && link(go(Math.max(0, first.offset - PAGE)), '← Older'),
        last && link(go(last.offset + 1), 'Newer →'),
      ),
    ),
  ];
}

/** A reading whose record names the units of its fields. */
function fields(value, units) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return shown(value);
  const rows = Object.entries(value).map(([name, item]) => {
    const unit = Object.hasOwn(units, name) ? units[name] : null;
    const text = typeof item === 'string' ? item : JSON.stringify(item);
    return h('div', {}, h('dt', {}, name), h('dd', {}, text, unit && h('span', { class: 'unit' }, ` ${unit}`)));
  });
  return h('dl', { class: 'fields' }, ...rows);
}

function shown(value) {
  if (typeof value === 'string') return value;
  const line = JSON.stringify(value);
  return line.length <= 100 ? line : JSON.stringify(value, null, 1);
}
