/*
 * A sensor loop without an operating system: sample, store, send. Fill in the seven functions of your board below; everything
 * else is portable. Memory: about 520 bytes for the ring and the link, no heap.
 */
#include "../src/hw_cbor.h"
#include "../src/hw_ring.h"
#include "../src/hw_serial.h"

/* Your board. */
extern uint32_t board_milliseconds(void);         /* since the reset; this loop extends it to 64 bits */
extern uint32_t board_random(void);               /* a hardware random number, or a unique id mixed with ADC noise */
extern int board_uart_read(uint8_t *byte);        /* 1: a byte was there */
extern int board_uart_write(uint8_t byte);        /* 1: there was room for it */
extern int16_t board_temperature(void);           /* tenths of a degree */
extern uint8_t board_set_relay(uint8_t on);       /* 0: done */
extern void board_wait(void);                     /* until the next interrupt */
extern int board_flash_read(void *, uint32_t address, void *bytes, uint32_t size);
extern int board_flash_program(void *, uint32_t address, const void *bytes, uint32_t size);
extern int board_flash_erase(void *, uint32_t sector);

void sensor_loop(void);

static uint64_t ticks(void *context) {
  static uint32_t last, high;
  uint32_t now = board_milliseconds();
  (void)context;
  if (now < last) high++; /* called more often than every 49 days */
  last = now;
  return (uint64_t)high << 32 | now;
}

static size_t line_write(void *context, const uint8_t *bytes, size_t size) {
  size_t done = 0;
  (void)context;
  while (done < size && board_uart_write(bytes[done])) done++;
  return done;
}

/* The commands of this device: one byte, 0 or 1. */
static uint8_t on_command(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  return size == 1 ? board_set_relay(bytes[0]) : 1;
}

static const hw_flash flash = {NULL, 2048, 16, board_flash_read, board_flash_program, board_flash_erase};
static const hw_serial_port port = {NULL, "greenhouse-3", "thermometer", 1000, ticks, line_write, on_command};
static hw_ring ring;
static hw_serial serial;

/* Described by gateway/examples/thermometer.json: [temperature in tenths]. */
static void store_reading(void) {
  uint8_t record[16];
  hw_cbor_writer writer;
  hw_cbor_write_to(&writer, record, sizeof record);
  hw_cbor_array(&writer, 1);
  hw_cbor_int(&writer, board_temperature());
  if (writer.status == HW_OK) (void)hw_ring_push(&ring, hw_ring_stamp(&ring, ticks(NULL)), record, writer.size, NULL);
}

void sensor_loop(void) {
  uint64_t due = 0;
  uint8_t byte;
  if (hw_ring_mount(&ring, &flash, board_random()) != HW_OK) return;
  ring.overwrite = 1; /* when it is full the oldest readings go */
  if (hw_serial_init(&serial, &port, &ring) != HW_OK) return;
  for (;;) {
    if (ticks(NULL) >= due) {
      due = ticks(NULL) + 10000;
      store_reading();
    }
    while (board_uart_read(&byte)) hw_serial_receive(&serial, byte);
    hw_serial_poll(&serial);
    board_wait();
  }
}
