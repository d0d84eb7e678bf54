import java.io.FileReader;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.*;

/**
 * One login for each properties file that is named: writes a record to the topic "secure" and reads it back. Prints the
 * file's name and ok, or the class of the error that the client gave.
 */
public class Logins {
  static void attempt(Properties config, String value) throws Exception {
    config.put("max.block.ms", "20000");
    config.put("delivery.timeout.ms", "20000");
    config.put("request.timeout.ms", "10000");
    config.put("linger.ms", "0");
    RecordMetadata metadata;
    try (KafkaProducer<String, String> producer =
        new KafkaProducer<>(config, new StringSerializer(), new StringSerializer())) {
      metadata = producer.send(new ProducerRecord<>("secure", 0, null, value)).get(30, TimeUnit.SECONDS);
    }
    try (KafkaConsumer<String, String> consumer =
        new KafkaConsumer<>(config, new StringDeserializer(), new StringDeserializer())) {
      TopicPartition partition = new TopicPartition("secure", 0);
      consumer.assign(List.of(partition));
      consumer.seek(partition, metadata.offset());
      long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(20);
      while (System.nanoTime() < deadline) {
        for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
          if (!record.value().equals(value)) throw new AssertionError("read " + record.value() + ", not " + value);
          return;
        }
      }
      throw new AssertionError("the record did not come back");
    }
  }

  public static void main(String[] args) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(4);
    List<Future<String>> outcomes = new ArrayList<>();
    for (String file : args) {
      String name = Path.of(file).getFileName().toString().replace(".properties", "");
      outcomes.add(pool.submit(() -> {
        Properties config = new Properties();
        try (FileReader reader = new FileReader(file)) {
          config.load(reader);
        }
        try {
          attempt(config, name);
          return name + ": ok";
        } catch (ExecutionException failed) {
          return name + ": " + failed.getCause().getClass().getSimpleName();
        } catch (Throwable failed) {
          return name + ": " + failed.getClass().getSimpleName();
        }
      }));
    }
    for (Future<String> outcome : outcomes) System.out.println(outcome.get());
    System.exit(0);
  }
}
