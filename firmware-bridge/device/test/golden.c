/* Writes the golden bytes that the TypeScript side has to read and write alike: golden > ../golden/golden.json. */
#include "../src/hw_cbor.h"
#include "../src/hw_serial.h"
#include "test.h"

static test_flash flash;
static uint8_t line[1024];
static size_t line_size;

static uint64_t ticks(void *context) {
  (void)context;
  return 0x0123456789abu;
}
static size_t line_write(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  memcpy(line + line_size, bytes, size);
  line_size += size;
  return size;
}
static uint8_t on_command(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  (void)bytes;
  (void)size;
  return 3;
}

static int is_first = 1;
static void print(const char *name, const uint8_t *bytes, size_t size) {
  size_t i;
  printf("%s  \"%s\": \"", is_first ? "{\n" : ",\n", name);
  is_first = 0;
  for (i = 0; i < size; i++) printf("%02x", bytes[i]);
  printf("\"");
}

static void down(hw_serial *serial, const char *name, uint8_t *frame, size_t body) {
  size_t size = hw_frame_seal(frame, body), i;
  print(name, frame, size);
  line_size = 0;
  for (i = 0; i < size; i++) hw_serial_receive(serial, frame[i]);
  hw_serial_poll(serial);
}

int main(void) {
  static const hw_serial_port port = {NULL, "dev-1", "thermometer", 32768, ticks, line_write, on_command};
  hw_ring ring;
  hw_serial serial;
  hw_cbor_writer writer;
  uint8_t record[64], frame[HW_FRAME_ENCODED] = {0};
  test_flash_init(&flash, 512, 3);
  hw_ring_mount(&ring, &flash.port, 0xcafe0001u);
  hw_cbor_write_to(&writer, record, sizeof record);
  hw_cbor_array(&writer, 3);
  hw_cbor_int(&writer, -215), hw_cbor_uint(&writer, 40), hw_cbor_float32(&writer, 3.3f);
  print("record", record, writer.size);
  hw_ring_push(&ring, hw_ring_stamp(&ring, 0x0123456789abu), record, writer.size, NULL);
  print("sector", flash.bytes, 64);
  hw_serial_init(&serial, &port, &ring);
  hw_serial_poll(&serial);
  print("hello", line, line_size);
  frame[1] = HW_WELCOME;
  frame[2] = 1;
  hw_put32(frame + 3, 0xcafe0001u);
  frame[11] = 64;
  hw_put64(frame + 12, 1767225600000u);
  down(&serial, "welcome", frame, 19);
  print("data", line, line_size);
  frame[1] = HW_PING;
  hw_put32(frame + 2, 7);
  down(&serial, "ping", frame, 5);
  print("pong", line, line_size);
  frame[1] = HW_COMMAND;
  hw_put32(frame + 2, 258);
  memcpy(frame + 6, "led on", 6);
  down(&serial, "command", frame, 11);
  print("result", line, line_size);
  frame[1] = HW_ACK;
  hw_put32(frame + 2, 0xcafe0001u);
  hw_put32(frame + 6, 1);
  hw_put32(frame + 10, 1);
  frame[14] = 64;
  down(&serial, "ack", frame, 14);
  frame[1] = HW_WHO;
  frame[2] = 1;
  down(&serial, "who", frame, 2);
  puts("\n}");
  return 0;
}
