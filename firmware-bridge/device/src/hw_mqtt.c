#include "hw_mqtt.h"

#include <string.h>

enum { CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, PUBACK = 0x40, SUBSCRIBE = 0x82, SUBACK = 0x90, PINGREQ = 0xc0,
       PINGRESP = 0xd0, DISCONNECT = 0xe0 };
enum { USER_PROPERTY = 0x26, RECEIVE_MAXIMUM = 0x21 };
#define IDS 0xfffeu          /* publishes use the packet ids 1..IDS in turn */
#define SUBSCRIBE_ID 0xffffu
#define HEAD 3u              /* room before a packet's body for its type and a length of two bytes */

typedef char hw_packet_is_possible[HW_MQTT_PACKET >= 64 && HW_MQTT_PACKET <= 16000 ? 1 : -1];
typedef char hw_window_is_possible[HW_MQTT_WINDOW >= 1 && HW_MQTT_WINDOW <= 32 ? 1 : -1];

static uint64_t now(const hw_mqtt *mqtt) { return mqtt->port->ticks(mqtt->port->context); }

hw_status hw_mqtt_init(hw_mqtt *mqtt, const hw_mqtt_port *port, hw_ring *ring) {
  memset(mqtt, 0, sizeof *mqtt);
  mqtt->port = port;
  mqtt->ring = ring;
  return (port->version == 4 || port->version == 5) && port->keep_alive > 0 && port->ticks_per_second > 0 ? HW_OK : HW_CONFIG;
}

/* ---- writing: bodies grow behind HEAD, the fixed header is put before them at the end ---- */

typedef struct packet {
  uint8_t *bytes;
  size_t size; /* beyond HW_MQTT_PACKET: it did not fit */
} packet;

static void put_bytes(packet *to, const void *bytes, size_t size) {
  if (to->size + size <= HW_MQTT_PACKET && size > 0) memcpy(to->bytes + to->size, bytes, size);
  to->size += size;
}

static void put_byte(packet *to, unsigned value) {
  uint8_t byte = (uint8_t)value;
  put_bytes(to, &byte, 1);
}

static void put_u16(packet *to, unsigned value) {
  put_byte(to, value >> 8);
  put_byte(to, value);
}

static void put_text(packet *to, const char *text) {
  size_t size = strlen(text);
  put_u16(to, (unsigned)size);
  put_bytes(to, text, size);
}

static void put_property(packet *to, const char *name, uint32_t value) {
  char digits[11], *at = digits + 10;
  *at = 0;
  do *--at = (char)('0' + value % 10);
  while ((value /= 10) > 0);
  put_byte(to, USER_PROPERTY);
  put_text(to, name);
  put_text(to, at);
}

static packet begin(hw_mqtt *mqtt) {
  packet to;
  to.bytes = mqtt->tx;
  to.size = HEAD;
  return to;
}

static hw_status finish(hw_mqtt *mqtt, const packet *from, unsigned type) {
  size_t body = from->size - HEAD, at = HEAD;
  if (from->size > HW_MQTT_PACKET) return HW_TOO_LONG;
  if (body >= 128) {
    mqtt->tx[--at] = (uint8_t)(body >> 7);
    mqtt->tx[--at] = (uint8_t)(body | 0x80u);
  } else {
    mqtt->tx[--at] = (uint8_t)body;
  }
  mqtt->tx[--at] = (uint8_t)type;
  mqtt->tx_at = (uint16_t)at;
  mqtt->tx_size = (uint16_t)from->size;
  return HW_OK;
}

static hw_status write_connect(hw_mqtt *mqtt) {
  const hw_mqtt_port *port = mqtt->port;
  packet to = begin(mqtt);
  put_text(&to, "MQTT");
  put_byte(&to, port->version);
  /* Clean start: what was in flight stands in the ring, nothing has to be kept at the broker. */
  put_byte(&to, 0x02u | (port->username != NULL ? 0x80u : 0u) | (port->password != NULL ? 0x40u : 0u));
  put_u16(&to, port->keep_alive);
  if (port->version == 5) put_byte(&to, 0);
  put_text(&to, port->client_id);
  if (port->username != NULL) put_text(&to, port->username);
  if (port->password != NULL) put_text(&to, port->password);
  return finish(mqtt, &to, CONNECT);
}

