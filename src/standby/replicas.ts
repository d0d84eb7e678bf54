/** The leader's side: a follower that fetches is a replica, and what it asks for next is what it has (as in Kafka). */
import type { Partition, Replica } from '../log/types.ts';

/** A pair has one; more would be clients that only say so. */
const REPLICA_IDS_MAX = 4;

export class StandbyReplicas {
  readonly #maxLagMs: number;
  readonly #ids = new Set<number>();
  readonly #byPartition = new WeakMap<Partition, Map<number, Replica>>();

  /** `maxLagMs`: `replica.lag.time.max.ms`. */
  constructor(maxLagMs: number) {
    this.#maxLagMs = maxLagMs;
  }

  /** Replica `id` asks for `offset`. False when there are too many replicas already. */
  fetched(partition: Partition, id: number, offset: number): boolean {
    if (!this.#ids.has(id)) {
      if (this.#ids.size >= REPLICA_IDS_MAX) return false;
      this.#ids.add(id);
    }
    let replicas = this.#byPartition.get(partition);
    if (replicas === undefined) {
      replicas = new Map();
      this.#byPartition.set(partition, replicas);
    }
    let replica = replicas.get(id);
    if (replica === undefined) {
      replica = partition.addReplica(id, this.#maxLagMs);
      replicas.set(id, replica);
    }
    replica.advance(offset);
    return true;
  }
}
