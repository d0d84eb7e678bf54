/** Relations between values, each of which is fine alone. */
import { TOPIC_NAME_MAX_CHARS } from '../limits.ts';
import { formatAddress, isLoopback, parseAddress } from './address.ts';
import { budgetProblem } from './budget.ts';
import { type Config, LISTENER_NAMES, type LinkSection, type Problem, type SourceSection } from './config.ts';
import type { Place } from './read.ts';

export type Report = (path: string, message: string) => void;

/** Adds to `problems`; `places` gives the line of a path. */
export function reporter(places: ReadonlyMap<string, Place>, problems: Problem[], source: string): Report {
  return (path, message) => {
    // A value that is wrong by itself needs no second complaint.
    if (problems.some((problem) => problem.path === path)) return;
    problems.push({ path, ...placeOf(path, places, source), message });
  };
}

export function checkRelations(config: Config, report: Report): void {
  checkListeners(config, report);
  checkSettings(config, report);
  for (const name of config.topics.keys()) {
    if (topicNameProblem(name) !== null) report(`topics.${name}`, topicNameProblem(name)!);
  }
  checkRoutes(config, report);
  for (const link of config.links.values()) checkLink(link, report);
  for (const one of config.sources.values()) checkSource(one, report);
  const [, second] = [...config.links.values()].filter(({ type }) => type === 'standby');
  if (second !== undefined)
    report(`links.${second.name}.type`, 'a second link of type standby: a pair has two brokers');
  const budget = budgetProblem(config);
  if (budget !== null) report('memory.budget', budget);
}

/** The place of the value, or of the nearest thing around it. */
function placeOf(path: string, places: ReadonlyMap<string, Place>, source: string): Place {
  for (let end = path.length; end > 0; end = path.lastIndexOf('.', end - 1)) {
    const place = places.get(path.slice(0, end));
    if (place !== undefined) return place;
  }
  return { line: null, source };
}

function checkListeners({ listeners, settings }: Config, report: Report): void {
  const seen = new Map<string, string>();
  for (const name of LISTENER_NAMES) {
    const endpoint = listeners[name];
    if (endpoint === null) continue;
    const address = formatAddress(endpoint);
    const other = seen.get(address);
    if (other !== undefined && endpoint.port !== 0) {
      report(
        `listeners.${name}`,
        `${address} is taken by the listener ${other}; every listener needs a port of its own`,
      );
    }
    seen.set(address, name);
    if (!isLoopback(endpoint.host) && settings['users.file'] === null && !settings['allow.anonymous']) {
      report(
        `listeners.${name}`,
        `${address} can be reached from other hosts, and nobody would have to log in; set users.file, or allow.anonymous: true where everybody is trusted, or listen on 127.0.0.1`,
      );
    }
    const tls = name === 'mqtts' || name === 'wss' || name === 'kafkas' || name === 'https';
    if (tls && (settings['ssl.certificate.file'] === null || settings['ssl.key.file'] === null)) {
      report(`listeners.${name}`, 'a TLS listener needs ssl.certificate.file and ssl.key.file');
    }
  }
  if (LISTENER_NAMES.every((name) => listeners[name] === null)) report('listeners', 'all listeners are off');
}

function checkSettings({ settings }: Config, report: Report): void {
  if (settings['group.min.session.timeout.ms'] > settings['group.max.session.timeout.ms']) {
    report(
      'group.min.session.timeout.ms',
      `${settings['group.min.session.timeout.ms']} is above group.max.session.timeout.ms, ${settings['group.max.session.timeout.ms']}`,
    );
  }
  if ((settings['ssl.certificate.file'] === null) !== (settings['ssl.key.file'] === null)) {
    const [there, missing] =
      settings['ssl.key.file'] === null
        ? ['ssl.certificate.file', 'ssl.key.file']
        : ['ssl.key.file', 'ssl.certificate.file'];
    report(there, `needs ${missing} beside it`);
  }
  if (settings['ssl.client.auth'] !== 'none' && settings['ssl.ca.file'] === null) {
    report('ssl.client.auth', `"${settings['ssl.client.auth']}" needs ssl.ca.file: the authorities to trust`);
  }
  if (settings['acl.file'] !== null && settings['users.file'] === null && settings['ssl.client.auth'] === 'none') {
    report('acl.file', 'needs users.file (or client certificates): without a login nobody has a name');
  }
}

