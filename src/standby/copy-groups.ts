/** Makes the committed offsets of consumer groups here what they are at the leader. */
import type { Admin, GroupOffset } from '../client/admin.ts';
import type { GroupCoordinator } from '../groups/coordinator.ts';

export class CopyGroups {
  readonly #groups: Pick<GroupCoordinator, 'offsets' | 'deleteGroup'>;
  /** By group, then `topic/partition`: what was written here last. */
  readonly #known = new Map<string, Map<string, string>>();

  constructor(groups: Pick<GroupCoordinator, 'offsets' | 'deleteGroup'>) {
    this.#groups = groups;
  }

  /** One pass. Only what changed is written. */
  async run(admin: Pick<Admin, 'groups' | 'groupOffsets'>): Promise<void> {
    const listed = new Set<string>();
    for (const { id } of await admin.groups()) {
      listed.add(id);
      await this.#copy(id, await admin.groupOffsets(id));
    }
    for (const id of [...this.#known.keys()]) {
      if (listed.has(id)) continue;
      await this.#groups.deleteGroup(id);
      this.#known.delete(id);
    }
  }

  async #copy(id: string, offsets: readonly GroupOffset[]): Promise<void> {
    const known = this.#known.get(id) ?? new Map<string, string>();
    this.#known.set(id, known);
    const changed = offsets.filter(({ topic, partition, offset, metadata }) => {
      return offset >= 0 && known.get(`${topic}/${partition}`) !== `${offset} ${metadata}`;
    });
    if (changed.length === 0) return;
    const codes = await this.#groups.offsets.commit(id, {
      apiVersion: 8,
      generation: -1,
      memberId: '',
      instanceId: null,
      retentionMs: -1,
      offsets: changed.map((one) => ({ ...one, leaderEpoch: -1 })),
    });
    for (const [i, { topic, partition, offset, metadata }] of changed.entries()) {
      if (codes[i] === 0) known.set(`${topic}/${partition}`, `${offset} ${metadata}`);
    }
  }
}
