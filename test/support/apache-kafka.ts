/**
 * Apache Kafka itself, from its published jars: a broker in KRaft mode with a small heap, and its command-line tools,
 * both started as plain `java -cp`. The jars are fetched by Maven into .cache/kafka-<version> on first use.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { havePeers } from './peers.ts';
import { Child, type Finished, mustRun, type RunOptions, run } from './process.ts';
import { atEnd, tempDir } from './scope.ts';
import { eventually } from './wait.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const POM = join(ROOT, 'test/interop/kafka/pom.xml');
const LOGGING = `-Dlog4j2.configurationFile=${join(ROOT, 'test/interop/kafka/log4j2.properties')}`;
const SMALL = ['-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Xshare:auto', LOGGING];

/** The two lines that are supported upstream: the current one and the last with the old minimum versions. */
export const KAFKA_VERSIONS = ['4.3.1', '3.9.2'] as const;
export type KafkaVersion = (typeof KAFKA_VERSIONS)[number];

/** Whether Java and the jars are there; fetches the jars when Maven is. The line or error of `havePeers` if not. */
export function haveKafka(tests: string, version: KafkaVersion = '4.3.1'): boolean {
  if (!havePeers(tests, 'java')) return false;
  const lib = libOf(version);
  if (existsSync(join(lib, 'complete'))) return true;
  if (!havePeers(tests, 'mvn')) return false;
  for (let attempt = 1; ; attempt++) {
    const args = ['-q', '-B', '-ntp', '-f', POM, 'dependency:copy-dependencies', '-DincludeScope=runtime'];
    const result = spawnSync('mvn', [...args, `-Dkafka.version=${version}`, `-DoutputDirectory=${lib}`], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: 300_000,
    });
    if (result.status === 0) break;
    if (attempt === 3) throw new Error(`the jars of Kafka ${version} could not be fetched: ${result.stdout}`);
  }
  writeFileSync(join(lib, 'complete'), `${version}\n`);
  return true;
}

function libOf(version: KafkaVersion): string {
  return join(ROOT, '.cache', `kafka-${version}`);
}

function classPath(version: KafkaVersion): string {
  return join(libOf(version), '*');
}

/** Kafka's command-line programs by the name of their shell script. */
const TOOLS = {
  'kafka-topics': 'org.apache.kafka.tools.TopicCommand',
  'kafka-console-producer': 'org.apache.kafka.tools.ConsoleProducer',
  'kafka-console-consumer': 'org.apache.kafka.tools.consumer.ConsoleConsumer',
  'kafka-consumer-groups': 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
  'kafka-configs': 'kafka.admin.ConfigCommand',
  'kafka-get-offsets': 'org.apache.kafka.tools.GetOffsetShell',
  'kafka-producer-perf-test': 'org.apache.kafka.tools.ProducerPerformance',
  'kafka-consumer-perf-test': 'org.apache.kafka.tools.ConsumerPerformance',
  'kafka-verifiable-producer': 'org.apache.kafka.tools.VerifiableProducer',
  'kafka-verifiable-consumer': 'org.apache.kafka.tools.VerifiableConsumer',
  'kafka-broker-api-versions': 'org.apache.kafka.tools.BrokerApiVersionsCommand',
  'kafka-delete-records': 'org.apache.kafka.tools.DeleteRecordsCommand',
  'kafka-log-dirs': 'org.apache.kafka.tools.LogDirsCommand',
  'kafka-leader-election': 'org.apache.kafka.tools.LeaderElectionCommand',
  'kafka-reassign-partitions': 'org.apache.kafka.tools.reassign.ReassignPartitionsCommand',
  'kafka-acls': 'org.apache.kafka.tools.AclCommand',
  'kafka-transactions': 'org.apache.kafka.tools.TransactionsCommand',
  'transactional-message-copier': 'org.apache.kafka.tools.TransactionalMessageCopier',
} as const;
export type ToolName = keyof typeof TOOLS;

export interface ToolOptions extends RunOptions {
  readonly version?: KafkaVersion;
}

function javaArgs(tool: ToolName, version: KafkaVersion, args: readonly string[]): string[] {
  return ['-Xmx192m', '-Xms32m', ...SMALL, '-cp', classPath(version), TOOLS[tool], ...args];
}

/** Runs one of Kafka's tools to its end; the caller looks at the exit code. */
export async function kafkaTool(tool: ToolName, args: readonly string[], options: ToolOptions = {}): Promise<Finished> {
  return run('java', javaArgs(tool, options.version ?? '4.3.1', args), options);
}

/** Runs one of Kafka's tools, which must succeed, and returns its standard output. */
export async function mustTool(tool: ToolName, args: readonly string[], options: ToolOptions = {}): Promise<string> {
  return mustRun('java', javaArgs(tool, options.version ?? '4.3.1', args), options);
}

/** A tool that goes on until it is stopped. */
export function startTool(tool: ToolName, args: readonly string[], version: KafkaVersion = '4.3.1'): Child {
  return new Child('java', javaArgs(tool, version, args));
}

/** A program of one source file against Kafka's Java clients (needs a JDK). */
export function startJavaSource(file: string, args: readonly string[], version: KafkaVersion = '4.3.1'): Child {
  return new Child('java', ['-Xmx256m', ...SMALL, '-cp', classPath(version), file, ...args]);
}

