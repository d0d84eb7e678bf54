/**
 * The broker that the Kafka interop tests talk to: Headwater, or with INTEROP_TARGET=kafka Apache Kafka itself. A test
 * that fails against Kafka says something about the test; run them so when one is written or changed.
 */
import { ApacheKafka } from './apache-kafka.ts';
import { TestBroker } from './broker.ts';

export interface KafkaTarget {
  readonly bootstrap: string;
  /** kill -9 and start on the same data and ports. */
  crash(): Promise<void>;
}

export const AGAINST_KAFKA = process.env.INTEROP_TARGET === 'kafka';

/** `settings` bear Kafka's names, which both understand. */
export async function startTarget(settings: Record<string, string> = {}): Promise<KafkaTarget> {
  const broker = AGAINST_KAFKA
    ? await ApacheKafka.start('4.3.1', settings)
    : await TestBroker.start({
        config: Object.entries(settings)
          .map(([name, value]) => `${name}: ${value}\n`)
          .join(''),
      });
  return {
    get bootstrap() {
      return broker.bootstrap;
    },
    crash: async () => {
      await broker.kill();
      await broker.start();
    },
  };
}