static hw_status write_subscribe(hw_mqtt *mqtt) {
  packet to = begin(mqtt);
  put_u16(&to, SUBSCRIBE_ID);
  if (mqtt->port->version == 5) put_byte(&to, 0);
  put_text(&to, mqtt->port->command_topic);
  put_byte(&to, 1);
  return finish(mqtt, &to, SUBSCRIBE);
}

static void put_properties(hw_mqtt *mqtt, packet *to, uint32_t sequence) {
  size_t start = to->size + 1, length;
  put_byte(to, 0); /* the length, as long as it fits one byte [MQTT-1.5.5-1] */
  put_byte(to, USER_PROPERTY);
  put_text(to, "device");
  put_text(to, mqtt->port->client_id);
  put_property(to, "epoch", mqtt->ring->epoch);
  put_property(to, "sequence", sequence);
  length = to->size - start;
  if (length >= 128) put_byte(to, 0);
  if (to->size > HW_MQTT_PACKET) return;
  to->bytes[start - 1] = (uint8_t)length;
  if (length < 128) return;
  memmove(to->bytes + start + 1, to->bytes + start, length);
  to->bytes[start - 1] = (uint8_t)(length | 0x80u);
  to->bytes[start] = (uint8_t)(length >> 7);
}

/* The next reading of the ring. HW_NONE: there is none, or the window is full. */
static hw_status write_publish(hw_mqtt *mqtt) {
  hw_entry entry = mqtt->cursor;
  packet to = begin(mqtt);
  hw_status status;
  if (mqtt->in_flight >= HW_MQTT_WINDOW || mqtt->in_flight >= mqtt->receive_max) return HW_NONE;
  status = hw_ring_next(mqtt->ring, &entry);
  if (status != HW_OK) return status;
  put_text(&to, mqtt->port->topic);
  put_u16(&to, mqtt->next_id);
  if (mqtt->port->version == 5) put_properties(mqtt, &to, entry.sequence);
  if (to.size + entry.size > HW_MQTT_PACKET) return HW_TOO_LONG;
  status = hw_ring_read(mqtt->ring, &entry, mqtt->tx + to.size);
  if (status != HW_OK) return status;
  to.size += entry.size;
  mqtt->cursor = entry;
  mqtt->sequences[mqtt->in_flight++] = entry.sequence;
  if (++mqtt->next_id == SUBSCRIBE_ID) mqtt->next_id = 1;
  return finish(mqtt, &to, PUBLISH | 0x02u);
}

static hw_status write_puback(hw_mqtt *mqtt) {
  packet to = begin(mqtt);
  put_u16(&to, mqtt->puback);
  mqtt->puback = 0;
  return finish(mqtt, &to, PUBACK);
}

static hw_status write_next(hw_mqtt *mqtt) {
  uint64_t rate = mqtt->port->ticks_per_second;
  packet ping;
  if (mqtt->puback != 0) return write_puback(mqtt);
  if (mqtt->is_subscribe_due) {
    mqtt->is_subscribe_due = 0;
    return write_subscribe(mqtt);
  }
  if (now(mqtt) - mqtt->sent_at >= mqtt->port->keep_alive * rate * 3 / 4 && !mqtt->is_pinging) {
    mqtt->is_pinging = 1;
    ping = begin(mqtt);
    return finish(mqtt, &ping, PINGREQ);
  }
  return write_publish(mqtt);
}

static hw_status send_all(hw_mqtt *mqtt) {
  for (;;) {
    hw_status status;
    if (mqtt->tx_at < mqtt->tx_size) {
      size_t left = (size_t)(mqtt->tx_size - mqtt->tx_at);
      int taken = mqtt->port->send(mqtt->port->context, mqtt->tx + mqtt->tx_at, left);
      if (taken < 0) return HW_NONE;
      mqtt->tx_at = (uint16_t)(mqtt->tx_at + taken);
      if ((size_t)taken < left) return HW_OK;
      mqtt->sent_at = now(mqtt);
    }
    if (mqtt->state != HW_MQTT_ONLINE) return HW_OK;
    status = write_next(mqtt);
    if (status == HW_NONE) return HW_OK;
    if (status != HW_OK) return status;
  }
}

