/** Requests that wait for other members end with their connection: a broker that stops need not wait for them. */
import type { ClientConnection } from './handler.ts';

/** `answer`, or `instead` when the connection is closed or the broker stops before it is there. */
export function untilClosed<T>(connection: ClientConnection, answer: Promise<T>, instead: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const forget = connection.onClose(() => resolve(instead()));
    answer.then(resolve, reject).finally(forget);
  });
}
