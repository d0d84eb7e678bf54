/** Any packet to bytes; hot paths call the packet's own writer. */
import { writeAck } from './acks.ts';
import { writeConnack, writeConnect } from './connect.ts';
import { writeReason } from './disconnect.ts';
import type { Packet, Version } from './packets.ts';
import { writePublish } from './publish.ts';
import { writeSuback, writeSubscribe, writeUnsubscribe } from './subscribe.ts';

export function writePacket(packet: Packet, version: Version): Buffer {
  switch (packet.type) {
    case 1:
      return writeConnect(packet);
    case 2:
      return writeConnack(packet, version);
    case 3:
      return writePublish(packet, version);
    case 4:
    case 5:
    case 6:
    case 7:
      return writeAck(packet, version);
    case 8:
      return writeSubscribe(packet, version);
    case 9:
    case 11:
      return writeSuback(packet, version);
    case 10:
      return writeUnsubscribe(packet, version);
    case 12:
    case 13:
      return Buffer.from([packet.type << 4, 0]);
    case 14:
    case 15:
      return writeReason(packet, version);
  }
}
