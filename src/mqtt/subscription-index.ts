/**
 * Subscriptions of connected sessions as a trie over topic levels: what a topic matches costs its levels, not the number
 * of subscriptions. `version` changes with every change, so that results can be remembered per topic.
 */
import type { QoS } from '../wire/mqtt/packets.ts';
import type { Target } from './target.ts';
import type { Levels } from './topic-filter.ts';

export interface Subscription {
  /** As the client wrote it, `$share/...` included: its identity within the session. */
  readonly text: string;
  readonly levels: Levels;
  readonly qos: QoS;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /** Subscription Identifier; 0: none. */
  readonly id: number;
  /** Deliveries bear partition and offset (start-position.ts). */
  readonly positions: boolean;
}

/** One target of a topic and the subscriptions of it that match. */
export interface Match {
  readonly target: Target;
  readonly subscriptions: readonly Subscription[];
  /** The highest QoS among them [MQTT-3.3.4-2]. */
  readonly qos: QoS;
  readonly retainAsPublished: boolean;
  readonly anyNoLocal: boolean;
  /** Subscription Identifiers to send, or null. */
  readonly ids: readonly number[] | null;
  readonly positions: boolean;
}

interface Entry {
  readonly target: Target;
  readonly subscription: Subscription;
}

interface Node {
  readonly children: Map<string, Node>;
  /** Subscriptions that end here. */
  here: Entry[];
  /** Subscriptions that end here with `#`. */
  below: Entry[];
}

const newNode = (): Node => ({ children: new Map(), here: [], below: [] });

export function matchOf(target: Target, subscriptions: readonly Subscription[]): Match {
  let qos: QoS = 0;
  let retainAsPublished = false;
  let anyNoLocal = false;
  let positions = false;
  const ids: number[] = [];
  for (const subscription of subscriptions) {
    if (subscription.qos > qos) qos = subscription.qos;
    if (subscription.retainAsPublished) retainAsPublished = true;
    if (subscription.noLocal) anyNoLocal = true;
    if (subscription.positions) positions = true;
    if (subscription.id > 0) ids.push(subscription.id);
  }
  return { target, subscriptions, qos, retainAsPublished, anyNoLocal, ids: ids.length === 0 ? null : ids, positions };
}

export class SubscriptionIndex {
  readonly #root = newNode();
  #size = 0;
  #version = 1;

  /** Number of subscriptions. */
  get size(): number {
    return this.#size;
  }

  get version(): number {
    return this.#version;
  }

  add(target: Target, subscription: Subscription): void {
    let node = this.#root;
    const { levels } = subscription;
    const wild = levels[levels.length - 1] === '#';
    const depth = wild ? levels.length - 1 : levels.length;
    for (let i = 0; i < depth; i++) {
      const level = levels[i]!;
      let child = node.children.get(level);
      if (child === undefined) {
        child = newNode();
        node.children.set(level, child);
      }
      node = child;
    }
    const list = wild ? node.below : node.here;
    const at = list.findIndex((entry) => entry.target === target && entry.subscription.text === subscription.text);
    const entry = { target, subscription };
    if (at >= 0) list[at] = entry;
    else {
      list.push(entry);
      this.#size++;
    }
    this.#version++;
  }

  remove(target: Target, subscription: Subscription): void {
    const { levels } = subscription;
    const wild = levels[levels.length - 1] === '#';
    const depth = wild ? levels.length - 1 : levels.length;
    const path: Node[] = [this.#root];
    for (let i = 0; i < depth; i++) {
      const child = path[i]!.children.get(levels[i]!);
      if (child === undefined) return;
      path.push(child);
    }
    const node = path[depth]!;
    const list = wild ? node.below : node.here;
    const at = list.findIndex((entry) => entry.target === target && entry.subscription.text === subscription.text);
    if (at < 0) return;
    list.splice(at, 1);
    this.#size--;
    this.#version++;
    for (let i = depth; i > 0; i--) {
      const { children, here, below } = path[i]!;
      if (children.size > 0 || here.length > 0 || below.length > 0) break;
      path[i - 1]!.children.delete(levels[i - 1]!);
    }
  }

  /** Who gets a message with this topic name; each target once. */
  match(name: Levels): Match[] {
    const found: Entry[] = [];
    this.#collect(this.#root, name, 0, found);
    if (found.length === 0) return [];
    if (found.length === 1) return [matchOf(found[0]!.target, [found[0]!.subscription])];
    const grouped = new Map<Target, Subscription[]>();
    for (const { target, subscription } of found) {
      const list = grouped.get(target);
      if (list === undefined) grouped.set(target, [subscription]);
      else list.push(subscription);
    }
    return [...grouped].map(([target, subscriptions]) => matchOf(target, subscriptions));
  }

  #collect(node: Node, name: Levels, at: number, found: Entry[]): void {
    // [MQTT-4.7.2-1] Wildcards in the first level do not match names that begin with $.
    const wildcards = at > 0 || !name[0]!.startsWith('$');
    if (wildcards) for (const entry of node.below) found.push(entry);
    if (at === name.length) {
      for (const entry of node.here) found.push(entry);
      return;
    }
    const child = node.children.get(name[at]!);
    // A topic name has no wildcards, so that `+` and `#` never come here as literal levels.
    if (child !== undefined) this.#collect(child, name, at + 1, found);
    if (wildcards) {
      const any = node.children.get('+');
      if (any !== undefined) this.#collect(any, name, at + 1, found);
    }
  }
}
