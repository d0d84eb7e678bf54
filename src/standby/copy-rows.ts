/**
 * The follower's side of pair-rows.ts: makes its rows what the leader's are. First page by page all of them, writing only what
 * differs and removing what the leader has not; then what changed, as it changes. Nobody else reads or writes these rows while
 * this broker follows.
 */
import type { Connection } from '../client/connection.ts';
import { checkCode } from '../client/error.ts';
import { HeadwaterError } from '../errors.ts';
import type { MetaOperation, MetaStore } from '../store/meta.ts';
import { fetchPairState } from '../wire/kafka/api/20000-fetch-pair-state.ts';
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import { copiedRows, isCopied, type Row } from './pair-rows.ts';

/** Of one pass; records are fetched between two. */
const PAGES_PER_RUN = 8;
const FROM_THE_FIRST = new Uint8Array(0);

export type StateSource = Pick<Connection, 'serves' | 'send'>;

export class CopyRows {
  readonly #meta: MetaStore;
  #instance = '';
  /** The change from which on changes are asked for; -1: everything is asked for, behind the key `#after`. */
  #since = -1;
  #after: Uint8Array = FROM_THE_FIRST;
  /** The leader's last change when everything was begun. */
  #begunAt = -1;

  constructor(meta: MetaStore) {
    this.#meta = meta;
  }

  /** Whether everything has been copied once, and changes follow. */
  get complete(): boolean {
    return this.#since >= 0;
  }

  /** False: the leader is of a version that does not give them. */
  async run(leader: StateSource): Promise<boolean> {
    if (!leader.serves(fetchPairState)) return false;
    for (let page = 0; page < PAGES_PER_RUN; page++) if (await this.#page(leader)) break;
    return true;
  }

  /** True: there is no more for now. */
  async #page(leader: StateSource): Promise<boolean> {
    const answer = await leader.send(fetchPairState, {
      instance: this.#instance,
      since: this.#since,
      after: this.#after,
    });
    if (answer.errorCode === KAFKA_ERROR.OFFSET_OUT_OF_RANGE) {
      this.#beginAgain();
      return false;
    }
    checkCode(answer.errorCode, 'the state of the leader');
    const { instance, through, complete, rows } = answer;
    for (const { key } of rows) {
      if (!isCopied(key)) {
        throw new HeadwaterError(
          'UPSTREAM_REFUSED',
          `the leader sent a row of its own: ${Buffer.from(key).toString('hex')}`,
        );
      }
    }
    if (this.#since >= 0) {
      await this.#write(rows);
      this.#since = through;
      return complete;
    }
    if (this.#after.length === 0) {
      this.#instance = instance;
      this.#begunAt = through;
    } else if (this.#instance !== instance) {
      this.#beginAgain();
      return false;
    }
    await this.#replace(rows, complete);
    if (complete) {
      this.#since = this.#begunAt;
      this.#after = FROM_THE_FIRST;
    } else if (rows.length > 0) this.#after = Buffer.from(rows[rows.length - 1]!.key);
    return complete;
  }

  #beginAgain(): void {
    this.#since = -1;
    this.#after = FROM_THE_FIRST;
  }

  /** What is here from `#after` up to the end of the page becomes the page. */
  async #replace(rows: readonly Row[], complete: boolean): Promise<void> {
    const wanted = new Map(rows.map((row) => [Buffer.from(row.key).toString('latin1'), row]));
    const changes: MetaOperation[] = [];
    const through = complete ? undefined : rows[rows.length - 1]?.key;
    for await (const { key, value } of copiedRows(this.#meta, this.#after, through)) {
      const text = Buffer.from(key).toString('latin1');
      const row = wanted.get(text);
      if (row === undefined) changes.push({ key, value: null });
      else if (row.value !== null && Buffer.compare(row.value, value) === 0) wanted.delete(text);
    }
    await this.#write([...changes, ...wanted.values()]);
  }

  async #write(rows: readonly Row[]): Promise<void> {
    if (rows.length > 0) await this.#meta.write(rows);
  }
}