/* ---- reading ---- */

/* A remaining length or a property length; returns its bytes, 0 when it is not all there, -1 when it cannot be one. */
static int read_length(const uint8_t *from, size_t left, uint32_t *value) {
  int used;
  *value = 0;
  for (used = 0; used < 4; used++) {
    if ((size_t)used >= left) return 0;
    *value |= (uint32_t)(from[used] & 0x7fu) << (7 * used);
    if (from[used] < 0x80) return used + 1;
  }
  return -1;
}

static unsigned read_u16(const uint8_t *from) { return (unsigned)from[0] << 8 | from[1]; }

/* Looks for the receive maximum among CONNACK's properties. Those before it are passed over by their types [MQTT-2.2.2]. */
static void read_receive_max(hw_mqtt *mqtt, const uint8_t *at, size_t left) {
  uint32_t length;
  int used = read_length(at, left, &length);
  if (used <= 0 || length > left - (size_t)used) return;
  for (at += used, left = length; left > 0;) {
    size_t size;
    switch (*at) {
      case 0x24: case 0x25: case 0x28: case 0x29: case 0x2a: size = 2; break; /* a byte */
      case 0x13: case 0x21: case 0x22: size = 3; break;                       /* two */
      case 0x11: case 0x27: size = 5; break;                                  /* four */
      case 0x12: case 0x15: case 0x16: case 0x1a: case 0x1c: case 0x1f:       /* a string or bytes */
        size = left >= 3 ? 3 + read_u16(at + 1) : 3;
        break;
      case USER_PROPERTY:
        size = left >= 3 ? 3 + read_u16(at + 1) : 3;
        size = left >= size + 2 ? size + 2 + read_u16(at + size) : left + 1;
        break;
      default: return;
    }
    if (size > left) return;
    if (*at == RECEIVE_MAXIMUM && read_u16(at + 1) > 0) mqtt->receive_max = (uint16_t)read_u16(at + 1);
    at += size;
    left -= size;
  }
}

static hw_status on_connack(hw_mqtt *mqtt, const uint8_t *body, size_t size) {
  if (mqtt->state != HW_MQTT_CONNECTING || size < 2) return HW_CORRUPT;
  mqtt->reason = body[1];
  if (body[1] != 0) return HW_MISMATCH;
  if (mqtt->port->version == 5) read_receive_max(mqtt, body + 2, size - 2);
  mqtt->state = HW_MQTT_ONLINE;
  mqtt->is_subscribe_due = mqtt->port->command_topic != NULL;
  return HW_OK;
}

/* The reading of that packet id is stored; so are, in the ring's eyes, all before the oldest one that is not. */
static hw_status on_puback(hw_mqtt *mqtt, const uint8_t *body, size_t size) {
  unsigned id, place, count = 0;
  hw_status status;
  if (size < 2) return HW_CORRUPT;
  if (size > 2 && body[2] >= 0x80) { /* not stored: it stays in the ring, the next connection tries again */
    mqtt->reason = body[2];
    return HW_MISMATCH;
  }
  id = read_u16(body);
  place = (id + mqtt->in_flight + IDS - mqtt->next_id) % IDS; /* among those in flight, the oldest is 0 */
  if (id == 0 || id > IDS) return HW_CORRUPT;
  if (place >= mqtt->in_flight) return HW_CORRUPT;
  mqtt->done |= (uint32_t)1 << place;
  while (count < mqtt->in_flight && (mqtt->done >> count & 1u) != 0) count++;
  if (count == 0) return HW_OK;
  status = hw_ring_ack(mqtt->ring, mqtt->sequences[count - 1]);
  mqtt->in_flight = (uint8_t)(mqtt->in_flight - count);
  mqtt->done = count < 32 ? mqtt->done >> count : 0;
  memmove(mqtt->sequences, mqtt->sequences + count, mqtt->in_flight * sizeof mqtt->sequences[0]);
  return status;
}

