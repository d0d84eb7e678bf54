import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/**
 * The programs people write first with Kafka's Java clients, each with what it promises checked. Arguments: bootstrap. One
 * line a program: its name and ok, or what was wrong. The callback producer prints "half" and waits for a line on standard
 * input: the broker may be killed then.
 */
public class ClientPrograms {
  static String bootstrap;
  static Admin admin;

  interface Program {
    void run() throws Exception;
  }

  static void run(String name, Program program) {
    try {
      program.run();
      System.out.println(name + ": ok");
    } catch (Throwable wrong) {
      System.out.println(name + ": " + wrong);
    }
  }

  static void equal(Object seen, Object wanted, String what) {
    if (!Objects.equals(seen, wanted)) throw new AssertionError(what + " is " + seen + ", not " + wanted);
  }

  static void create(String topic, int partitions) throws Exception {
    admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1))).all().get(30, TimeUnit.SECONDS);
  }

  static KafkaProducer<String, String> producer(String... settings) {
    Properties config = new Properties();
    config.put("bootstrap.servers", bootstrap);
    for (int i = 0; i < settings.length; i += 2) config.put(settings[i], settings[i + 1]);
    return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
  }

  static KafkaConsumer<String, String> consumer(String group, String... settings) {
    Properties config = new Properties();
    config.put("bootstrap.servers", bootstrap);
    config.put("group.id", group);
    config.put("auto.offset.reset", "earliest");
    config.put("enable.auto.commit", "false");
    config.put("fetch.max.wait.ms", "100");
    for (int i = 0; i < settings.length; i += 2) config.put(settings[i], settings[i + 1]);
    return new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer());
  }

  static List<String> numbers(int from, int to) {
    List<String> all = new ArrayList<>();
    for (int i = from; i < to; i++) all.add("n" + i);
    return all;
  }

  /** A topic of one partition that holds n0 to n(count-1). */
  static void fill(String topic, int count) throws Exception {
    create(topic, 1);
    try (KafkaProducer<String, String> producer = producer("acks", "all")) {
      for (String value : numbers(0, count)) producer.send(new ProducerRecord<>(topic, value));
    }
  }

  /** The values of one poll that brought something. */
  static List<String> poll(KafkaConsumer<String, String> consumer) {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(40);
    while (System.nanoTime() < deadline) {
      List<String> values = new ArrayList<>();
      for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) values.add(record.value());
      if (!values.isEmpty()) return values;
    }
    throw new AssertionError("no record within 40 s");
  }

  static List<String> read(KafkaConsumer<String, String> consumer, int count) {
    List<String> values = new ArrayList<>();
    while (values.size() < count) values.addAll(poll(consumer));
    return values;
  }

  /** What a producer with a callback is told is where the records are, also when the broker goes away in between. */
  static void callbackProducer() throws Exception {
    int records = 6000;
    create("callback", 3);
    String[][] acknowledged = new String[3][records];
    AtomicReference<Exception> failed = new AtomicReference<>();
    AtomicInteger done = new AtomicInteger();
    try (KafkaProducer<String, String> producer = producer(
        "acks", "all", "retries", "1000", "batch.size", "4096", "linger.ms", "5", "buffer.memory", "65536",
        "max.block.ms", "60000")) {
      for (int i = 0; i < records; i++) {
        String value = "n" + i;
        producer.send(new ProducerRecord<>("callback", "key" + i % 50, value), (metadata, error) -> {
          done.incrementAndGet();
          if (error != null) failed.compareAndSet(null, error);
          else acknowledged[metadata.partition()][(int) metadata.offset()] = value;
        });
        if (i == records / 2) {
          System.out.println("half");
          new Scanner(System.in).nextLine();
        }
      }
    }
    equal(failed.get(), null, "the error a callback got");
    equal(done.get(), records, "the number of callbacks");
    int read = 0;
    try (KafkaConsumer<String, String> consumer = consumer("callback")) {
      consumer.subscribe(List.of("callback"));
      int[] next = new int[3];
      Map<String, Integer> last = new HashMap<>();
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
      while (read < records && System.nanoTime() < deadline) {
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
          equal(record.offset(), (long) next[record.partition()]++, "the offset in partition " + record.partition());
          equal(record.value(), acknowledged[record.partition()][(int) record.offset()], "the record at " + record.offset());
          int n = Integer.parseInt(record.value().substring(1));
          Integer before = last.put(record.key(), n);
          if (before != null && before >= n) throw new AssertionError(record.key() + ": " + n + " comes after " + before);
          read++;
        }
      }
      equal((int) consumer.endOffsets(consumer.assignment()).values().stream().mapToLong(Long::longValue).sum(), records,
          "the sum of the end offsets");
    }
    equal(read, records, "the number of records read");
  }

  /** send().get(): each answer before the next record. */
  static void synchronousProducer() throws Exception {
    create("synchronous", 1);
    try (KafkaProducer<String, String> producer = producer("acks", "all")) {
      for (int i = 0; i < 300; i++) {
        RecordMetadata metadata = producer.send(new ProducerRecord<>("synchronous", "n" + i)).get(30, TimeUnit.SECONDS);
        equal(metadata.offset(), (long) i, "the offset of record " + i);
      }
    }
    try (KafkaConsumer<String, String> consumer = consumer("synchronous")) {
      consumer.subscribe(List.of("synchronous"));
      equal(read(consumer, 300), numbers(0, 300), "what was read");
    }
  }

  /** Nothing is skipped and nothing read twice over a stop: closing commits what poll gave. */
  static void automaticCommit() throws Exception {
    fill("automatic", 300);
    String[] settings = {"enable.auto.commit", "true", "auto.commit.interval.ms", "50", "max.poll.records", "40"};
    List<String> seen = new ArrayList<>();
    for (int life = 0; life < 3; life++) {
      try (KafkaConsumer<String, String> consumer = consumer("automatic", settings)) {
        consumer.subscribe(List.of("automatic"));
        for (int i = 0; i < 2; i++) seen.addAll(poll(consumer));
      }
    }
    equal(seen, numbers(0, 240), "what three lives read");
    // The interval does it too, without a close that commits.
    KafkaConsumer<String, String> dies = consumer("automatic", settings);
    dies.subscribe(List.of("automatic"));
    equal(poll(dies), numbers(240, 280), "what the fourth read");
    TopicPartition partition = new TopicPartition("automatic", 0);
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
    long committed = 0;
    dies.pause(List.of(partition));
    while (committed < 280 && System.nanoTime() < deadline) {
      dies.poll(Duration.ofMillis(20));
      committed = admin.listConsumerGroupOffsets("automatic").partitionsToOffsetAndMetadata().get().get(partition).offset();
    }
    equal(committed, 280L, "the offset that the interval committed");
    dies.close();
  }

  /** What was committed is not read again; what was not is. */
  static void commitSync() throws Exception {
    fill("sync", 200);
    try (KafkaConsumer<String, String> consumer = consumer("sync", "max.poll.records", "30")) {
      consumer.subscribe(List.of("sync"));
      for (int i = 0; i < 3; i++) {
        equal(poll(consumer), numbers(30 * i, 30 * i + 30), "a poll");
        consumer.commitSync();
      }
      equal(poll(consumer), numbers(90, 120), "what is read and not committed");
    }
    try (KafkaConsumer<String, String> consumer = consumer("sync", "max.poll.records", "30")) {
      consumer.subscribe(List.of("sync"));
      equal(read(consumer, 110), numbers(90, 200), "what is read after the stop");
      TopicPartition partition = new TopicPartition("sync", 0);
      consumer.commitSync(Map.of(partition, new OffsetAndMetadata(150, "by hand")));
      OffsetAndMetadata committed = consumer.committed(Set.of(partition)).get(partition);
      equal(committed.offset() + " " + committed.metadata(), "150 by hand", "what committed() says");
    }
    try (KafkaConsumer<String, String> consumer = consumer("sync")) {
      consumer.subscribe(List.of("sync"));
      equal(read(consumer, 50), numbers(150, 200), "what is read from an offset committed by hand");
    }
  }

  static void commitAsync() throws Exception {
    fill("async", 200);
    AtomicLong acknowledged = new AtomicLong();
    AtomicReference<Exception> failed = new AtomicReference<>();
    TopicPartition partition = new TopicPartition("async", 0);
    try (KafkaConsumer<String, String> consumer = consumer("async", "max.poll.records", "20")) {
      consumer.subscribe(List.of("async"));
      for (int i = 0; i < 5; i++) {
        equal(poll(consumer), numbers(20 * i, 20 * i + 20), "a poll");
        consumer.commitAsync((offsets, error) -> {
          if (error != null) failed.set(error);
          else acknowledged.accumulateAndGet(offsets.get(partition).offset(), Math::max);
        });
      }
      consumer.pause(List.of(partition));
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(30);
      while (acknowledged.get() < 100 && System.nanoTime() < deadline) consumer.poll(Duration.ofMillis(20));
      equal(failed.get(), null, "the error a callback got");
      equal(acknowledged.get(), 100L, "the offset the callbacks were told");
    }
    try (KafkaConsumer<String, String> consumer = consumer("async")) {
      consumer.subscribe(List.of("async"));
      equal(read(consumer, 100), numbers(100, 200), "what is read after the stop");
    }
  }

  /** One of a group: what it owns and what it read, by "topic-partition". */
  static class Member extends Thread {
    final KafkaConsumer<String, String> consumer;
    final Map<String, Integer> read = new ConcurrentHashMap<>();
    volatile Set<TopicPartition> owned = Set.of();
    volatile boolean stop;
    volatile Throwable failed;

    Member(String group, String assignor, List<String> topics) {
      consumer = consumer(group, "partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor,
          "heartbeat.interval.ms", "300", "session.timeout.ms", "6000");
      consumer.subscribe(topics);
      start();
    }

    public void run() {
      try (consumer) {
        while (!stop) {
          for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(50))) {
            read.merge(record.topic() + "-" + record.partition(), 1, Integer::sum);
          }
          owned = consumer.assignment();
          // A poll behind: what a rebalance takes away was committed by who had it.
          consumer.commitSync();
        }
      } catch (Throwable wrong) {
        failed = wrong;
      }
    }
  }

  static void groupOfTwo(String assignor, List<Integer> shares) throws Exception {
    String group = "two-" + assignor;
    List<String> topics = List.of(group + "-a", group + "-b");
    for (String topic : topics) create(topic, 3);
    Member first = new Member(group, assignor, topics);
    Member second = new Member(group, assignor, topics);
    until("shares " + shares, () -> {
      List<Integer> seen = new ArrayList<>(List.of(first.owned.size(), second.owned.size()));
      Collections.sort(seen);
      return seen.equals(shares) && Collections.disjoint(first.owned, second.owned);
    }, first, second);
    try (KafkaProducer<String, String> producer = producer()) {
      for (String topic : topics) {
        for (int i = 0; i < 300; i++) producer.send(new ProducerRecord<>(topic, i % 3, null, "n" + i));
      }
    }
    until("600 records", () -> sum(first) + sum(second) >= 600, first, second);
    for (String key : first.read.keySet()) {
      if (second.read.containsKey(key)) throw new AssertionError(key + " was read by both");
    }
    first.stop = true;
    first.join();
    until("all partitions with the other", () -> second.owned.size() == 6, second);
    try (KafkaProducer<String, String> producer = producer()) {
      for (String topic : topics) {
        for (int i = 0; i < 3; i++) producer.send(new ProducerRecord<>(topic, i, null, "late"));
      }
    }
    until("6 records more", () -> sum(first) + sum(second) >= 606, second);
    second.stop = true;
    second.join();
    equal(first.failed, null, "what the first failed with");
    equal(second.failed, null, "what the second failed with");
    equal(sum(first) + sum(second), 606, "the number of records read");
  }

  static int sum(Member member) {
    return member.read.values().stream().mapToInt(Integer::intValue).sum();
  }

  static void until(String what, Callable<Boolean> holds, Member... members) throws Exception {
    long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
    while (!holds.call()) {
      for (Member member : members) if (member.failed != null) throw new AssertionError(what, member.failed);
      if (System.nanoTime() > deadline) throw new AssertionError("not within 60 s: " + what);
      Thread.sleep(20);
    }
  }

  public static void main(String[] args) throws Exception {
    bootstrap = args[0];
    Properties config = new Properties();
    config.put("bootstrap.servers", bootstrap);
    admin = Admin.create(config);
    run("callback producer", ClientPrograms::callbackProducer);
    run("synchronous producer", ClientPrograms::synchronousProducer);
    run("automatic commit", ClientPrograms::automaticCommit);
    run("commitSync", ClientPrograms::commitSync);
    run("commitAsync", ClientPrograms::commitAsync);
    // Of two topics with three partitions each, range gives one member two of each.
    run("group of two, range", () -> groupOfTwo("RangeAssignor", List.of(2, 4)));
    run("group of two, round-robin", () -> groupOfTwo("RoundRobinAssignor", List.of(3, 3)));
    admin.close();
  }
}
