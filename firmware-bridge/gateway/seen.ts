/**
 * Which readings of one device are in the log. Everything up to `floor` is settled: stored, or void on the device; above it
 * single sequence numbers are known, because a refused publish or a crash may leave a hole that has to be filled before the
 * floor may move on.
 */
export class Seen {
  readonly epoch: number;
  #floor: number;
  readonly #above = new Set<number>();

  constructor(epoch: number, floor = 0, above: Iterable<number> = []) {
    this.epoch = epoch;
    this.#floor = floor;
    for (const sequence of above) this.add(sequence);
  }

  /** What is known above the floor. No more than a device may have on its way: its window. */
  get above(): number[] {
    return [...this.#above];
  }

  get floor(): number {
    return this.#floor;
  }

  has(sequence: number): boolean {
    return sequence <= this.#floor || this.#above.has(sequence);
  }

  /** The log holds this reading. */
  add(sequence: number): void {
    if (sequence <= this.#floor) return;
    this.#above.add(sequence);
    while (this.#above.delete(this.#floor + 1)) this.#floor++;
  }

  /** Everything up to `sequence` is settled, gaps included: the device was told so, or says that it has nothing older. */
  settle(sequence: number): void {
    if (sequence <= this.#floor) return;
    this.#floor = sequence;
    for (const known of this.#above) if (known <= sequence) this.#above.delete(known);
    while (this.#above.delete(this.#floor + 1)) this.#floor++;
  }
}
