import java.io.*;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/**
 * Kafka's own clients at the upstream end of a link, told what to do by lines on standard input (one process for a whole test file: a JVM
 * takes longer to start than all it does here). Arguments: bootstrap. Each command is answered by `done` or by a stack trace and the end.
 *
 * create TOPIC PARTITIONS
 * produce TOPIC PARTITION HOW FROM END    numbers as values; HOW: plain, a codec, idempotent, committed or aborted
 * begin TOPIC PARTITION FROM END          the same in a transaction that stays open
 * end commit|abort
 * read TOPIC...                           every record for read_committed: topic, partition, offset, key, value in base64, by tabs
 */
public class LinkPeer {
  static String bootstrap;
  static int transactions = 0;

  static KafkaProducer<String, String> producer(String how) {
    Properties config = new Properties();
    config.put("bootstrap.servers", bootstrap);
    config.put("enable.idempotence", how.equals("plain") ? "false" : "true");
    config.put("linger.ms", "5");
    if (Set.of("gzip", "snappy", "lz4", "zstd").contains(how)) config.put("compression.type", how);
    if (how.equals("transaction")) config.put("transactional.id", "peer-" + transactions++);
    return new KafkaProducer<>(config, new StringSerializer(), new StringSerializer());
  }

  static void send(KafkaProducer<String, String> producer, String[] words, int numbers) {
    int from = Integer.parseInt(words[numbers]);
    int end = Integer.parseInt(words[numbers + 1]);
    for (int n = from; n < end; n++) {
      producer.send(new ProducerRecord<>(words[1], Integer.parseInt(words[2]), "k" + n % 7, Integer.toString(n)));
    }
    producer.flush();
  }

  static KafkaProducer<String, String> begin(String[] words, int numbers) {
    KafkaProducer<String, String> producer = producer("transaction");
    producer.initTransactions();
    producer.beginTransaction();
    send(producer, words, numbers);
    return producer;
  }

  static void end(KafkaProducer<String, String> producer, boolean commit) {
    if (commit) producer.commitTransaction();
    else producer.abortTransaction();
    producer.close();
  }

  static void read(List<String> topics) {
    Properties config = new Properties();
    config.put("bootstrap.servers", bootstrap);
    config.put("isolation.level", "read_committed");
    StringBuilder text = new StringBuilder();
    Base64.Encoder encoder = Base64.getEncoder();
    try (KafkaConsumer<String, byte[]> consumer =
        new KafkaConsumer<>(config, new StringDeserializer(), new ByteArrayDeserializer())) {
      List<TopicPartition> partitions = new ArrayList<>();
      for (String topic : topics) {
        consumer.partitionsFor(topic).forEach(info -> partitions.add(new TopicPartition(topic, info.partition())));
      }
      consumer.assign(partitions);
      consumer.seekToBeginning(partitions);
      Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
      long deadline = System.nanoTime() + 60_000_000_000L;
      while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
        if (System.nanoTime() > deadline) throw new IllegalStateException("the end was not reached in 60 s");
        for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(200))) {
          text.append(record.topic()).append('\t').append(record.partition()).append('\t').append(record.offset());
          text.append('\t').append(record.key()).append('\t').append(encoder.encodeToString(record.value())).append('\n');
        }
      }
    }
    System.out.print(text);
  }

  public static void main(String[] args) throws Exception {
    bootstrap = args[0];
    BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
    KafkaProducer<String, String> open = null;
    for (String line = input.readLine(); line != null; line = input.readLine()) {
      String[] words = line.split(" ");
      switch (words[0]) {
        case "create" -> {
          Properties config = new Properties();
          config.put("bootstrap.servers", bootstrap);
          try (Admin admin = Admin.create(config)) {
            admin.createTopics(List.of(new NewTopic(words[1], Integer.parseInt(words[2]), (short) 1))).all().get();
          }
        }
        case "produce" -> {
          if (words[3].equals("committed") || words[3].equals("aborted")) {
            end(begin(words, 4), words[3].equals("committed"));
          } else {
            try (KafkaProducer<String, String> producer = producer(words[3])) {
              send(producer, words, 4);
            }
          }
        }
        case "begin" -> open = begin(words, 3);
        case "end" -> end(open, words[1].equals("commit"));
        case "read" -> read(List.of(words).subList(1, words.length));
        default -> throw new IllegalArgumentException(line);
      }
      System.out.println("done");
    }
  }
}