export interface MoreOfKafka {
  /** `NAME://HOST:PORT`; their protocols come with the settings. */
  readonly listeners?: readonly string[];
  /** Users from the first start on, as `--add-scram` of kafka-storage takes them. */
  readonly scram?: readonly string[];
}

/** A real Kafka broker of one node. Its data and ports stay the same over kill and start. */
export class ApacheKafka {
  readonly version: KafkaVersion;
  readonly port: number;
  readonly #dir: string;
  readonly #controllerPort: number;
  #child: Child | null = null;

  private constructor(
    version: KafkaVersion,
    ports: readonly [number, number],
    settings: Record<string, string>,
    advertisedPort: number,
    listeners: readonly string[],
  ) {
    this.version = version;
    this.#dir = tempDir(`kafka-${version}`);
    [this.port, this.#controllerPort] = ports;
    writeFileSync(
      join(this.#dir, 'server.properties'),
      this.#properties(settings, advertisedPort || this.port, listeners),
    );
    atEnd(async () => {
      if (this.#child?.running) await this.kill();
    });
  }

  /**
   * `settings` are added to server.properties. With `advertisedPort` clients are sent to that port of 127.0.0.1: a proxy
   * that leads here.
   */
  static async start(
    version: KafkaVersion = '4.3.1',
    settings: Record<string, string> = {},
    advertisedPort = 0,
    { listeners = [], scram = [] }: MoreOfKafka = {},
  ): Promise<ApacheKafka> {
    const kafka = new ApacheKafka(version, [await freePort(), await freePort()], settings, advertisedPort, listeners);
    const storage = ['-Xmx128m', ...SMALL, '-cp', classPath(version), 'kafka.tools.StorageTool'];
    const id = (await mustRun('java', [...storage, 'random-uuid'])).trim();
    const users = scram.flatMap((user) => ['--add-scram', user]);
    await mustRun('java', [...storage, 'format', '-t', id, '-c', join(kafka.#dir, 'server.properties'), ...users]);
    await kafka.start();
    return kafka;
  }

  get bootstrap(): string {
    return `127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#child?.pid ?? -1;
  }

  async start(): Promise<void> {
    mkdirSync(join(this.#dir, 'data'), { recursive: true });
    const args = ['-Xmx256m', '-Xms96m', ...SMALL, '-cp', classPath(this.version)];
    const child = new Child('java', [...args, 'kafka.Kafka', join(this.#dir, 'server.properties')]);
    this.#child = child;
    await child.until(`start of Kafka ${this.version}`, 90_000, (stdout, stderr) =>
      /\[KafkaRaftServer nodeId=\d+\] Kafka Server started/.test(stdout + stderr) ? true : undefined,
    );
  }

  async kill(): Promise<void> {
    await this.#child?.stop('SIGKILL');
  }

  async stop(): Promise<void> {
    await this.#child?.stop('SIGTERM');
  }

  #properties(settings: Record<string, string>, advertisedPort: number, more: readonly string[]): string {
    const controller = `CONTROLLER://127.0.0.1:${this.#controllerPort}`;
    const advertised = [`PLAINTEXT://127.0.0.1:${advertisedPort}`, ...more].join();
    const rows: Record<string, string> = {
      'process.roles': 'broker,controller',
      'node.id': '1',
      'controller.quorum.voters': `1@127.0.0.1:${this.#controllerPort}`,
      listeners: [`PLAINTEXT://127.0.0.1:${this.port}`, ...more, controller].join(),
      'advertised.listeners': this.version === '3.9.2' ? advertised : `${advertised},${controller}`,
      'controller.listener.names': 'CONTROLLER',
      'inter.broker.listener.name': 'PLAINTEXT',
      'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT',
      'log.dirs': join(this.#dir, 'data'),
      'offsets.topic.replication.factor': '1',
      'offsets.topic.num.partitions': '1',
      'transaction.state.log.replication.factor': '1',
      'transaction.state.log.min.isr': '1',
      'transaction.state.log.num.partitions': '1',
      'group.initial.rebalance.delay.ms': '0',
      'num.network.threads': '1',
      'num.io.threads': '2',
      'background.threads': '2',
      'log.cleaner.dedupe.buffer.size': '4194304',
      ...(this.version === '3.9.2'
        ? {}
        : {
            'group.coordinator.threads': '1',
            'share.coordinator.threads': '1',
            'share.coordinator.state.topic.replication.factor': '1',
            'share.coordinator.state.topic.min.isr': '1',
            'share.coordinator.state.topic.num.partitions': '1',
          }),
      ...settings,
    };
    return Object.entries(rows)
      .map(([name, value]) => `${name}=${value}\n`)
      .join('');
  }
}

/** A port that nothing listened on a moment ago: Kafka cannot tell which one it got when asked for any. */
export async function freePort(): Promise<number> {
  return eventually('a free port', 5_000, async () => {
    const server = createServer();
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve);
    });
    const address = server.address();
    await new Promise((resolve) => {
      server.close(resolve);
    });
    return typeof address === 'object' && address !== null ? address.port : undefined;
  });
}
