import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.*;

/**
 * Members that join, leave and die at random over 12 partitions, one group per assignor, all at once. Arguments:
 * bootstrap, seconds, seed. Prints one line per violation and one summary line per group; exits with 1 on a violation.
 *
 * Watched: no partition with two owners in one generation; nobody starts below an acknowledged commit (duplicates only
 * after a missed commit); in the end every record was seen.
 */
public class GroupChurn {
  static final int PARTITIONS = 12;
  static final int MEMBERS = 5;
  static final AtomicBoolean violated = new AtomicBoolean();

  static void violation(String text) {
    violated.set(true);
    System.out.println("VIOLATION " + text);
  }

  /** What is known of one group. */
  static class Watch {
    final String group;
    final String assignor;
    /** "generation partition" -> member */
    final ConcurrentMap<String, String> owners = new ConcurrentHashMap<>();
    final long[] acked = new long[PARTITIONS];
    final List<ConcurrentSkipListSet<Long>> seen = new ArrayList<>();
    final Set<Integer> generations = ConcurrentHashMap.newKeySet();
    final AtomicLong duplicates = new AtomicLong();

    Watch(String group, String assignor) {
      this.group = group;
      this.assignor = assignor;
      for (int i = 0; i < PARTITIONS; i++) seen.add(new ConcurrentSkipListSet<>());
    }

    synchronized long acked(int partition) {
      return acked[partition];
    }

    synchronized void ack(int partition, long offset) {
      acked[partition] = Math.max(acked[partition], offset);
    }
  }

  static class Member implements Runnable {
    final Watch watch;
    final String bootstrap;
    final String topic;
    final String instanceId;
    final boolean leaves;
    volatile boolean stop;
    volatile KafkaConsumer<byte[], byte[]> consumer;

    Member(Watch watch, String bootstrap, String topic, String instanceId, boolean leaves) {
      this.watch = watch;
      this.bootstrap = bootstrap;
      this.topic = topic;
      this.instanceId = instanceId;
      this.leaves = leaves;
    }

    public void run() {
      Properties config = new Properties();
      config.put("bootstrap.servers", bootstrap);
      config.put("group.id", watch.group);
      config.put("partition.assignment.strategy", watch.assignor);
      config.put("enable.auto.commit", "false");
      config.put("auto.offset.reset", "earliest");
      config.put("session.timeout.ms", "6000");
      config.put("heartbeat.interval.ms", "500");
      config.put("max.poll.records", "50");
      config.put("fetch.max.wait.ms", "100");
      if (instanceId != null) config.put("group.instance.id", instanceId);
      // A member that dies says nothing: its session has to end.
      config.put("internal.leave.group.on.close", leaves ? "true" : "false");
      try (KafkaConsumer<byte[], byte[]> c =
          new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
        consumer = c;
        c.subscribe(List.of(topic), new ConsumerRebalanceListener() {
          public void onPartitionsRevoked(Collection<TopicPartition> gone) {}

          public void onPartitionsAssigned(Collection<TopicPartition> added) {
            ConsumerGroupMetadata me = c.groupMetadata();
            watch.generations.add(me.generationId());
            String name = instanceId != null ? instanceId : me.memberId();
            for (TopicPartition tp : added) {
              String other = watch.owners.putIfAbsent(me.generationId() + " " + tp.partition(), name);
              if (other != null && !other.equals(name)) {
                violation(watch.group + " generation " + me.generationId() + ": " + tp + " has " + other + " and " + name);
              }
              long acked = watch.acked(tp.partition());
              long position = c.position(tp);
              if (position < acked) violation(watch.group + ": " + tp + " starts at " + position + ", committed " + acked);
            }
          }
        });
        while (!stop) {
          ConsumerRecords<byte[], byte[]> records = c.poll(Duration.ofMillis(100));
          for (ConsumerRecord<byte[], byte[]> record : records) {
            if (!watch.seen.get(record.partition()).add(record.offset())) watch.duplicates.incrementAndGet();
          }
          if (records.isEmpty()) continue;
          Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
          for (TopicPartition tp : records.partitions()) {
            List<ConsumerRecord<byte[], byte[]>> of = records.records(tp);
            next.put(tp, new OffsetAndMetadata(of.get(of.size() - 1).offset() + 1));
          }
          try {
            c.commitSync(next, Duration.ofSeconds(5));
            next.forEach((tp, offset) -> watch.ack(tp.partition(), offset.offset()));
          } catch (CommitFailedException | org.apache.kafka.common.errors.RetriableException rejected) {
            // The group moved on, or the broker was away: what was not committed is read again.
          } catch (org.apache.kafka.common.errors.RebalanceInProgressException rebalancing) {
            // The next poll takes part in it.
          }
        }
      } catch (WakeupException stopped) {
        // Asked to.
      } catch (org.apache.kafka.common.errors.FencedInstanceIdException fenced) {
        // A newer member with the same instance id took over.
      } catch (RuntimeException failed) {
        violation(watch.group + ": a member failed: " + failed);
      }
    }