static hw_status on_publish(hw_mqtt *mqtt, unsigned type, const uint8_t *body, size_t size) {
  size_t at, qos = (type >> 1) & 3u;
  uint32_t properties;
  int used;
  if (size < 2 || qos > 1) return HW_CORRUPT;
  at = 2u + read_u16(body);
  if (at + qos * 2 > size) return HW_CORRUPT;
  if (qos == 1) {
    mqtt->puback = (uint16_t)read_u16(body + at);
    at += 2;
  }
  if (mqtt->port->version == 5) {
    used = read_length(body + at, size - at, &properties);
    if (used <= 0 || properties > size - at - (size_t)used) return HW_CORRUPT;
    at += (size_t)used + properties;
  }
  if (mqtt->port->command != NULL) mqtt->port->command(mqtt->port->context, body + at, size - at);
  return HW_OK;
}

static hw_status on_packet(hw_mqtt *mqtt, unsigned type, const uint8_t *body, size_t size) {
  switch (type & 0xf0u) {
    case CONNACK: return on_connack(mqtt, body, size);
    case PUBACK: return on_puback(mqtt, body, size);
    case PUBLISH: return on_publish(mqtt, type, body, size);
    case PINGRESP: mqtt->is_pinging = 0; return HW_OK;
    case SUBACK: return HW_OK;
    case DISCONNECT:
      mqtt->reason = size > 0 ? body[0] : 0;
      return HW_MISMATCH;
    default: return HW_CORRUPT;
  }
}

/* Takes the whole packets from the receive buffer, as long as a command's PUBACK has room to go out. */
static hw_status read_packets(hw_mqtt *mqtt) {
  size_t at = 0;
  hw_status status = HW_OK;
  while (mqtt->rx_size - at >= 2 && mqtt->puback == 0 && status == HW_OK) {
    uint32_t length;
    int used = read_length(mqtt->rx + at + 1, mqtt->rx_size - at - 1, &length);
    size_t whole = 1u + (size_t)(used > 0 ? used : 0) + length;
    if (used < 0) return HW_CORRUPT;
    if (used > 0 && whole > HW_MQTT_PACKET) return HW_TOO_LONG;
    if (used == 0 || whole > mqtt->rx_size - at) break;
    status = on_packet(mqtt, mqtt->rx[at], mqtt->rx + at + 1 + used, length);
    at += whole;
  }
  mqtt->rx_size = (uint16_t)(mqtt->rx_size - at);
  memmove(mqtt->rx, mqtt->rx + at, mqtt->rx_size);
  return status;
}

static hw_status receive_all(hw_mqtt *mqtt) {
  size_t room = sizeof mqtt->rx - mqtt->rx_size;
  int got = room == 0 ? 0 : mqtt->port->receive(mqtt->port->context, mqtt->rx + mqtt->rx_size, room);
  if (got < 0) return HW_NONE;
  if (got > 0) mqtt->heard_at = now(mqtt);
  mqtt->rx_size = (uint16_t)(mqtt->rx_size + got);
  return read_packets(mqtt);
}

void hw_mqtt_open(hw_mqtt *mqtt) {
  mqtt->state = HW_MQTT_CONNECTING;
  mqtt->in_flight = mqtt->is_pinging = mqtt->is_subscribe_due = 0;
  mqtt->done = 0;
  mqtt->puback = 0;
  mqtt->rx_size = 0;
  mqtt->next_id = 1;
  mqtt->receive_max = 0xffff;
  mqtt->cursor = mqtt->ring->tail;
  mqtt->sent_at = mqtt->heard_at = now(mqtt);
  if (write_connect(mqtt) != HW_OK) mqtt->tx_size = mqtt->tx_at = 0; /* too long: the silence ends this connection */
}

hw_status hw_mqtt_poll(hw_mqtt *mqtt) {
  hw_status status = mqtt->state == HW_MQTT_CLOSED ? HW_NONE : receive_all(mqtt);
  uint64_t patience = mqtt->port->keep_alive * (uint64_t)mqtt->port->ticks_per_second * 3 / 2;
  if (status == HW_OK && now(mqtt) - mqtt->heard_at > patience) status = HW_NONE;
  if (status == HW_OK) status = send_all(mqtt);
  if (status != HW_OK) mqtt->state = HW_MQTT_CLOSED;
  return status;
}
