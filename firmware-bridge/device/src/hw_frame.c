#include "hw_frame.h"

#include <string.h>

size_t hw_frame_seal(uint8_t *frame, size_t size) {
  size_t at, code_at = 0;
  hw_put32(frame + 1 + size, hw_crc32c(0, frame + 1, size));
  size += 4;
  for (at = 1; at <= size; at++) {
    if (frame[at] != 0) continue;
    frame[code_at] = (uint8_t)(at - code_at);
    code_at = at;
  }
  frame[code_at] = (uint8_t)(at - code_at);
  frame[at] = 0;
  return size + 2;
}

size_t hw_frame_open(uint8_t *frame, size_t size) {
  size_t from = 0, to = 0;
  if (size > HW_FRAME_BODY + 5) return 0;
  while (from < size) {
    size_t run = frame[from];
    if (run == 0 || run > size - from) return 0;
    from++;
    memmove(frame + to, frame + from, run - 1);
    to += run - 1;
    from += run - 1;
    if (from < size) frame[to++] = 0;
  }
  if (to < 5 || hw_get32(frame + to - 4) != hw_crc32c(0, frame, to - 4)) return 0;
  return to - 4;
}
