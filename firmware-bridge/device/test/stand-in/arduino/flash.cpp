// Stand-in for a board's flash library, so that the sketch links.
#include <stdint.h>
volatile uint8_t memory;
bool flashRead(uint32_t, void *bytes, uint32_t size) {
  for (uint32_t i = 0; i < size; i++) static_cast<uint8_t *>(bytes)[i] = memory;
  return true;
}
bool flashWrite(uint32_t, const void *bytes, uint32_t size) {
  for (uint32_t i = 0; i < size; i++) memory = static_cast<const uint8_t *>(bytes)[i];
  return true;
}
bool flashErase4K(uint32_t) {
  memory = 0xff;
  return true;
}
