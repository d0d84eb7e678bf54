/** The handlers of groups and transactions in every version they advertise, over a real socket. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { offsetCommit } from '../../src/wire/kafka/api/08-offset-commit.ts';
import { offsetFetch } from '../../src/wire/kafka/api/09-offset-fetch.ts';
import { findCoordinator } from '../../src/wire/kafka/api/10-find-coordinator.ts';
import { joinGroup } from '../../src/wire/kafka/api/11-join-group.ts';
import { heartbeat } from '../../src/wire/kafka/api/12-heartbeat.ts';
import { leaveGroup } from '../../src/wire/kafka/api/13-leave-group.ts';
import { syncGroup } from '../../src/wire/kafka/api/14-sync-group.ts';
import { describeGroups } from '../../src/wire/kafka/api/15-describe-groups.ts';
import { listGroups } from '../../src/wire/kafka/api/16-list-groups.ts';
import { initProducerId } from '../../src/wire/kafka/api/22-init-producer-id.ts';
import { addPartitionsToTxn } from '../../src/wire/kafka/api/24-add-partitions-to-txn.ts';
import { addOffsetsToTxn } from '../../src/wire/kafka/api/25-add-offsets-to-txn.ts';
import { endTxn } from '../../src/wire/kafka/api/26-end-txn.ts';
import { txnOffsetCommit } from '../../src/wire/kafka/api/28-txn-offset-commit.ts';
import { deleteGroups } from '../../src/wire/kafka/api/42-delete-groups.ts';
import { offsetDelete } from '../../src/wire/kafka/api/47-offset-delete.ts';
import { describeProducers } from '../../src/wire/kafka/api/61-describe-producers.ts';
import { describeTransactions } from '../../src/wire/kafka/api/65-describe-transactions.ts';
import { listTransactions } from '../../src/wire/kafka/api/66-list-transactions.ts';
import type { Api } from '../../src/wire/kafka/schema.ts';
import { type StartedBroker, startBroker } from '../kafka/start-broker.ts';
import { RawClient } from '../kafka/start-edge.ts';

let broker: StartedBroker;
let raw: RawClient;

beforeAll(async () => {
  broker = await startBroker();
  await broker.log.createTopic({ name: 't', partitions: 2, config: new Map() });
  raw = await RawClient.connect(broker.port);
});

afterAll(async () => {
  raw.close();
  await broker.stop();
});

const versions = (api: Api) => Array.from({ length: api.range[1] - api.range[0] + 1 }, (_, i) => api.range[0] + i);

let groups = 0;
const newGroup = () => `g${groups++}`;

async function joined(groupId: string, version = 3, instance: string | null = null) {
  const request = {
    groupId,
    sessionTimeoutMs: 10_000,
    rebalanceTimeoutMs: 10_000,
    memberId: '',
    groupInstanceId: instance,
    protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: Uint8Array.of(0, 0, 0, 0, 0, 0) }],
  };
  const first = await raw.request(joinGroup, version, request);
  return first.errorCode === 79 ? raw.request(joinGroup, version, { ...request, memberId: first.memberId }) : first;
}

async function stable(groupId: string, version = 3, instance: string | null = null) {
  const member = await joined(groupId, version, instance);
  const { generationId, memberId } = member;
  const assignments = [{ memberId, assignment: Uint8Array.of(1, 2) }];
  await raw.request(syncGroup, 3, { groupId, generationId, memberId, groupInstanceId: instance, assignments });
  return member;
}

const offsets = (committedOffset: number) => [
  { name: 't', partitions: [{ partitionIndex: 0, committedOffset, committedMetadata: 'note' }] },
];

describe('FindCoordinator', () => {
  it.each(versions(findCoordinator))(
    'v%i names this broker for groups and transactions, not for share groups',
    async (v) => {
      for (const keyType of v === 0 ? [0] : [0, 1, 2]) {
        const answer = await raw.request(findCoordinator, v, { key: 'k', keyType, coordinatorKeys: ['k', 'l'] });
        const found = v < 4 ? [answer] : answer.coordinators;
        for (const { nodeId, host, port, errorCode } of found) {
          if (keyType === 2) expect(errorCode).toBe(42);
          else
            expect({ nodeId, host, port, errorCode }).toEqual({
              nodeId: 1,
              host: '127.0.0.1',
              port: broker.port,
              errorCode: 0,
            });
        }
        if (v >= 4) expect(answer.coordinators.map(({ key }) => key)).toEqual(['k', 'l']);
      }
    },
  );
});

describe('JoinGroup', () => {
  it.each(versions(joinGroup))('v%i', async (v) => {
    const answer = await joined(newGroup(), v);
    expect(answer).toMatchObject({ errorCode: 0, generationId: 1, protocolName: 'range', leader: answer.memberId });
    expect(answer.members).toHaveLength(1);
    expect(answer.protocolType).toBe(v >= 7 ? 'consumer' : null);
    const refused = await raw.request(joinGroup, v, {
      groupId: newGroup(),
      sessionTimeoutMs: 1,
      memberId: '',
      protocolType: 'consumer',
      protocols: [],
    });
    expect(refused).toMatchObject({ errorCode: 26, generationId: -1, protocolName: v >= 7 ? null : '' });
  });

  it('asks for a member id first from v4 on, not of static members', async () => {
    for (const v of versions(joinGroup)) {
      const request = {
        groupId: newGroup(),
        sessionTimeoutMs: 10_000,
        memberId: '',
        protocolType: 'consumer',
        protocols: [{ name: 'range', metadata: Uint8Array.of() }],
      };
      expect((await raw.request(joinGroup, v, request)).errorCode).toBe(v >= 4 ? 79 : 0);
      if (v < 5) continue;
      const groupInstanceId = 'i';
      expect((await raw.request(joinGroup, v, { ...request, groupId: newGroup(), groupInstanceId })).errorCode).toBe(0);
    }
  });
});

describe('SyncGroup', () => {
  it.each(versions(syncGroup))('v%i', async (v) => {
    const groupId = newGroup();
    const { generationId, memberId } = await joined(groupId);
    const assignments = [{ memberId, assignment: Uint8Array.of(1, 2) }];
    const named = { protocolType: 'consumer', protocolName: 'range' };
    const answer = await raw.request(syncGroup, v, { groupId, generationId, memberId, assignments, ...named });
    expect([answer.errorCode, ...answer.assignment]).toEqual([0, 1, 2]);
    if (v >= 5) expect(answer).toMatchObject(named);
    const other = await raw.request(syncGroup, v, { groupId, generationId, memberId, assignments, protocolName: 'x' });
    expect(other.errorCode).toBe(v >= 5 ? 23 : 0);
  });
});

describe('a broker that stops', () => {
  const request = {
    groupId: 'g',
    sessionTimeoutMs: 10_000,
    memberId: '',
    protocolType: 'consumer',
    protocols: [{ name: 'range', metadata: Uint8Array.of() }],
  };

  it('answers a JoinGroup and a SyncGroup that wait with COORDINATOR_NOT_AVAILABLE', async () => {
    const stopping = await startBroker();
    const [leader, follower, newcomer] = [
      await RawClient.connect(stopping.port),
      await RawClient.connect(stopping.port),
      await RawClient.connect(stopping.port),
    ];
    const { memberId } = await leader.request(joinGroup, 3, request);
    const joining = follower.send(joinGroup, 3, request);
    await expect.poll(() => stopping.groups.describe('g').state).toBe('PreparingRebalance');
    await leader.request(joinGroup, 3, { ...request, memberId });
    const joined = await follower.answer(joinGroup, 3, joining);
    const syncing = follower.send(syncGroup, 3, { groupId: 'g', ...joined, assignments: [] });
    const other = await newcomer.request(joinGroup, 3, { ...request, groupId: 'h' });
    const parked = newcomer.send(joinGroup, 3, { ...request, groupId: 'h' });
    await expect.poll(() => stopping.groups.describe('h').state).toBe('PreparingRebalance');
    expect(other.errorCode).toBe(0);
    const stopped = stopping.started.edge.stop();
    expect((await follower.answer(syncGroup, 3, syncing)).errorCode).toBe(15);
    expect((await newcomer.answer(joinGroup, 3, parked)).errorCode).toBe(15);
    await stopped;
    for (const client of [leader, follower, newcomer]) client.close();
    await stopping.stop();
  });
});

describe('Heartbeat', () => {
  it.each(versions(heartbeat))('v%i', async (v) => {
    const groupId = newGroup();
    const { generationId, memberId } = await stable(groupId, 9, 'i');
    const beat = { groupId, generationId, memberId };
    expect((await raw.request(heartbeat, v, beat)).errorCode).toBe(0);
    expect((await raw.request(heartbeat, v, { ...beat, generationId: 9 })).errorCode).toBe(22);
    const fenced = await raw.request(heartbeat, v, { ...beat, memberId: 'old', groupInstanceId: 'i' });
    expect(fenced.errorCode).toBe(v >= 3 ? 82 : 25);
  });
});

describe('LeaveGroup', () => {
  it.each(versions(leaveGroup))('v%i', async (v) => {
    const groupId = newGroup();
    const { memberId } = await stable(groupId);
    const members = [{ memberId }, { memberId: 'stranger' }];
    const answer = await raw.request(leaveGroup, v, { groupId, memberId, members });
    expect(answer.errorCode).toBe(0);
    if (v >= 3) expect(answer.members.map(({ errorCode }) => errorCode)).toEqual([0, 25]);
    else expect((await raw.request(leaveGroup, v, { groupId, memberId })).errorCode).toBe(25);
  });
});

describe('OffsetCommit and OffsetFetch', () => {
  it.each(versions(offsetCommit))('commit v%i', async (v) => {
    const groupId = newGroup();
    const { generationId, memberId } = await stable(groupId);
    const member = { groupId, generationIdOrMemberEpoch: generationId, memberId };
    const commit = async (changes: object) =>
      (await raw.request(offsetCommit, v, { ...member, topics: offsets(7), ...changes })).topics[0]!.partitions[0]!
        .errorCode;
    expect(await commit({})).toBe(0);
    expect(await commit({ generationIdOrMemberEpoch: 5 })).toBe(22);
    expect(await commit({ memberId: 'x' })).toBe(25);
    expect(await commit({ groupId: newGroup() })).toBe(v >= 9 ? 69 : 22);
  });

  it.each(versions(offsetFetch))('fetch v%i', async (v) => {
    const groupId = newGroup();
    await raw.request(offsetCommit, 8, { groupId, memberId: '', topics: offsets(7) });
    const topics = [{ name: 't', partitionIndexes: [0, 1] }];
    const ask = async (wanted: typeof topics | null) => {
      const answer = await raw.request(offsetFetch, v, {
        groupId,
        topics: wanted ?? [],
        groups: [{ groupId, topics: wanted }],
      });
      return (v >= 8 ? answer.groups[0]!.topics : answer.topics).flatMap(({ partitions }) => partitions);
    };
    const found = { partitionIndex: 0, committedOffset: 7, metadata: 'note', errorCode: 0 };
    expect(await ask(topics)).toMatchObject([
      found,
      { partitionIndex: 1, committedOffset: -1, metadata: '', errorCode: 0 },
    ]);
    if (v >= 8) expect(await ask(null)).toMatchObject([found]);
  });

  it.each([2, 5, 7])('fetch v%i with null topics gives everything', async (v) => {
    const groupId = newGroup();
    await raw.request(offsetCommit, 8, { groupId, memberId: '', topics: offsets(7) });
    const answer = await raw.request(offsetFetch, v, { groupId, topics: null });
    expect(answer.topics).toMatchObject([{ name: 't', partitions: [{ committedOffset: 7 }] }]);
  });
});

describe('admin', () => {
  it.each(versions(describeGroups))('DescribeGroups v%i', async (v) => {
    const groupId = newGroup();
    const { memberId } = await stable(groupId, 9, 'i');
    const answer = await raw.request(describeGroups, v, { groups: [groupId, 'nobody'] });
    expect(answer.groups[0]).toMatchObject({
      errorCode: 0,
      groupState: 'Stable',
      protocolType: 'consumer',
      protocolData: 'range',
    });
    expect(answer.groups[0]!.members).toMatchObject([{ memberId, clientId: 'raw', clientHost: '/127.0.0.1' }]);
    expect([...answer.groups[0]!.members[0]!.memberAssignment]).toEqual([1, 2]);
    expect(answer.groups[0]!.members[0]!.groupInstanceId).toBe(v >= 4 ? 'i' : null);
    expect(answer.groups[1]).toMatchObject({ errorCode: v >= 6 ? 69 : 0, groupState: 'Dead', members: [] });
  });

  it.each(versions(listGroups))('ListGroups v%i', async (v) => {
    const groupId = newGroup();
    await stable(groupId);
    const list = async (filter: object) =>
      (await raw.request(listGroups, v, filter)).groups.filter((group) => group.groupId === groupId);
    const row = {
      groupId,
      protocolType: 'consumer',
      groupState: v >= 4 ? 'Stable' : '',
      groupType: v >= 5 ? 'classic' : '',
    };
    expect(await list({})).toEqual([row]);
    if (v >= 4) {
      expect(await list({ statesFilter: ['stable'] })).toEqual([row]);
      expect(await list({ statesFilter: ['Empty'] })).toEqual([]);
    }
    if (v >= 5) {
      expect(await list({ typesFilter: ['Classic'] })).toEqual([row]);
      expect(await list({ typesFilter: ['consumer'] })).toEqual([]);
    }
  });

  it.each(versions(deleteGroups))('DeleteGroups v%i', async (v) => {
    const busy = newGroup();
    const idle = newGroup();
    await stable(busy);
    await raw.request(offsetCommit, 8, { groupId: idle, memberId: '', topics: offsets(7) });
    const { results } = await raw.request(deleteGroups, v, { groupsNames: [busy, idle, 'nobody'] });
    expect(results.map(({ errorCode }) => errorCode)).toEqual([68, 0, 69]);
  });

  it('OffsetDelete', async () => {
    const groupId = newGroup();
    await raw.request(offsetCommit, 8, { groupId, memberId: '', topics: offsets(7) });
    const topics = [{ name: 't', partitions: [{ partitionIndex: 0 }, { partitionIndex: 9 }] }];
    const answer = await raw.request(offsetDelete, 0, { groupId, topics });
    expect(answer).toMatchObject({ errorCode: 0, topics: [{ partitions: [{ errorCode: 0 }, { errorCode: 3 }] }] });
    expect(await raw.request(offsetDelete, 0, { groupId: 'nobody', topics })).toMatchObject({
      errorCode: 69,
      topics: [],
    });
  });
});

describe('transactions', () => {
  let transactions = 0;
  const begin = async () => {
    const transactionalId = `tx${transactions++}`;
    const init = { transactionalId, transactionTimeoutMs: 60_000 };
    const { producerId, producerEpoch } = await raw.request(initProducerId, 4, init);
    return { transactionalId, producerId, producerEpoch };
  };
  const adding = (producer: Awaited<ReturnType<typeof begin>>, partitions = [0], verifyOnly = false) => ({
    transactions: [{ ...producer, verifyOnly, topics: [{ name: 't', partitions }] }],
    v3AndBelowTransactionalId: producer.transactionalId,
    v3AndBelowProducerId: producer.producerId,
    v3AndBelowProducerEpoch: producer.producerEpoch,
    v3AndBelowTopics: [{ name: 't', partitions }],
  });
  const add = async (v: number, request: ReturnType<typeof adding>) => {
    const answer = await raw.request(addPartitionsToTxn, v, request);
    const topics = v >= 4 ? answer.resultsByTransaction[0]!.topicResults : answer.resultsByTopicV3AndBelow;
    return topics[0]!.resultsByPartition.map(({ partitionErrorCode }) => partitionErrorCode);
  };

  it.each(versions(initProducerId))('InitProducerId v%i', async (v) => {
    const plain = await raw.request(initProducerId, v, { transactionalId: null, transactionTimeoutMs: 0 });
    expect(plain).toMatchObject({ errorCode: 0, producerEpoch: 0 });
    const empty = await raw.request(initProducerId, v, { transactionalId: '', transactionTimeoutMs: 1 });
    expect(empty).toMatchObject({ errorCode: 42, producerId: -1 });
    if (v < 3) return;
    const known = await begin();
    const request = { transactionalId: known.transactionalId, transactionTimeoutMs: 1_000 };
    const stale = await raw.request(initProducerId, v, {
      ...request,
      producerId: known.producerId + 1_000,
      producerEpoch: 0,
    });
    expect(stale.errorCode).toBe(v >= 4 ? 90 : 47);
    const half = await raw.request(initProducerId, v, { ...request, producerId: known.producerId });
    expect(half.errorCode).toBe(42);
  });

  it.each(versions(addPartitionsToTxn))('AddPartitionsToTxn v%i', async (v) => {
    const producer = await begin();
    expect(await add(v, adding(producer, [0, 1]))).toEqual([0, 0]);
    expect(await add(v, adding(producer, [0, 7]))).toEqual([55, 3]);
    const fenced = { ...producer, producerEpoch: producer.producerEpoch + 1 };
    expect(await add(v, adding(fenced))).toEqual([v >= 2 ? 90 : 47]);
    expect(await add(v, adding({ ...producer, producerId: 1_000_000 }))).toEqual([49]);
    if (v < 4) return;
    const other = await begin();
    expect(await add(v, adding(producer, [0, 1], true))).toEqual([0, 0]);
    expect(await add(v, adding(other, [0], true))).toEqual([v >= 5 ? 120 : 48]);
  });

  it.each(versions(addOffsetsToTxn))('AddOffsetsToTxn, TxnOffsetCommit, EndTxn v%i', async (v) => {
    const producer = await begin();
    const groupId = newGroup();
    const early = await raw.request(txnOffsetCommit, v, { ...producer, groupId, topics: offsets(3) });
    expect(early.topics[0]!.partitions[0]!.errorCode).toBe(48);
    expect((await raw.request(addOffsetsToTxn, v, { ...producer, groupId })).errorCode).toBe(0);
    const held = await raw.request(txnOffsetCommit, v, { ...producer, groupId, topics: offsets(3) });
    expect(held.topics[0]!.partitions[0]!.errorCode).toBe(0);
    const fenced = { ...producer, producerEpoch: producer.producerEpoch + 1 };
    expect((await raw.request(addOffsetsToTxn, v, { ...fenced, groupId })).errorCode).toBe(v >= 2 ? 90 : 47);
    const zombie = await raw.request(txnOffsetCommit, v, { ...fenced, groupId, topics: offsets(9) });
    expect(zombie.topics[0]!.partitions[0]!.errorCode).toBe(47);
    if (v >= 3) {
      const stranger = { ...producer, groupId, generationId: 4, memberId: 'x', topics: offsets(9) };
      expect((await raw.request(txnOffsetCommit, v, stranger)).topics[0]!.partitions[0]!.errorCode).toBe(25);
    }
    expect((await raw.request(endTxn, v, { ...fenced, committed: true })).errorCode).toBe(v >= 2 ? 90 : 47);
    expect((await raw.request(endTxn, v, { ...producer, committed: true })).errorCode).toBe(0);
    expect(broker.groups.offsets.fetch(groupId, 't', [0], true)[0]).toMatchObject({ offset: 3, error: 0 });
  });

  it('DescribeTransactions, ListTransactions, DescribeProducers', async () => {
    const producer = await begin();
    await add(3, adding(producer, [0, 1]));
    const { transactionalId, producerId } = producer;
    const described = await raw.request(describeTransactions, 0, { transactionalIds: [transactionalId, 'nobody', ''] });
    expect(described.transactionStates).toMatchObject([
      {
        errorCode: 0,
        transactionState: 'Ongoing',
        transactionTimeoutMs: 60_000,
        producerId,
        topics: [{ topic: 't', partitions: [0, 1] }],
      },
      { errorCode: 105 },
      { errorCode: 42 },
    ]);
    for (const v of versions(listTransactions)) {
      const filters = {
        stateFilters: ['Ongoing', 'Odd'],
        producerIdFilters: [producerId],
        transactionalIdPattern: 'tx.*',
      };
      const listed = await raw.request(listTransactions, v, filters);
      expect(listed).toMatchObject({
        errorCode: 0,
        unknownStateFilters: ['Odd'],
        transactionStates: [{ transactionalId, producerId, transactionState: 'Ongoing' }],
      });
    }
    const topics = [{ name: 't', partitionIndexes: [0, 9] }];
    const { partitions } = (await raw.request(describeProducers, 0, { topics })).topics[0]!;
    expect(partitions.map(({ errorCode }) => errorCode)).toEqual([0, 3]);
  });
});
