/**
 * Access rules: a text file, who and then what, line by line. Nothing is allowed that no line allows.
 *
 *     user *                          # everybody who has logged in
 *       mqtt publish devices/%u/#
 *       mqtt subscribe devices/%c/commands/#
 *     user dashboard
 *       topic read temperature, plant-*
 *       group all dashboard-*
 *     user anonymous                  # who has not, where that is allowed
 *       mqtt subscribe public/#
 *
 * `%u` is the user, `%c` the MQTT client id. Kafka resources: topic, group, transaction, cluster; operations: read, write,
 * create, delete, alter, describe, all; names with `*` at the end for a prefix.
 */
import { HeadwaterError } from '../errors.ts';

export type MqttAction = 'publish' | 'subscribe';
export const KAFKA_RESOURCES = ['topic', 'group', 'transaction', 'cluster'] as const;
export type KafkaResource = (typeof KAFKA_RESOURCES)[number];
export const KAFKA_OPERATIONS = ['read', 'write', 'create', 'delete', 'alter', 'describe', 'all'] as const;
export type KafkaOperation = (typeof KAFKA_OPERATIONS)[number];

interface MqttRule {
  readonly action: MqttAction | 'all';
  readonly levels: readonly string[];
}

interface KafkaRule {
  readonly resource: KafkaResource;
  readonly operation: KafkaOperation;
  readonly name: string;
  /** `name` is the beginning. */
  readonly prefix: boolean;
}

type Refuse = (why: string) => void;

interface Rules {
  readonly mqtt: MqttRule[];
  readonly kafka: KafkaRule[];
}

/** The name of who has not logged in. */
export const ANONYMOUS = 'anonymous';

export class Acl {
  readonly #rules: ReadonlyMap<string, Rules>;

  constructor(rules: ReadonlyMap<string, Rules>) {
    this.#rules = rules;
  }

  *#of(user: string): Iterable<Rules> {
    const own = this.#rules.get(user);
    if (own !== undefined) yield own;
    const everybody = user === ANONYMOUS ? undefined : this.#rules.get('*');
    if (everybody !== undefined) yield everybody;
  }

  /** `topic`: a topic name to publish to, or a filter to subscribe to, which a rule must cover as a whole. */
  allowsMqtt(user: string, clientId: string, action: MqttAction, topic: string): boolean {
    const levels = topic.split('/');
    for (const { mqtt } of this.#of(user)) {
      for (const rule of mqtt) {
        if ((rule.action === action || rule.action === 'all') && covers(rule.levels, levels, user, clientId))
          return true;
      }
    }
    return false;
  }

  allowsKafka(user: string, operation: KafkaOperation, resource: KafkaResource, name: string): boolean {
    for (const { kafka } of this.#of(user)) {
      for (const rule of kafka) {
        if (rule.resource !== resource || !implies(rule.operation, operation)) continue;
        const wanted = rule.name.replaceAll('%u', user);
        if (rule.prefix ? name.startsWith(wanted) : name === wanted) return true;
      }
    }
    return false;
  }
}

/** As in Kafka: who may read, write, delete or alter may also describe. */
function implies(allowed: KafkaOperation, wanted: KafkaOperation): boolean {
  if (allowed === 'all' || allowed === wanted) return true;
  return (
    wanted === 'describe' && (allowed === 'read' || allowed === 'write' || allowed === 'delete' || allowed === 'alter')
  );
}

