/** The control packets as objects. `type` is the packet type of section 2.1.2. */
import type { Properties } from './properties.ts';

export const TYPE = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
  AUTH: 15,
} as const;

export const TYPE_NAMES = [
  'RESERVED',
  'CONNECT',
  'CONNACK',
  'PUBLISH',
  'PUBACK',
  'PUBREC',
  'PUBREL',
  'PUBCOMP',
  'SUBSCRIBE',
  'SUBACK',
  'UNSUBSCRIBE',
  'UNSUBACK',
  'PINGREQ',
  'PINGRESP',
  'DISCONNECT',
  'AUTH',
] as const;

/** Protocol level: 3 = MQTT 3.1 (`MQIsdp`), 4 = 3.1.1, 5 = 5.0. */
export type Version = 3 | 4 | 5;
export type QoS = 0 | 1 | 2;

export interface Will {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly properties: Readonly<Properties>;
}

export interface ConnectPacket {
  readonly type: 1;
  readonly version: Version;
  /** Clean session (3.1.1) or clean start (5.0). */
  readonly clean: boolean;
  /** Seconds; 0: off. */
  readonly keepAlive: number;
  readonly clientId: string;
  readonly will: Will | null;
  readonly username: string | null;
  readonly password: Uint8Array | null;
  readonly properties: Readonly<Properties>;
}

export interface ConnackPacket {
  readonly type: 2;
  readonly sessionPresent: boolean;
  /** Reason code (5.0) or return code 0 to 5 (3.1.1). */
  readonly reason: number;
  readonly properties: Readonly<Properties>;
}

export interface PublishPacket {
  readonly type: 3;
  readonly dup: boolean;
  readonly qos: QoS;
  readonly retain: boolean;
  readonly topic: string;
  /** 0 at QoS 0. */
  readonly packetId: number;
  readonly properties: Readonly<Properties>;
  /** A view into the received bytes. */
  readonly payload: Uint8Array;
}

/** PUBACK, PUBREC, PUBREL, PUBCOMP. */
export interface AckPacket {
  readonly type: 4 | 5 | 6 | 7;
  readonly packetId: number;
  readonly reason: number;
  readonly properties: Readonly<Properties>;
}

export interface SubscriptionRequest {
  readonly filter: string;
  readonly qos: QoS;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /** 0: send at subscribe; 1: only for a new subscription; 2: never. */
  readonly retainHandling: 0 | 1 | 2;
}

export interface SubscribePacket {
  readonly type: 8;
  readonly packetId: number;
  readonly subscriptions: readonly SubscriptionRequest[];
  readonly properties: Readonly<Properties>;
}

/** SUBACK and UNSUBACK. In 3.1.1 an UNSUBACK has no reasons. */
export interface SubackPacket {
  readonly type: 9 | 11;
  readonly packetId: number;
  readonly reasons: readonly number[];
  readonly properties: Readonly<Properties>;
}

export interface UnsubscribePacket {
  readonly type: 10;
  readonly packetId: number;
  readonly filters: readonly string[];
  readonly properties: Readonly<Properties>;
}

export interface PingPacket {
  readonly type: 12 | 13;
}

/** DISCONNECT and AUTH. */
export interface ReasonPacket {
  readonly type: 14 | 15;
  readonly reason: number;
  readonly properties: Readonly<Properties>;
}

export type Packet =
  | ConnectPacket
  | ConnackPacket
  | PublishPacket
  | AckPacket
  | SubscribePacket
  | SubackPacket
  | UnsubscribePacket
  | PingPacket
  | ReasonPacket;
