/** Kafka's RangeAssignor: topic by topic, consecutive partitions to the members in order, the first ones get one more. */
export interface MemberSubscription {
  readonly memberId: string;
  readonly instanceId: string | null;
  readonly topics: readonly string[];
}

export interface AssignedTopic {
  readonly topic: string;
  readonly partitions: number[];
}

/** Static members (by instance id) come before dynamic ones (by member id), as in Java's MemberInfo. */
function compareMembers(a: MemberSubscription, b: MemberSubscription): number {
  if (a.instanceId !== null && b.instanceId !== null) return a.instanceId < b.instanceId ? -1 : 1;
  if (a.instanceId !== null) return -1;
  if (b.instanceId !== null) return 1;
  return a.memberId < b.memberId ? -1 : 1;
}

/** Every member is in the result, also one without partitions. */
export function assignRange(
  members: readonly MemberSubscription[],
  partitionsOf: ReadonlyMap<string, readonly number[]>,
): Map<string, AssignedTopic[]> {
  const result = new Map<string, AssignedTopic[]>(members.map((member) => [member.memberId, []]));
  const sorted = [...members].sort(compareMembers);
  for (const [topic, partitions] of [...partitionsOf].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const subscribed = sorted.filter((member) => member.topics.includes(topic));
    const share = Math.floor(partitions.length / subscribed.length);
    const extra = partitions.length % subscribed.length;
    let from = 0;
    for (const [index, member] of subscribed.entries()) {
      const count = share + (index < extra ? 1 : 0);
      if (count > 0) result.get(member.memberId)!.push({ topic, partitions: partitions.slice(from, from + count) });
      from += count;
    }
  }
  return result;
}
