"""Drives a broker with a Python client: clients.py kafka-python|confluent-kafka BOOTSTRAP. Prints what it saw as JSON."""

import json
import sys
import time


def numbered(count, start=0):
    return [f"line {i}" for i in range(start, start + count)]


def kafka_python(bootstrap):
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import NewTopic

    seen = {}
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic("python", 1, 1, topic_configs={"retention.ms": "3600000"})])
    seen["topics"] = sorted(t for t in admin.list_topics() if not t.startswith("__"))

    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type="gzip", linger_ms=5)
    futures = [producer.send("python", key=b"k", value=line.encode(), headers=[("unit", b"C")]) for line in numbered(300)]
    producer.flush()
    seen["offsets"] = [future.get(10).offset for future in futures] == list(range(300))

    def read(count):
        consumer = KafkaConsumer(
            "python",
            bootstrap_servers=bootstrap,
            group_id="python",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=count,
            consumer_timeout_ms=20000,
        )
        values = []
        for record in consumer:
            values.append(record.value.decode())
            if len(values) == count:
                break
        consumer.commit()
        consumer.close()
        return values

    seen["first"] = read(100)
    seen["second"] = read(200)
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    partition = TopicPartition("python", 0)
    seen["end"] = consumer.end_offsets([partition])[partition]
    seen["by time"] = consumer.offsets_for_times({partition: 0})[partition].offset
    consumer.close()
    admin.delete_topics(["python"])
    admin.close()
    return seen


def confluent_kafka(bootstrap):
    from confluent_kafka import Consumer, Producer
    from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

    seen = {}
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic("confluent", 1, 1)]).values():
        future.result(20)
    resource = ConfigResource(ConfigResource.Type.TOPIC, "confluent")
    seen["retention"] = admin.describe_configs([resource])[resource].result(20)["retention.ms"].value

    delivered = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "zstd"})
    for line in numbered(300):
        producer.produce("confluent", line, key="k", on_delivery=lambda error, message: delivered.append((error, message.offset())))
    producer.flush(30)
    seen["delivered"] = delivered == [(None, offset) for offset in range(300)]

    def read(topic, count, group, **config):
        consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": group,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "partition.assignment.strategy": "cooperative-sticky",
                **config,
            }
        )
        consumer.subscribe([topic])
        values = []
        last = None
        deadline = time.time() + 30
        while len(values) < count and time.time() < deadline:
            message = consumer.poll(0.5)
            if message is None:
                continue
            if message.error():
                raise RuntimeError(message.error())
            values.append(message.value().decode())
            last = message
        if last is not None:
            consumer.commit(last, asynchronous=False)
        consumer.close()
        return values

    seen["first"] = read("confluent", 100, "confluent")
    seen["second"] = read("confluent", 200, "confluent")

    transactional = Producer({"bootstrap.servers": bootstrap, "transactional.id": "confluent-tx"})
    transactional.init_transactions(30)
    for text, commit in (("kept", True), ("dropped", False), ("kept too", True)):
        transactional.begin_transaction()
        transactional.produce("confluent-tx", text)
        transactional.flush(20)
        if commit:
            transactional.commit_transaction(30)
        else:
            transactional.abort_transaction(30)
    seen["committed"] = read("confluent-tx", 2, "confluent-tx")
    seen["uncommitted"] = read("confluent-tx", 3, "confluent-all", **{"isolation.level": "read_uncommitted"})
    return seen


if __name__ == "__main__":
    client, address = sys.argv[1:]
    print(json.dumps({"kafka-python": kafka_python, "confluent-kafka": confluent_kafka}[client](address)))
