/** What ListTransactions filters by, and the part of regular expressions it takes (KIP-1152). */
import type { TxnState } from './states.ts';
import { TXN_STATES } from './states.ts';

export interface TransactionFilter {
  readonly states: readonly string[];
  readonly producerIds: readonly number[];
  /** Milliseconds; below 0: any. */
  readonly longerThanMs: number;
  readonly pattern: string | null;
}

export function unknownStates(states: readonly string[]): string[] {
  return states.filter((state) => !(TXN_STATES as readonly string[]).includes(state));
}

/**
 * A pattern for whole ids, or null when it is not one. Kafka uses RE2, which cannot be made to run long; JavaScript's
 * engine can, so at most two repetitions are taken, and none of a group.
 */
export function compilePattern(pattern: string): RegExp | null {
  if (pattern.length > 256) return null;
  const plain = pattern.replace(/\\./g, 'x').replace(/\[[^\]]*\]/g, 'x');
  if ((plain.match(/[*+?{]/g) ?? []).length > 2 || /\)[*+?{]/.test(plain) || /\(\?|\\[1-9k]/.test(pattern)) return null;
  try {
    return new RegExp(`^(?:${pattern})$`, 'u');
  } catch {
    return null;
  }
}

export function matchesFilter(
  transaction: { transactionalId: string; state: TxnState; producerId: number; startedAt: number },
  filter: TransactionFilter,
  pattern: RegExp | null,
  now: number,
): boolean {
  const { transactionalId, state, producerId, startedAt } = transaction;
  if (filter.states.length > 0 && !filter.states.includes(state)) return false;
  if (filter.producerIds.length > 0 && !filter.producerIds.includes(producerId)) return false;
  if (filter.longerThanMs >= 0 && (startedAt < 0 || now - startedAt <= filter.longerThanMs)) return false;
  return pattern === null || pattern.test(transactionalId);
}