/** Whether every topic that `wanted` (a name or a filter) stands for matches the rule. [MQTT-4.7.2-1] for `$` topics. */
function covers(rule: readonly string[], wanted: readonly string[], user: string, clientId: string): boolean {
  if (wanted[0]!.startsWith('$') && (rule[0] === '#' || rule[0] === '+')) return false;
  for (let i = 0; i < rule.length; i++) {
    const level = rule[i]!;
    if (level === '#') return true;
    const other = wanted[i];
    if (other === undefined || other === '#') return false;
    if (level === '+') continue;
    // A name with a wildcard or a slash in it must never widen the rule: it matches nothing.
    const name = level === '%u' ? user : level === '%c' ? clientId : null;
    if (name !== null && /[+#/\0]/.test(name)) return false;
    const exact = name ?? level.replaceAll('%u', safe(user)).replaceAll('%c', safe(clientId));
    if (other === '+' || exact !== other) return false;
  }
  return wanted.length === rule.length;
}

function safe(name: string): string {
  return /[+#/\0]/.test(name) ? '\0' : name;
}

/** Throws INVALID_CONFIG with every mistake and its line. */
export function parseAcl(text: string, source: string): Acl {
  const rules = new Map<string, Rules>();
  const problems: string[] = [];
  let current: Rules | null = null;
  text.split('\n').forEach((raw, index) => {
    const line = raw.replace(/(^|\s)#(\s.*)?$/, (whole, before: string, rest: string | undefined) =>
      // "#" ends a filter as well: a comment begins with "# " or stands at the start of its line.
      before === '' || rest !== undefined ? '' : whole,
    );
    const words = line.split(/[\s,]+/).filter((word) => word !== '');
    if (words.length === 0) return;
    const refuse: Refuse = (why) => {
      problems.push(`${source}:${index + 1}: ${why}`);
    };
    const [kind, what, ...names] = words as [string, string | undefined, ...string[]];
    if (kind === 'user') {
      if (what === undefined || names.length > 0) refuse('"user" is followed by one name, or *');
      else {
        current = rules.get(what) ?? { mqtt: [], kafka: [] };
        rules.set(what, current);
      }
      return;
    }
    if (current === null) refuse('a rule before the first "user" line');
    else if (kind === 'mqtt') addMqtt(current, what, names, refuse);
    else if (isOneOf(KAFKA_RESOURCES, kind)) addKafka(current, kind, what, names, refuse);
    else refuse(`"${kind}" is not one of user, mqtt, ${KAFKA_RESOURCES.join(', ')}`);
  });
  if (problems.length > 0) throw new HeadwaterError('INVALID_CONFIG', problems.join('\n'));
  return new Acl(rules);
}

function addMqtt(rules: Rules, action: string | undefined, filters: readonly string[], refuse: Refuse): void {
  if (action !== 'publish' && action !== 'subscribe' && action !== 'all') {
    refuse(`"mqtt ${action ?? ''}" is not mqtt publish, mqtt subscribe or mqtt all`);
    return;
  }
  if (filters.length === 0) {
    refuse(`"mqtt ${action}" is followed by one or more topic filters`);
    return;
  }
  for (const filter of filters) {
    const levels = filter.split('/');
    const bad = levels.some(
      (level, i) =>
        (level.includes('#') && (level !== '#' || i < levels.length - 1)) || (level.includes('+') && level !== '+'),
    );
    if (bad) refuse(`"${filter}" is not an MQTT topic filter`);
    else rules.mqtt.push({ action, levels });
  }
}

function addKafka(
  rules: Rules,
  resource: KafkaResource,
  operation: string | undefined,
  names: readonly string[],
  refuse: Refuse,
): void {
  if (!isOneOf(KAFKA_OPERATIONS, operation)) {
    refuse(`"${resource} ${operation ?? ''}": the operation is one of ${KAFKA_OPERATIONS.join(', ')}`);
    return;
  }
  if (resource === 'cluster') {
    if (names.length > 0) refuse('"cluster" has no names: there is one');
    else rules.kafka.push({ resource, operation, name: '', prefix: true });
    return;
  }
  if (names.length === 0) {
    refuse(`"${resource} ${operation}" is followed by one or more names`);
    return;
  }
  for (const name of names) {
    const prefix = name.endsWith('*');
    const stem = prefix ? name.slice(0, -1) : name;
    if (stem.includes('*')) refuse(`"${name}": "*" stands at the end only`);
    else rules.kafka.push({ resource, operation, name: stem, prefix });
  }
}

function isOneOf<const T extends readonly string[]>(all: T, word: string | undefined): word is T[number] {
  return word !== undefined && all.includes(word);
}
