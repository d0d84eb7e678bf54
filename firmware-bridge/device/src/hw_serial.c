#include "hw_serial.h"

#include <string.h>

#define NAME_MAX_SIZE 64u
#define PROBES 5u /* unanswered tries before the greeting starts again */

static uint64_t now(const hw_serial *serial) { return serial->port->ticks(serial->port->context); }

static void greet(hw_serial *serial) {
  serial->state = HW_SERIAL_GREETING;
  serial->is_hello_due = 1;
  serial->tries = 0;
}

hw_status hw_serial_init(hw_serial *serial, const hw_serial_port *port, hw_ring *ring) {
  size_t id = strlen(port->id);
  memset(serial, 0, sizeof *serial);
  serial->port = port;
  serial->ring = ring;
  greet(serial);
  if (id == 0 || id > NAME_MAX_SIZE || strlen(port->kind) > NAME_MAX_SIZE || port->ticks_per_second == 0) return HW_CONFIG;
  return HW_OK;
}

uint64_t hw_serial_time(const hw_serial *serial) {
  uint64_t since = now(serial) - serial->time_at;
  uint32_t rate = serial->port->ticks_per_second;
  return serial->time == 0 ? 0 : serial->time + since / rate * 1000u + since % rate * 1000u / rate;
}

/* ---- sending: each writes one body at tx + 1 and returns its size ---- */

static size_t write_name(uint8_t *to, const char *name) {
  size_t size = strlen(name);
  *to = (uint8_t)size;
  memcpy(to + 1, name, size);
  return size + 1;
}

static size_t write_hello(hw_serial *serial) {
  uint8_t *body = serial->tx + 1;
  size_t size = 27;
  body[0] = HW_HELLO;
  body[1] = HW_PROTOCOL_VERSION;
  hw_put32(body + 2, serial->ring->epoch);
  hw_put32(body + 6, serial->ring->acked);
  hw_put32(body + 10, serial->ring->next);
  hw_put64(body + 14, hw_ring_stamp(serial->ring, now(serial)));
  hw_put32(body + 22, serial->port->ticks_per_second);
  body[26] = HW_COMMAND_MAX > 240 ? 240 : HW_COMMAND_MAX;
  size += write_name(body + size, serial->port->id);
  return size + write_name(body + size, serial->port->kind);
}

static size_t write_pong(hw_serial *serial) {
  uint8_t *body = serial->tx + 1;
  body[0] = HW_PONG;
  hw_put32(body + 1, serial->ping);
  hw_put64(body + 5, hw_ring_stamp(serial->ring, now(serial)));
  return 13;
}

static size_t write_result(hw_serial *serial) {
  uint8_t *body = serial->tx + 1;
  body[0] = HW_RESULT;
  hw_put32(body + 1, serial->command);
  body[5] = serial->command_status;
  return 6;
}

/* The next reading, if there is one that the window lets through. `back` says how far behind it the reading before it stands, 0
 * if this is the oldest: so the gateway knows a number that was skipped here from a frame that was lost on the way. */
static size_t write_data(hw_serial *serial, hw_entry *from) {
  hw_ring *ring = serial->ring;
  uint8_t *body = serial->tx + 1;
  hw_entry entry;
  uint32_t back = 0;
  if (from->sequence < ring->acked || from->sequence == 0) *from = ring->tail;
  entry = *from;
  if (hw_ring_next(ring, &entry) != HW_OK) return 0;
  if (from->sequence > ring->acked) {
    back = entry.sequence - from->sequence;
    if (back > 255 || entry.sequence - ring->acked > serial->window) return 0; /* until it is the oldest, or the window moves */
  }
  if (entry.size > HW_FRAME_BODY - 14 || hw_ring_read(ring, &entry, body + 14) != HW_OK) return 0;
  *from = entry;
  body[0] = HW_DATA;
  body[1] = (uint8_t)back;
  hw_put32(body + 2, entry.sequence);
  hw_put64(body + 6, entry.stamp);
  return 14u + entry.size;
}

/* Puts the cursor behind the last reading that the gateway has. */
static void go_back(hw_serial *serial) {
  hw_entry entry = serial->ring->tail;
  serial->cursor = entry;
  while (hw_ring_next(serial->ring, &entry) == HW_OK && entry.sequence <= serial->received) serial->cursor = entry;
}

/* Nothing was heard for too long: send again what may be lost, or ask with the oldest reading whether anybody is there. */
static void retry(hw_serial *serial) {
  uint64_t wait = (uint64_t)serial->port->ticks_per_second * HW_SERIAL_RETRY_MS / 1000u;
  wait <<= serial->tries < 4 ? serial->tries : 4;
  if (now(serial) - serial->quiet_since < wait) return;
  if (serial->state != HW_SERIAL_ONLINE) {
    serial->is_hello_due = 1;
    if (serial->tries < 4) serial->tries++;
  } else if (serial->cursor.sequence > serial->ring->acked) {
    if (++serial->tries > PROBES) greet(serial);
    else if (serial->cursor.sequence > serial->received) go_back(serial);
    else serial->is_probe_due = 1;
  }
  serial->quiet_since = now(serial);
}

