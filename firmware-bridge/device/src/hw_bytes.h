/* Little-endian bytes and CRC-32C: what the ring, the frames and the golden files have in common. */
#ifndef HW_BYTES_H
#define HW_BYTES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What every call of this library answers. Zero is good, everything negative left things as they were. */
typedef enum hw_status {
  HW_OK = 0,
  HW_NONE = -1,     /* nothing there: no entry, no further item */
  HW_FULL = -2,     /* no room: buffer too small, or the ring holds only unacknowledged entries */
  HW_TOO_LONG = -3, /* longer than this build allows */
  HW_CORRUPT = -4,  /* bytes that cannot be what they claim to be */
  HW_FLASH = -5,    /* the flash port reported an error, or read back something else than was programmed */
  HW_CONFIG = -6,   /* a geometry or a setting this build cannot work with */
  HW_MISMATCH = -7  /* well-formed, but not of the type asked for */
} hw_status;

/* CRC-32C (Castagnoli, reflected). Start with 0 and pass the last result on to continue over more bytes. */
uint32_t hw_crc32c(uint32_t crc, const void *bytes, size_t size);

void hw_put16(uint8_t *to, uint16_t value);
void hw_put32(uint8_t *to, uint32_t value);
void hw_put64(uint8_t *to, uint64_t value);
uint16_t hw_get16(const uint8_t *from);
uint32_t hw_get32(const uint8_t *from);
uint64_t hw_get64(const uint8_t *from);

#ifdef __cplusplus
}
#endif
#endif
