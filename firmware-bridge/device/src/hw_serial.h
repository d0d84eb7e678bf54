/*
 * Empties a ring over a serial line: frames with CRC, a window, go-back-N on loss, acknowledged by the gateway once the broker
 * has stored the readings. Commands come down the same line. PROTOCOL.md, section 1.
 *
 *   hw_serial_init(&serial, &port, &ring);
 *   for (;;) {                                             // a super-loop, or a task
 *     if (sample_due()) hw_ring_push(&ring, hw_ring_stamp(&ring, ticks()), record, size, NULL);
 *     while (uart_has_byte()) hw_serial_receive(&serial, uart_byte());
 *     hw_serial_poll(&serial);
 *   }
 */
#ifndef HW_SERIAL_H
#define HW_SERIAL_H

#include "hw_frame.h"
#include "hw_ring.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The longest command in bytes. */
#ifndef HW_COMMAND_MAX
#define HW_COMMAND_MAX 64
#endif

/* How long without a sign of the gateway before a frame is sent again; doubles with every try, up to 16 times this. */
#ifndef HW_SERIAL_RETRY_MS
#define HW_SERIAL_RETRY_MS 400
#endif

typedef struct hw_serial_port {
  void *context;
  const char *id;   /* names this device for ever: 1..64 characters of A-Z a-z 0-9 . _ - */
  const char *kind; /* names its description file at the gateway: up to 64 characters, may be empty */
  uint32_t ticks_per_second;
  uint64_t (*ticks)(void *context); /* since the boot, never backwards */
  /* Takes as many bytes as the line has room for, without waiting; returns how many. */
  size_t (*write)(void *context, const uint8_t *bytes, size_t size);
  /* Carries out a command. The status (0: done) goes back. NULL: commands are answered with 255. */
  uint8_t (*command)(void *context, const uint8_t *bytes, size_t size);
} hw_serial_port;

typedef enum hw_serial_state { HW_SERIAL_GREETING, HW_SERIAL_ONLINE, HW_SERIAL_REFUSED } hw_serial_state;

typedef struct hw_serial {
  const hw_serial_port *port;
  hw_ring *ring;
  hw_serial_state state;
  hw_entry cursor;          /* the last reading sent */
  uint32_t received;        /* the gateway has everything up to this reading, in memory */
  uint64_t quiet_since;     /* ticks when something was last sent that asks for an answer */
  uint64_t time_at;         /* ticks when `time` was heard */
  uint64_t time;            /* UTC in ms at `time_at`, 0: not known */
  uint32_t ping;            /* token to answer */
  uint32_t command;         /* the last command's id and what came of it */
  uint8_t command_status;
  uint8_t window;           /* how far the readings may run ahead of the acknowledgements */
  uint8_t tries;
  uint8_t is_hello_due, is_pong_due, is_result_due, is_probe_due, has_command;
  uint16_t tx_size, tx_at, rx_size;
  uint32_t bad_frames;      /* frames that did not open */
  uint8_t tx[HW_FRAME_ENCODED];
  uint8_t rx[HW_COMMAND_MAX + 5 + 5];
} hw_serial;

hw_status hw_serial_init(hw_serial *serial, const hw_serial_port *port, hw_ring *ring);
void hw_serial_receive(hw_serial *serial, uint8_t byte);
/* Sends what is due and fits. Call it often; it never waits. */
void hw_serial_poll(hw_serial *serial);
/* UTC in milliseconds as the gateway told it, carried on by the ticks; 0 when it is not known. */
uint64_t hw_serial_time(const hw_serial *serial);

#ifdef __cplusplus
}
#endif
#endif