static size_t write_next(hw_serial *serial) {
  size_t size = 0;
  if (serial->is_pong_due) {
    serial->is_pong_due = 0;
    return write_pong(serial);
  }
  if (serial->is_result_due) {
    serial->is_result_due = 0;
    return write_result(serial);
  }
  retry(serial);
  if (serial->is_hello_due) {
    serial->is_hello_due = 0;
    size = write_hello(serial);
  } else if (serial->state == HW_SERIAL_ONLINE) {
    hw_entry probe = serial->ring->tail;
    size = write_data(serial, serial->is_probe_due ? &probe : &serial->cursor);
    serial->is_probe_due = 0;
  }
  if (size > 0) serial->quiet_since = now(serial);
  return size;
}

void hw_serial_poll(hw_serial *serial) {
  for (;;) {
    size_t left = (size_t)(serial->tx_size - serial->tx_at), size;
    if (left > 0) {
      size_t taken = serial->port->write(serial->port->context, serial->tx + serial->tx_at, left);
      serial->tx_at = (uint16_t)(serial->tx_at + taken);
      if (taken < left) return;
    }
    size = write_next(serial);
    if (size == 0) return;
    serial->tx_size = (uint16_t)hw_frame_seal(serial->tx, size);
    serial->tx_at = 0;
  }
}

/* ---- receiving ---- */

static void on_welcome(hw_serial *serial, const uint8_t *body) {
  uint32_t last = hw_get32(body + 6);
  serial->quiet_since = now(serial);
  serial->tries = 0;
  if (body[1] != HW_PROTOCOL_VERSION || hw_get32(body + 2) != serial->ring->epoch) {
    serial->state = HW_SERIAL_REFUSED;
    serial->tries = 4; /* asks again, slowly */
    return;
  }
  hw_ring_skip(serial->ring, last);
  hw_ring_ack(serial->ring, last);
  serial->received = last;
  serial->window = body[10];
  serial->time = hw_get64(body + 11);
  serial->time_at = now(serial);
  serial->state = HW_SERIAL_ONLINE;
  go_back(serial);
}

static void on_ack(hw_serial *serial, const uint8_t *body) {
  uint32_t received = hw_get32(body + 9);
  if (serial->state != HW_SERIAL_ONLINE || hw_get32(body + 1) != serial->ring->epoch) return;
  hw_ring_ack(serial->ring, hw_get32(body + 5));
  serial->received = received;
  serial->window = body[13];
  serial->quiet_since = now(serial);
  serial->tries = 0;
  if (body[0] == HW_NACK && serial->cursor.sequence > received) go_back(serial);
}

static void on_command(hw_serial *serial, const uint8_t *body, size_t size) {
  uint32_t id = hw_get32(body + 1);
  serial->is_result_due = 1;
  if (serial->has_command && id == serial->command) return; /* carried out before; the result was lost */
  serial->has_command = 1;
  serial->command = id;
  serial->command_status =
      serial->port->command == NULL ? 255 : serial->port->command(serial->port->context, body + 5, size - 5);
}

static void on_frame(hw_serial *serial, const uint8_t *body, size_t size) {
  switch (body[0]) {
    case HW_WELCOME:
      if (size >= 19) on_welcome(serial, body);
      break;
    case HW_ACK:
    case HW_NACK:
      if (size >= 14) on_ack(serial, body);
      break;
    case HW_WHO:
      if (serial->state != HW_SERIAL_GREETING) greet(serial);
      break;
    case HW_PING:
      if (size < 5) break;
      serial->ping = hw_get32(body + 1);
      serial->is_pong_due = 1;
      break;
    case HW_COMMAND:
      if (size >= 5) on_command(serial, body, size);
      break;
    default: /* of a later version: not for us */
      break;
  }
}

void hw_serial_receive(hw_serial *serial, uint8_t byte) {
  size_t size = serial->rx_size;
  if (byte != 0) { /* one too many marks the frame as too long until its end */
    if (size < sizeof serial->rx) serial->rx[size] = byte;
    if (size <= sizeof serial->rx) serial->rx_size++;
    return;
  }
  serial->rx_size = 0;
  if (size == 0) return;
  size = size > sizeof serial->rx ? 0 : hw_frame_open(serial->rx, size);
  if (size == 0) serial->bad_frames++;
  else on_frame(serial, serial->rx, size);
}
