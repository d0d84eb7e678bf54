/** AUTH (3.15): no authentication method is offered, so that a client that sends it is in error [MQTT-4.12.0-1]. */
import { protocolError } from '../../wire/mqtt/reason.ts';

export function handleAuth(): never {
  throw protocolError('AUTH without an authentication method in CONNECT');
}
