/** MQTT 5 reason codes (section 2.4) and the error that carries one to the peer. */
import { type ErrorCode, HeadwaterError } from '../../errors.ts';

export const REASON = {
  SUCCESS: 0x00,
  GRANTED_QOS_1: 0x01,
  GRANTED_QOS_2: 0x02,
  DISCONNECT_WITH_WILL: 0x04,
  NO_MATCHING_SUBSCRIBERS: 0x10,
  NO_SUBSCRIPTION_EXISTED: 0x11,
  UNSPECIFIED: 0x80,
  MALFORMED: 0x81,
  PROTOCOL_ERROR: 0x82,
  IMPLEMENTATION_SPECIFIC: 0x83,
  UNSUPPORTED_VERSION: 0x84,
  CLIENT_ID_NOT_VALID: 0x85,
  BAD_USER_OR_PASSWORD: 0x86,
  NOT_AUTHORIZED: 0x87,
  SERVER_UNAVAILABLE: 0x88,
  SERVER_BUSY: 0x89,
  SERVER_SHUTTING_DOWN: 0x8b,
  BAD_AUTHENTICATION_METHOD: 0x8c,
  KEEP_ALIVE_TIMEOUT: 0x8d,
  SESSION_TAKEN_OVER: 0x8e,
  TOPIC_FILTER_INVALID: 0x8f,
  TOPIC_NAME_INVALID: 0x90,
  PACKET_ID_IN_USE: 0x91,
  PACKET_ID_NOT_FOUND: 0x92,
  RECEIVE_MAXIMUM_EXCEEDED: 0x93,
  TOPIC_ALIAS_INVALID: 0x94,
  PACKET_TOO_LARGE: 0x95,
  QUOTA_EXCEEDED: 0x97,
  ADMINISTRATIVE_ACTION: 0x98,
  PAYLOAD_FORMAT_INVALID: 0x99,
  RETAIN_NOT_SUPPORTED: 0x9a,
  USE_ANOTHER_SERVER: 0x9c,
  CONNECTION_RATE_EXCEEDED: 0x9f,
} as const;

const CODES: Readonly<Record<number, ErrorCode>> = {
  [REASON.MALFORMED]: 'MALFORMED',
  [REASON.BAD_USER_OR_PASSWORD]: 'AUTHENTICATION_FAILED',
  [REASON.NOT_AUTHORIZED]: 'NOT_AUTHORIZED',
  [REASON.SERVER_SHUTTING_DOWN]: 'SHUTTING_DOWN',
  [REASON.TOPIC_FILTER_INVALID]: 'INVALID_TOPIC',
  [REASON.TOPIC_NAME_INVALID]: 'INVALID_TOPIC',
  [REASON.PACKET_TOO_LARGE]: 'BATCH_TOO_LARGE',
  [REASON.QUOTA_EXCEEDED]: 'QUOTA_EXCEEDED',
};

/** A violation or refusal that ends in a CONNACK, a DISCONNECT or a closed connection with exactly this reason code. */
export class MqttError extends HeadwaterError {
  readonly reason: number;

  constructor(reason: number, message: string) {
    super(CODES[reason] ?? 'INVALID_REQUEST', message);
    this.name = 'MqttError';
    this.reason = reason;
  }
}

export function malformed(message: string): MqttError {
  return new MqttError(REASON.MALFORMED, message);
}

export function protocolError(message: string): MqttError {
  return new MqttError(REASON.PROTOCOL_ERROR, message);
}
