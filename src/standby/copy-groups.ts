/**
 * Makes the committed offsets of consumer groups here what they are at the leader. Compared with what is here, not with
 * what was written: whatever took an offset away here, the next pass puts it back.
 */
import type { Admin, GroupOffset } from '../client/admin.ts';
import type { GroupCoordinator } from '../groups/coordinator.ts';

type Groups = Pick<GroupCoordinator, 'offsets' | 'list' | 'deleteGroup'>;

const keyOf = ({ topic, partition }: { topic: string; partition: number }) => `${topic}/${partition}`;
const contentOf = ({ offset, leaderEpoch, metadata }: Omit<GroupOffset, 'topic' | 'partition'>) =>
  `${offset} ${leaderEpoch} ${metadata}`;

export class CopyGroups {
  readonly #groups: Groups;
  readonly #selects: (topic: string) => boolean;

  /** Offsets of topics that `selects` leaves out are left alone. */
  constructor(groups: Groups, selects: (topic: string) => boolean) {
    this.#groups = groups;
    this.#selects = selects;
  }

  /**
   * One pass. Only what differs is written; what the leader has no more goes. `stillLeads` rejects when the broker that was
   * asked does not lead: one that follows lists no groups, and that does not mean that there are none.
   */
  async run(
    admin: Pick<Admin, 'groups' | 'groupOffsets'>,
    leaderId: number,
    stillLeads: () => Promise<void>,
  ): Promise<void> {
    const listed = new Set<string>();
    for (const { id } of await admin.groups(leaderId)) {
      listed.add(id);
      await this.#copy(id, await admin.groupOffsets(id));
    }
    const gone = this.#groups.list().filter(({ groupId }) => !listed.has(groupId));
    if (gone.length > 0) await stillLeads();
    for (const { groupId } of gone) {
      await this.#copy(groupId, []);
      if (this.#groups.offsets.committed(groupId, false).length === 0) await this.#groups.deleteGroup(groupId);
    }
  }

  async #copy(id: string, offsets: readonly GroupOffset[]): Promise<void> {
    const here = new Map(this.#here(id).map((one) => [keyOf(one), one]));
    const changed: GroupOffset[] = [];
    for (const one of offsets) {
      if (!this.#selects(one.topic)) continue;
      const found = here.get(keyOf(one));
      if (found === undefined || contentOf(found) !== contentOf(one)) changed.push(one);
      here.delete(keyOf(one));
    }
    if (changed.length > 0) {
      await this.#groups.offsets.commit(id, {
        apiVersion: 8,
        generation: -1,
        memberId: '',
        instanceId: null,
        retentionMs: -1,
        offsets: changed,
      });
    }
    // What is left has gone at the leader.
    if (here.size > 0) await this.#groups.offsets.delete(id, [...here.values()]);
  }

  #here(id: string): GroupOffset[] {
    return this.#groups.offsets
      .committed(id, false)
      .filter(({ topic }) => this.#selects(topic))
      .flatMap(({ topic, partitions }) => partitions.map((one) => ({ topic, ...one })));
  }
}
