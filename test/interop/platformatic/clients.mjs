/** Drives a broker with @platformatic/kafka: clients.mjs CLIENT-MODULE BOOTSTRAP. Prints what it saw as JSON. */
import { pathToFileURL } from 'node:url';

const [clientModule, bootstrap] = process.argv.slice(2);
const { Admin, Consumer, Producer, ProduceAcks, stringSerializers, stringDeserializers } = await import(
  pathToFileURL(clientModule).href
);

const numbered = (count, from = 0) => Array.from({ length: count }, (_, i) => `line ${from + i}`);
const common = { clientId: 'platformatic', bootstrapBrokers: [bootstrap], timeout: 30_000 };
const newProducer = (more = {}) => new Producer({ ...common, serializers: stringSerializers, ...more });
const newConsumer = (groupId, more = {}) =>
  new Consumer({ ...common, groupId, deserializers: stringDeserializers, maxWaitTime: 100, ...more });
const seen = {};

const admin = new Admin(common);
/** Those of the target itself aside. */
const topics = async () => (await admin.listTopics()).filter((topic) => !/^(__|mqtt$)/.test(topic)).sort();
await admin.createTopics({
  topics: ['platformatic'],
  partitions: 1,
  replicas: 1,
  configs: [{ name: 'retention.ms', value: '7200000' }],
});
await admin.createTopics({ topics: ['shared', 'transactions'], partitions: 4, replicas: 1 });
seen.topics = await topics();
const [described] = await admin.describeConfigs({
  resources: [{ resourceType: 2, resourceName: 'platformatic', configurationKeys: ['retention.ms'] }],
});
seen.retention = described.configs.find(({ name }) => name === 'retention.ms').value;
await admin.createPartitions({ topics: [{ name: 'shared', count: 6 }] });
seen.partitions = (await admin.metadata({ topics: ['shared'] })).topics.get('shared').partitionsCount;

// Every codec and acks, and an idempotent producer.
const producer = newProducer();
const at = [];
for (const [i, compression] of ['none', 'gzip', 'snappy', 'lz4', 'zstd'].entries()) {
  const messages = numbered(40, i * 40).map((value) => ({
    topic: 'platformatic',
    partition: 0,
    key: 'k',
    value,
    headers: { unit: 'C' },
  }));
  const { offsets } = await producer.send({
    messages,
    compression,
    acks: i % 2 === 0 ? ProduceAcks.ALL : ProduceAcks.LEADER,
  });
  at.push(Number(offsets[0].offset));
}
seen.offsets = at;
await producer.close();
const idempotent = newProducer({ idempotent: true });
for (let i = 0; i < 100; i++) {
  await idempotent.send({ messages: [{ topic: 'platformatic', partition: 0, key: 'k', value: `line ${200 + i}` }] });
}
await idempotent.close();

/** Reads `count` records of a topic in a group, committing each, then leaves. */
async function read(groupId, topic, count, more = {}) {
  const consumer = newConsumer(groupId);
  const stream = await consumer.consume({
    topics: [topic],
    mode: 'committed',
    fallbackMode: 'earliest',
    autocommit: false,
    ...more,
  });
  const values = [];
  for await (const message of stream) {
    values.push(message.value);
    await message.commit();
    if (values.length === count) break;
  }
  await consumer.close(true);
  return values;
}

seen.first = await read('resumed', 'platformatic', 120);
seen.second = await read('resumed', 'platformatic', 180);

// Two members share six partitions.
const members = [];
for (const name of ['a', 'b']) {
  const consumer = newConsumer('shared', { clientId: name, sessionTimeout: 10_000, heartbeatInterval: 300 });
  const stream = await consumer.consume({ topics: ['shared'], mode: 'earliest', autocommit: 100 });
  const member = { consumer, values: [] };
  stream.on('data', ({ value }) => member.values.push(value));
  members.push(member);
}
const shares = () =>
  members.map(({ consumer }) => (consumer.assignments ?? []).flatMap(({ partitions }) => partitions));
const until = async (what, holds) => {
  const deadline = Date.now() + 30_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`not within 30 s: ${what} (${JSON.stringify(shares())})`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};
await until('three partitions each', () => shares().every((partitions) => partitions.length === 3));
seen.shares = shares().flat().sort();
const sharing = newProducer();
await sharing.send({
  messages: numbered(60).map((value, i) => ({ topic: 'shared', partition: i % 6, key: 'k', value })),
});
await sharing.close();
// A stream that lost a partition may read on for a moment: what counts is who is given what, and that all is read.
const distinct = () => new Set(members.flatMap(({ values }) => values)).size;
await until('60 records', () => distinct() >= 60);
seen.shared = distinct();
seen.members = (await admin.describeGroups({ groups: ['shared'] })).get('shared').members.size;
for (const { consumer } of members) await consumer.close(true);

// A transaction that is kept, one that is not, and consumed offsets in one.
const transactional = newProducer({ idempotent: true, transactionalId: 'platformatic' });
for (const [value, commit] of [
  ['kept', true],
  ['dropped', false],
  ['kept too', true],
]) {
  const transaction = await transactional.beginTransaction();
  await transaction.send({ messages: [{ topic: 'transactions', partition: 0, key: 'k', value }] });
  await (commit ? transaction.commit() : transaction.abort());
}
await transactional.close();
seen.committed = await read('committed', 'transactions', 2, { isolationLevel: 1 });
seen.uncommitted = await read('uncommitted', 'transactions', 3, { isolationLevel: 0 });

seen.groups = [...(await admin.listGroups()).keys()].sort();
await admin.deleteGroups({ groups: ['committed', 'uncommitted'] });
await admin.deleteTopics({ topics: ['transactions'] });
seen.left = [[...(await admin.listGroups()).keys()].sort(), await topics()];
await admin.close();
console.log(JSON.stringify(seen));
process.exit(0);
