/** KIP-124 and KIP-219 around Produce and Fetch: the answer goes at once and says how long; then nothing is read from the client. */
import { ANONYMOUS } from '../security/acl.ts';
import type { produce } from '../wire/kafka/api/00-produce.ts';
import type { fetch } from '../wire/kafka/api/01-fetch.ts';
import type { ResponseInput } from '../wire/kafka/schema.ts';
import type { KafkaContext } from './context.ts';
import { type ClientConnection, type Handler, NO_RESPONSE } from './handler.ts';

function throttle(
  { quotas, metrics }: KafkaContext,
  connection: ClientConnection,
  key: 'producer_byte_rate' | 'consumer_byte_rate',
  bytes: number,
): number {
  if (bytes === 0) return 0;
  const wait = quotas!.charge(key, connection.user ?? ANONYMOUS, connection.clientId ?? '', bytes);
  if (wait > 0) {
    metrics.throttled(key).value += 1;
    connection.throttle(wait);
  }
  return wait;
}

export function withProducerQuota(handler: Handler<typeof produce>): Handler<typeof produce> {
  return {
    ...handler,
    handle(context, request, version, connection) {
      if (context.quotas?.active !== true) return handler.handle(context, request, version, connection);
      let bytes = 0;
      for (const { partitionData } of request.topicData) {
        for (const { records } of partitionData) bytes += records?.length ?? 0;
      }
      const throttleTimeMs = throttle(context, connection, 'producer_byte_rate', bytes);
      const answer = handler.handle(context, request, version, connection);
      if (throttleTimeMs === 0 || answer === NO_RESPONSE) return answer;
      const stamped = (one: Awaited<typeof answer>) => (one === NO_RESPONSE ? one : { ...one, throttleTimeMs });
      return answer instanceof Promise ? answer.then(stamped) : stamped(answer);
    },
  };
}

function bytesOf({ responses }: ResponseInput<typeof fetch>): number {
  let bytes = 0;
  for (const { partitions } of responses) {
    for (const { records } of partitions) {
      if (records instanceof Uint8Array) bytes += records.length;
      else for (const batch of records ?? []) bytes += batch.length;
    }
  }
  return bytes;
}

export function withConsumerQuota(handler: Handler<typeof fetch>): Handler<typeof fetch> {
  return {
    ...handler,
    async handle(context, request, version, connection) {
      const { quotas } = context;
      if (quotas?.active !== true) return handler.handle(context, request, version, connection);
      // No more than a second's worth at once, but always a batch: what is owed stays small.
      const rate = quotas.rateOf('consumer_byte_rate', connection.user ?? ANONYMOUS, connection.clientId ?? '');
      const limited = rate < request.maxBytes ? { ...request, maxBytes: rate } : request;
      const answer = await handler.handle(context, limited, version, connection);
      if (answer === NO_RESPONSE) return answer;
      const throttleTimeMs = throttle(context, connection, 'consumer_byte_rate', bytesOf(answer));
      return throttleTimeMs === 0 ? answer : { ...answer, throttleTimeMs };
    },
  };
}
