/**
 * The loss ledger: every range of offsets that was acknowledged and can no longer be delivered, with the reason. Empty in
 * normal operation; sent = delivered + ledger, exactly.
 */
import { decode, encode } from 'cbor-x';
import type { Clock } from '../env.ts';
import { metaKey, metaRange, parseMetaKey } from '../store/keys.ts';
import type { MetaOperation, MetaStore } from '../store/meta.ts';

export interface Loss {
  readonly topic: string;
  readonly topicId: string;
  readonly partition: number;
  readonly firstOffset: number;
  /** Inclusive. */
  readonly lastOffset: number;
  /** `corruption`, `skipped`, `retention`, `disk-full`, `policy`, with what is known behind a colon. */
  readonly reason: string;
  /** Which reader lost it: `log` or a link's name. */
  readonly by: string;
}

export interface LedgerEntry extends Loss {
  readonly sequence: number;
  /** Wall clock, ms. */
  readonly time: number;
}

const VERSION = 1;

export class Ledger {
  readonly #meta: MetaStore;
  readonly #clock: Clock;
  #next = 0;
  /** Offsets lost since the ledger began, by reason word. */
  readonly totals = new Map<string, number>();

  constructor(meta: MetaStore, clock: Clock) {
    this.#meta = meta;
    this.#clock = clock;
  }

  /** `each` hears of every entry. */
  async load(each: (entry: LedgerEntry) => void = () => {}): Promise<void> {
    for await (const entry of this.entries()) {
      this.#next = entry.sequence + 1;
      this.#count(entry);
      each(entry);
    }
  }

  #count(loss: Loss): void {
    const word = loss.reason.split(':', 1)[0]!;
    this.totals.set(word, (this.totals.get(word) ?? 0) + loss.lastOffset - loss.firstOffset + 1);
  }

  /** Resolves when the losses are durable, together with `more` (a link's cursor behind the loss). */
  async record(losses: readonly Loss[], more: readonly MetaOperation[] = []): Promise<void> {
    if (losses.length === 0 && more.length === 0) return;
    const time = this.#clock.now();
    const entries = losses.map((loss) => ({
      key: metaKey('ledger', this.#next++),
      value: encode({ v: VERSION, time, ...loss }),
    }));
    await this.#meta.write([...entries, ...more]);
    for (const loss of losses) this.#count(loss);
  }

  async *entries(): AsyncIterable<LedgerEntry> {
    for await (const { key, value } of this.#meta.entries(metaRange('ledger'))) {
      yield { ...(decode(value) as LedgerEntry), sequence: parseMetaKey(key)[0] as number };
    }
  }
}
