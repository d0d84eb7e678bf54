import type { Topic } from '../../log/types.ts';
import { describeLogDirs } from '../../wire/kafka/api/35-describe-log-dirs.ts';
import { KAFKA_ERROR } from '../../wire/kafka/errors.ts';
import { handler } from '../handler.ts';

export const describeLogDirsHandler = handler({
  api: describeLogDirs,
  deviations: ['There is one log directory; the size of a partition is that of its live batches, not of files.'],
  async handle({ log, settings, metrics }, request, _version, connection) {
    if (!connection.allows('describe', 'cluster', '')) {
      metrics.error(KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED);
      return { errorCode: KAFKA_ERROR.CLUSTER_AUTHORIZATION_FAILED, results: [] };
    }
    const wanted = (topic: Topic, index: number): boolean =>
      request.topics === null ||
      request.topics.some((one) => one.topic === topic.name && one.partitions.includes(index));
    const topics = [];
    for (const topic of log.topics()) {
      const partitions = topic.partitions
        .filter(({ index }) => wanted(topic, index))
        .map(({ index, sizeBytes }) => ({
          partitionIndex: index,
          partitionSize: sizeBytes,
          offsetLag: 0,
          isFutureKey: false,
        }));
      if (partitions.length > 0) topics.push({ name: topic.name, partitions });
    }
    const space = await settings.logDirSpace();
    return { results: [{ errorCode: KAFKA_ERROR.NONE, logDir: settings.logDir, topics, ...space }] };
  },
});
