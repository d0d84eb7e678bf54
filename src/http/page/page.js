// The admin page: one view at a time by the hash, asked again every few seconds while it is looked at.
import { api } from './actions.js';
import { h } from './dom.js';
import * as views from './views.js';

const REFRESH_MS = 3000;
const SECTIONS = [
  ['', 'Overview', views.overview],
  ['topics', 'Topics', views.topics, views.topic],
  ['groups', 'Groups', views.groups, views.group],
  ['links', 'Links', views.links],
  ['clients', 'Clients', views.clients],
  ['messages', 'Messages', views.messages, views.messages],
];

const main = document.querySelector('#main');
const status = document.querySelector('#status');
let shown = '';
let turn = 0;

function route() {
  const [name = '', ...rest] = location.hash.replace(/^#\/?/, '').split('/').map(decodeURIComponent);
  const found = SECTIONS.find(([key]) => key === name) ?? SECTIONS[0];
  return { found, args: found[0] === name ? rest.filter((part) => part !== '') : [] };
}

async function refresh(moved) {
  const mine = ++turn;
  const { found, args } = route();
  const [key, title, list, one] = found;
  try {
    const content = args.length > 0 && one ? await one(...args) : await list();
    if (mine !== turn) return;
    status.textContent = '';
    // Someone who types or reads with the keyboard inside the view must not lose the place.
    const busy = !moved && main.contains(document.activeElement) && document.activeElement !== main;
    if (!busy) main.replaceChildren(...content);
  } catch (error) {
    if (mine !== turn) return;
    status.textContent = `No answer: ${error.message}`;
    if (moved) main.replaceChildren();
  }
  document.title = `${args[0] ?? title} · Headwater`;
  for (const anchor of document.querySelectorAll('#nav a')) {
    if (anchor.dataset.key === key) anchor.setAttribute('aria-current', 'page');
    else anchor.removeAttribute('aria-current');
  }
  if (moved && shown !== '' && shown !== location.hash) main.focus();
  shown = location.hash || '#/';
}

document
  .querySelector('#nav')
  .append(...SECTIONS.map(([key, title]) => h('a', { href: `#/${key}`, 'data-key': key }, title)));
window.addEventListener('hashchange', () => refresh(true));
window.addEventListener('refresh', () => refresh(true));
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) refresh(false);
});
setInterval(() => {
  // A page of messages is read, not watched.
  if (!document.hidden && !document.querySelector('#dialog').open && route().found[0] !== 'messages') refresh(false);
}, REFRESH_MS);

refresh(true);
api('broker').then(
  ({ brokerId, version }) => {
    document.querySelector('#broker').textContent = `${brokerId} · ${version}`;
  },
  () => {},
);
