/* Any content of the flash, or a good ring with damage: it mounts, is walked to its end, takes and gives readings. */
#include "../test/test.h"

static test_flash flash;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hw_ring ring;
  hw_entry entry;
  uint8_t record[HW_RECORD_MAX] = {1};
  uint32_t i, sequence = 0, steps = 0;
  test_flash_init(&flash, 512, 4);
  if (size > 0 && (data[0] & 1) != 0) { /* damage: pairs of place and value */
    CHECK(hw_ring_mount(&ring, &flash.port, 1) == HW_OK);
    for (i = 0; i < 40; i++) {
      hw_ring_push(&ring, i, record, 1 + i % 50, NULL);
      if (i % 9 == 8) hw_ring_ack(&ring, i - 3);
    }
    for (i = 1; i + 2 < size; i += 3) flash.bytes[(data[i] | data[i + 1] << 8) & 2047] = data[i + 2];
  } else {
    memcpy(flash.bytes, data, size > 2048 ? 2048 : size);
  }
  if (hw_ring_mount(&ring, &flash.port, 1) != HW_OK) return 0;
  memset(&entry, 0, sizeof entry);
  while (hw_ring_next(&ring, &entry) == HW_OK) {
    CHECK(steps++ < 2048);
    hw_ring_read(&ring, &entry, record);
  }
  ring.overwrite = 1;
  hw_ring_ack(&ring, ring.next - 1);
  if (hw_ring_push(&ring, 0, record, 8, &sequence) == HW_OK) {
    entry = ring.tail;
    steps = 0;
    while (hw_ring_next(&ring, &entry) == HW_OK && entry.sequence != sequence) CHECK(steps++ < 2048);
    CHECK(entry.sequence == sequence);
  }
  return 0;
}