    void end() {
      stop = true;
    }
  }

  static void churn(Watch watch, String bootstrap, String topic, long until, Random random, ExecutorService pool)
      throws Exception {
    List<Member> members = new ArrayList<>();
    int instances = 0;
    while (System.currentTimeMillis() < until) {
      int what = random.nextInt(10);
      if (members.size() < 2 || (what < 5 && members.size() < MEMBERS)) {
        String instanceId = random.nextInt(4) == 0 ? watch.group + "-static-" + instances++ : null;
        Member member = new Member(watch, bootstrap, topic, instanceId, random.nextBoolean());
        members.add(member);
        pool.submit(member);
      } else if (what < 8) {
        members.remove(random.nextInt(members.size())).end();
      }
      Thread.sleep(300 + random.nextInt(2500));
    }
    for (Member member : members) member.end();
  }

  public static void main(String[] args) throws Exception {
    String bootstrap = args[0];
    long seconds = Long.parseLong(args[1]);
    long seed = Long.parseLong(args[2]);
    System.out.println("seed " + seed);
    String topic = "churn";
    Properties common = new Properties();
    common.put("bootstrap.servers", bootstrap);
    try (Admin admin = Admin.create(common)) {
      admin.createTopics(List.of(new NewTopic(topic, PARTITIONS, (short) 1))).all().get();
    }
    long until = System.currentTimeMillis() + seconds * 1000;
    ExecutorService pool = Executors.newCachedThreadPool();
    AtomicLong[] ends = new AtomicLong[PARTITIONS];
    for (int i = 0; i < PARTITIONS; i++) ends[i] = new AtomicLong();
    Future<?> producing = pool.submit(() -> {
      Properties config = new Properties();
      config.putAll(common);
      config.put("acks", "all");
      config.put("linger.ms", "20");
      try (KafkaProducer<byte[], byte[]> producer =
          new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer())) {
        for (long n = 0; System.currentTimeMillis() < until; n++) {
          int partition = (int) (n % PARTITIONS);
          producer.send(new ProducerRecord<>(topic, partition, null, Long.toString(n).getBytes()), (metadata, error) -> {
            if (error != null) violation("a record was refused: " + error);
            else ends[partition].accumulateAndGet(metadata.offset() + 1, Math::max);
          });
          if (n % PARTITIONS == 0) Thread.sleep(10);
        }
      } catch (InterruptedException stopped) {
        // The end.
      }
    });
    List<Watch> watches = new ArrayList<>();
    List<Future<?>> churns = new ArrayList<>();
    for (String assignor : List.of("RangeAssignor", "RoundRobinAssignor", "StickyAssignor", "CooperativeStickyAssignor")) {
      Watch watch = new Watch("churn-" + assignor, "org.apache.kafka.clients.consumer." + assignor);
      watches.add(watch);
      Random random = new Random(seed + watches.size());
      churns.add(pool.submit(() -> {
        churn(watch, bootstrap, topic, until, random, pool);
        return null;
      }));
    }
    producing.get();
    for (Future<?> one : churns) one.get();
    for (Watch watch : watches) {
      Member last = new Member(watch, bootstrap, topic, null, true);
      pool.submit(last);
      long deadline = System.currentTimeMillis() + 60_000;
      String missing = "";
      do {
        Thread.sleep(200);
        missing = "";
        for (int p = 0; p < PARTITIONS; p++) {
          long end = ends[p].get();
          if (watch.seen.get(p).size() < end) missing += " " + p + ":" + (end - watch.seen.get(p).size());
        }
      } while (!missing.isEmpty() && System.currentTimeMillis() < deadline);
      last.end();
      if (!missing.isEmpty()) violation(watch.group + " skipped records (partition:count)" + missing);
      long records = watch.seen.stream().mapToLong(Set::size).sum();
      System.out.println("GROUP " + watch.group + " generations " + watch.generations.size() + " records " + records
          + " duplicates " + watch.duplicates.get());
    }
    pool.shutdown();
    pool.awaitTermination(30, TimeUnit.SECONDS);
    System.exit(violated.get() ? 1 : 0);
  }
}
