#include "hw_bytes.h"

/* A table of 16 words: 64 bytes of flash, two look-ups a byte. */
uint32_t hw_crc32c(uint32_t crc, const void *bytes, size_t size) {
  static const uint32_t nibble[16] = {
      0x00000000u, 0x105ec76fu, 0x20bd8edeu, 0x30e349b1u, 0x417b1dbcu, 0x5125dad3u, 0x61c69362u, 0x7198540du,
      0x82f63b78u, 0x92a8fc17u, 0xa24bb5a6u, 0xb21572c9u, 0xc38d26c4u, 0xd3d3e1abu, 0xe330a81au, 0xf36e6f75u};
  const uint8_t *at = (const uint8_t *)bytes;
  crc = ~crc;
  while (size-- > 0) {
    crc ^= *at++;
    crc = (crc >> 4) ^ nibble[crc & 15u];
    crc = (crc >> 4) ^ nibble[crc & 15u];
  }
  return ~crc;
}

static void put(uint8_t *to, uint64_t value, unsigned size) {
  while (size-- > 0) {
    *to++ = (uint8_t)value;
    value >>= 8;
  }
}

static uint64_t get(const uint8_t *from, unsigned size) {
  uint64_t value = 0;
  while (size-- > 0) value = (value << 8) | from[size];
  return value;
}

void hw_put16(uint8_t *to, uint16_t value) { put(to, value, 2); }
void hw_put32(uint8_t *to, uint32_t value) { put(to, value, 4); }
void hw_put64(uint8_t *to, uint64_t value) { put(to, value, 8); }
uint16_t hw_get16(const uint8_t *from) { return (uint16_t)get(from, 2); }
uint32_t hw_get32(const uint8_t *from) { return (uint32_t)get(from, 4); }
uint64_t hw_get64(const uint8_t *from) { return get(from, 8); }
