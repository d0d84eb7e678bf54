/**
 * Access rules of groups and transactions, around the handlers that serve them: what Kafka's authorizer asks (operation and
 * resource), and what is answered when the answer is no. Topics are asked for in their own handlers, partition by partition.
 */
import { KAFKA_ERROR } from '../wire/kafka/errors.ts';
import type { Api, RequestOf, ResponseInput } from '../wire/kafka/schema.ts';
import type { KafkaContext } from './context.ts';
import { type ClientConnection, type Handler, NO_RESPONSE } from './handler.ts';

const GROUP_REFUSED = KAFKA_ERROR.GROUP_AUTHORIZATION_FAILED;
const TRANSACTION_REFUSED = KAFKA_ERROR.TRANSACTIONAL_ID_AUTHORIZATION_FAILED;

export const mayReadGroup = (connection: ClientConnection, groupId: string): number =>
  connection.allows('read', 'group', groupId) ? KAFKA_ERROR.NONE : GROUP_REFUSED;

export const mayDescribeGroup = (connection: ClientConnection, groupId: string): number =>
  connection.allows('describe', 'group', groupId) ? KAFKA_ERROR.NONE : GROUP_REFUSED;

export const mayDeleteGroup = (connection: ClientConnection, groupId: string): number =>
  connection.allows('delete', 'group', groupId) ? KAFKA_ERROR.NONE : GROUP_REFUSED;

/** null: an idempotent producer without transactions, which anybody may be. */
export const mayUseTransaction = (connection: ClientConnection, transactionalId: string | null): number =>
  transactionalId === null || connection.allows('write', 'transaction', transactionalId)
    ? KAFKA_ERROR.NONE
    : TRANSACTION_REFUSED;

export const mayDescribeTransaction = (connection: ClientConnection, transactionalId: string): number =>
  connection.allows('describe', 'transaction', transactionalId) ? KAFKA_ERROR.NONE : TRANSACTION_REFUSED;

/** A broker that follows another coordinates nothing. */
const elsewhere = ({ pair }: KafkaContext): number =>
  pair?.follows() === true ? KAFKA_ERROR.NOT_COORDINATOR : KAFKA_ERROR.NONE;

/** A request that stands or falls as a whole: `check` gives the code, `refuse` the answer that bears it. */
export function guarded<A extends Api>(
  handler: Handler<A>,
  check: (connection: ClientConnection, request: RequestOf<A>) => number,
  refuse: (code: number, request: RequestOf<A>) => ResponseInput<A>,
): Handler<A> {
  return {
    ...handler,
    handle(context, request, version, connection) {
      const code = elsewhere(context) || check(connection, request);
      if (code === KAFKA_ERROR.NONE) return handler.handle(context, request, version, connection);
      context.metrics.error(code);
      return refuse(code, request);
    },
  };
}

/** How a request over many groups or transactions is taken apart and its answer put together again. */
interface Parts<A extends Api, Item> {
  readonly items: (request: RequestOf<A>, version: number) => readonly Item[];
  readonly check: (connection: ClientConnection, item: Item, request: RequestOf<A>) => number;
  /** Also answered by a broker that follows another. */
  readonly anywhere?: boolean;
  readonly keep: (request: RequestOf<A>, allowed: Item[]) => RequestOf<A>;
  readonly add: (answer: ResponseInput<A>, refused: readonly { item: Item; code: number }[]) => ResponseInput<A>;
}

/** Items that are refused are answered with their code; the handler sees the others only. */
export function guardedEach<A extends Api, Item>(handler: Handler<A>, parts: Parts<A, Item>): Handler<A> {
  return {
    ...handler,
    async handle(context, request, version, connection) {
      const allowed: Item[] = [];
      const refused: { item: Item; code: number }[] = [];
      for (const item of parts.items(request, version)) {
        const code = (parts.anywhere === true ? 0 : elsewhere(context)) || parts.check(connection, item, request);
        if (code === KAFKA_ERROR.NONE) allowed.push(item);
        else {
          context.metrics.error(code);
          refused.push({ item, code });
        }
      }
      if (refused.length === 0) return handler.handle(context, request, version, connection);
      const answer = await handler.handle(context, parts.keep(request, allowed), version, connection);
      return answer === NO_RESPONSE ? answer : parts.add(answer, refused);
    },
  };
}
