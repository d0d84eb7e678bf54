/* Any bytes: opening stays inside the buffer; what is sealed opens as it was. */
#include "../src/hw_frame.h"
#include "../test/test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  uint8_t frame[HW_FRAME_ENCODED];
  size_t opened;
  if (size > HW_FRAME_BODY) size = HW_FRAME_BODY;
  if (size == 0) return 0;
  memcpy(frame, data, size);
  opened = hw_frame_open(frame, size);
  CHECK(opened <= size);
  memcpy(frame + 1, data, size);
  CHECK(hw_frame_seal(frame, size) == size + 6);
  CHECK(hw_frame_open(frame, size + 5) == size && memcmp(frame, data, size) == 0);
  return 0;
}