/** Kafka's rule for topic names; null when the name is allowed. */
export function topicNameProblem(name: string): string | null {
  if (name === '.' || name === '..') return `"${name}" is not allowed as a topic name`;
  if (name.length < 1 || name.length > TOPIC_NAME_MAX_CHARS || !/^[A-Za-z0-9._-]+$/.test(name)) {
    return `"${name}" is not a topic name: 1 to ${TOPIC_NAME_MAX_CHARS} letters, digits, ".", "_" and "-"`;
  }
  return null;
}

/** [MQTT-4.7.1-1..3]; null when it is a valid filter. */
export function filterProblem(filter: string): string | null {
  if (filter === '' || filter.includes('\0')) return 'an MQTT filter has at least one character, and no NUL';
  const levels = filter.split('/');
  for (const [index, level] of levels.entries()) {
    if (level.includes('#') && (level !== '#' || index !== levels.length - 1)) {
      return `"${filter}": "#" stands alone in the last level`;
    }
    if (level.includes('+') && level !== '+') return `"${filter}": "+" stands alone in its level`;
  }
  return null;
}

/** Placeholders of a template that are not in `known`, and unbalanced braces; null when it is fine. */
export function templateProblem(template: string, known: readonly string[]): string | null {
  const rest = template.replace(/\{([^{}]*)\}/g, (whole, name: string) => (known.includes(name) ? '' : whole));
  if (!/[{}]/.test(rest)) return null;
  return `"${template}" is not a template of ${known.map((name) => `{${name}}`).join(', ')} and text`;
}

function checkRoutes({ routes }: Config, report: Report): void {
  const seen = new Map<string, number>();
  routes.forEach((route, index) => {
    const path = `routes[${index}]`;
    if (typeof route.mqtt !== 'string' || typeof route.topic !== 'string') return; // reported as missing already
    const problem = filterProblem(route.mqtt);
    if (problem !== null) report(`${path}.mqtt`, problem);
    const first = seen.get(route.mqtt);
    if (first !== undefined) report(`${path}.mqtt`, `"${route.mqtt}" is what routes[${first}] has taken already`);
    seen.set(route.mqtt, first ?? index);
    const wildcards = route.mqtt.split('/').filter((level) => level === '+' || level === '#');
    const captures = wildcards.map((_, n) => String(n + 1));
    const keyProblem = templateProblem(route.key, ['topic', 'client', ...captures]);
    if (keyProblem !== null) report(`${path}.key`, keyProblem);
    const topicProblem = topicNameProblem(route.topic);
    if (topicProblem !== null) report(`${path}.topic`, topicProblem);
  });
}

