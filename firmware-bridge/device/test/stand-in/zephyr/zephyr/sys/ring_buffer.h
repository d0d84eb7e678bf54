/* Stand-in for Zephyr's header: declarations only, see ../../../README.md. */
#include <stdint.h>
struct ring_buf { uint8_t *buffer; uint32_t size; };
#define RING_BUF_DECLARE(name, bytes) \
  static uint8_t name##_buffer[bytes]; \
  static struct ring_buf name = {name##_buffer, bytes}
uint32_t ring_buf_put(struct ring_buf *ring, const uint8_t *bytes, uint32_t size);
uint32_t ring_buf_get(struct ring_buf *ring, uint8_t *bytes, uint32_t size);
