/**
 * Sheds connections when the process needs more memory than `memory.budget`, the newest first: above it no new ones are
 * taken, well above it the newest are closed, a share at each look, until it is below. What is stored, and who has been
 * connected for long, is not touched.
 */
import { readFileSync } from 'node:fs';
import type { Clock, Timer } from './env.ts';
import type { Logger } from './logger.ts';
import type { Metrics, Series } from './metrics.ts';

const LOOK_INTERVAL_MS = 1_000;
/** Taken again below this share of the budget: not one connection in, one out. */
const RELIEVED = 0.9;
/** From this share on connections are closed; up to it the garbage of the moment may go by itself. */
const SHED_FROM = 1.1;
/** Of the connections of each edge, at each look. */
const SHED_SHARE = 1 / 16;
/** Of those present when the overload began these stay whatever happens: then it is not they who need the memory. */
const KEPT_SHARE = 1 / 2;

/** An edge with connections of its own. */
export interface Shedding {
  readonly connectionCount: number;
  /** Closes the newest `count`. */
  shedNewest(count: number): void;
}

export interface MemoryGuardParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** memory.budget. */
  readonly budgetBytes: number;
  /** What the process uses now. */
  readonly usedBytes: () => number;
}

export class MemoryGuard {
  readonly #parts: MemoryGuardParts;
  readonly #edges = new Map<string, { readonly edge: Shedding; kept: number }>();
  readonly #shed: (edge: string) => Series;
  #overloaded = false;
  #timer: Timer | null = null;

  constructor(parts: MemoryGuardParts) {
    this.#parts = parts;
    const { metrics, budgetBytes, usedBytes } = parts;
    metrics.gauge('headwater_memory_used_bytes', 'Memory of the broker that counts against memory.budget.', usedBytes);
    metrics.gauge('headwater_memory_budget_bytes', 'memory.budget.', () => budgetBytes);
    metrics.gauge('headwater_memory_overloaded', '1 while no new connections are taken for want of memory.', () =>
      Number(this.#overloaded),
    );
    this.#shed = metrics.counters(
      'headwater_memory_shed_connections_total',
      'Connections closed, the newest first, because the broker was above memory.budget.',
      'edge',
    );
  }

  /** Whether connections are refused now. */
  readonly overloaded = (): boolean => this.#overloaded;

  add(name: string, edge: Shedding): void {
    this.#edges.set(name, { edge, kept: 0 });
  }

  start(): void {
    this.#timer = this.#parts.clock.every(LOOK_INTERVAL_MS, () => this.#look());
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #look(): void {
    const { budgetBytes, logger } = this.#parts;
    const usedBytes = this.#parts.usedBytes();
    if (usedBytes > budgetBytes && !this.#overloaded) {
      this.#overloaded = true;
      for (const entry of this.#edges.values()) entry.kept = Math.ceil(entry.edge.connectionCount * KEPT_SHARE);
      logger.error({ usedBytes, budgetBytes }, 'more memory is used than memory.budget: no new connections are taken');
    } else if (this.#overloaded && usedBytes < budgetBytes * RELIEVED) {
      this.#overloaded = false;
      logger.info({ usedBytes, budgetBytes }, 'memory is below memory.budget again: connections are taken');
    }
    if (usedBytes <= budgetBytes * SHED_FROM) return;
    for (const [name, { edge, kept }] of this.#edges) {
      const count = Math.min(Math.ceil(edge.connectionCount * SHED_SHARE), edge.connectionCount - kept);
      if (count <= 0) continue;
      edge.shedNewest(count);
      this.#shed(name).value += count;
      logger.warn({ edge: name, count, usedBytes, budgetBytes }, 'the newest connections were closed to save memory');
    }
  }
}

/**
 * Resident bytes without file pages, which the kernel takes back by itself when others need room (proc(5), statm); where
 * there is no such file, all resident bytes.
 */
export function usedMemory(): number {
  try {
    const [, resident, shared] = readFileSync('/proc/self/statm', 'latin1').split(' ').map(Number);
    const pages = resident! - shared!;
    if (pages > 0) return (pages / resident!) * process.memoryUsage.rss();
  } catch {
    // Not Linux.
  }
  return process.memoryUsage.rss();
}
