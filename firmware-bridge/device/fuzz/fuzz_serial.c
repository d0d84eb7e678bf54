/* Any bytes from the line, and any well-formed frames of any content. */
#include "../src/hw_serial.h"
#include "../test/test.h"

static test_flash flash;
static uint64_t clock_ticks;
static uint64_t ticks(void *context) {
  (void)context;
  return clock_ticks += 50;
}
static size_t line_write(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  return size > 0 && bytes[0] == 3 ? size / 2 : size;
}
static uint8_t on_command(void *context, const uint8_t *bytes, size_t size) {
  uint8_t sum = 0;
  (void)context;
  CHECK(size <= HW_COMMAND_MAX + 5);
  while (size > 0) sum = (uint8_t)(sum + bytes[--size]);
  return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const hw_serial_port port = {NULL, "dev-1", "", 1000, ticks, line_write, on_command};
  hw_ring ring;
  hw_serial serial;
  uint8_t record[20] = {1}, frame[HW_FRAME_ENCODED];
  size_t i;
  test_flash_init(&flash, 512, 3);
  CHECK(hw_ring_mount(&ring, &flash.port, 0) == HW_OK && hw_serial_init(&serial, &port, &ring) == HW_OK);
  for (i = 0; i < 9; i++) hw_ring_push(&ring, i, record, sizeof record, NULL);
  while (size > 1) {
    size_t length = data[0] % 80u + 1u, sealed;
    if (length > size - 1) length = size - 1;
    memcpy(frame + 1, data + 1, length);
    sealed = hw_frame_seal(frame, length);
    for (i = 0; i < sealed; i++) hw_serial_receive(&serial, frame[i]);
    for (i = 0; i < length; i++) hw_serial_receive(&serial, data[1 + i]);
    hw_serial_poll(&serial);
    CHECK(ring.acked < ring.next);
    data += length + 1;
    size -= length + 1;
  }
  return 0;
}