function checkLink(link: LinkSection, report: Report): void {
  const at = (field: string) => `links.${link.name}.${field}`;
  if (link.type === null) return; // reported as missing already
  if (link.type !== 'mqtt') {
    if (link['bootstrap.servers'].length === 0) report(at('bootstrap.servers'), 'is missing: one or more HOST:PORT');
    for (const server of link['bootstrap.servers']) {
      const address = parseAddress(server);
      if (address === null || address.port === 0 || !server.includes(':')) {
        report(at('bootstrap.servers'), `"${server}" is not HOST:PORT`);
      }
    }
    if (link.url !== null) report(at('url'), 'belongs to links of type mqtt; a kafka link has bootstrap.servers');
    for (const pattern of link.pull) {
      if (!/^!?[A-Za-z0-9._*?-]{1,249}$/.test(pattern))
        report(at('pull'), `"${pattern}" is not a topic name or a pattern of one with "*", "?" and a leading "!"`);
    }
  } else {
    if (link.url === null) report(at('url'), 'is missing: for example mqtt://host:1883');
    if (link['bootstrap.servers'].length > 0)
      report(at('bootstrap.servers'), 'belongs to links of type kafka; here it is url');
    if (link.replicas === 'sync')
      report(at('replicas'), '"sync" needs a link of type kafka: an MQTT broker is no replica');
    for (const field of ['filter', 'where'] as const) {
      if (link[field].length > 0) report(at(field), 'belongs to links of type kafka');
    }
    for (const filter of link.pull) {
      const problem = filterProblem(filter);
      if (problem !== null) report(at('pull'), problem);
    }
  }
  if (link.transactional) {
    if (link.type !== 'kafka') report(at('transactional'), 'needs a link of type kafka');
    if (link.acks !== 'all') report(at('acks'), `"${link.acks}" cannot be together with transactional; it needs all`);
    if (link.partitioner !== 'keep')
      report(at('partitioner'), `"${link.partitioner}" cannot be together with transactional; it needs keep`);
  }
  for (const filter of link.filter) {
    const problem = filterProblem(filter.replace(/^!/, ''));
    if (problem !== null) report(at('filter'), problem);
  }
  for (const rule of link.where) {
    if (!/^\s*[^\s=!<>]+\s*(<=|>=|!=|=|<|>)\s*\S/.test(rule)) {
      report(at('where'), `"${rule}" is not FIELD OPERATOR VALUE with = != < <= > or >=, for example temp > 30`);
    }
  }
  if (link.type !== 'standby' && link.topics.length === 0 && link.pull.length === 0)
    report(at('topics'), 'is empty: the link would have nothing to do');
  for (const pattern of link.topics) {
    if (!/^!?[A-Za-z0-9._*?-]{1,249}$/.test(pattern)) {
      report(at('topics'), `"${pattern}" is not a topic name or a pattern of one with "*", "?" and a leading "!"`);
    }
  }
  const known = link.type !== 'mqtt' ? ['broker', 'topic'] : ['broker', 'topic', 'key'];
  const problem = templateProblem(link.rename, known);
  if (problem !== null) report(at('rename'), problem);
  else if (!/\{(topic|key)\}/.test(link.rename) && link.topics.length !== 1) {
    report(at('rename'), `"${link.rename}" gives several topics the same name; it needs {topic}`);
  }
  if (link.password !== null && link['password.file'] !== null)
    report(at('password'), 'is given twice; remove password or password.file');
  const sasl = link['security.protocol'].startsWith('SASL');
  const hasSecret = link.password !== null || link['password.file'] !== null;
  if (link.type !== 'mqtt' && sasl && (link.username === null || !hasSecret)) {
    report(at('security.protocol'), `"${link['security.protocol']}" needs username and password.file`);
  }
  if (link['retry.backoff.ms'] > link['retry.backoff.max.ms']) {
    report(
      at('retry.backoff.ms'),
      `${link['retry.backoff.ms']} is above retry.backoff.max.ms, ${link['retry.backoff.max.ms']}`,
    );
  }
  for (const window of link.windows) {
    if (!/^\S+(\s+\S+){4}$/.test(window))
      report(at('windows'), `"${window}" is not five cron fields: minute hour day month weekday`);
  }
}

/** Why a regular expression cannot be used; null when it can. */
function patternProblem(pattern: string): string | null {
  try {
    new RegExp(pattern);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

function checkSource(source: SourceSection, report: Report): void {
  const at = (field: string) => `sources.${source.name}.${field}`;
  if (typeof source.topic !== 'string') return; // reported as missing already
  const topicProblem = topicNameProblem(source.topic);
  if (topicProblem !== null) report(at('topic'), topicProblem);
  if (source.paths.length === 0) report(at('paths'), 'is empty: the source would have nothing to read');
  for (const path of source.paths) {
    if (!path.startsWith('/')) report(at('paths'), `"${path}" is not an absolute path`);
    else if (/[[\]{}]|\*\*/.test(path)) report(at('paths'), `"${path}": only "*" and "?" stand for other characters`);
  }
  for (const field of ['key.pattern', 'multiline.start'] as const) {
    const problem = source[field] === null ? null : patternProblem(source[field]);
    if (problem !== null) report(at(field), problem);
  }
  const groups = source['key.pattern'] === null ? [] : ['1', '2', '3', '4', '5', '6', '7', '8', '9'];
  const keyProblem = source.key === null ? null : templateProblem(source.key, ['path', 'file', 'source', ...groups]);
  if (keyProblem !== null) report(at('key'), keyProblem);
  if (source['key.pattern'] !== null && source.key === null) {
    report(at('key.pattern'), 'is used by key only, and there is none; for example key: "{1}"');
  }
}
