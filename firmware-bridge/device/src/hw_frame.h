/* Serial frames: a body of at most 250 bytes, its CRC-32C, COBS, a zero byte. PROTOCOL.md, section 1. */
#ifndef HW_FRAME_H
#define HW_FRAME_H

#include "hw_bytes.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 254 bytes of body and CRC are one COBS group: the encoding adds one byte, always. */
#define HW_FRAME_BODY 250u
#define HW_FRAME_ENCODED (HW_FRAME_BODY + 4u + 2u)

enum hw_frame_type {
  /* device to gateway */
  HW_HELLO = 0x01,
  HW_DATA = 0x02,
  HW_RESULT = 0x03,
  HW_PONG = 0x04,
  /* gateway to device */
  HW_WELCOME = 0x81,
  HW_ACK = 0x82,
  HW_NACK = 0x83,
  HW_WHO = 0x84,
  HW_PING = 0x85,
  HW_COMMAND = 0x86
};
#define HW_PROTOCOL_VERSION 1

/* Seals the body that stands at frame + 1 and is `size` <= HW_FRAME_BODY long. Returns what is to be sent, from `frame` on:
 * always size + 6 bytes. */
size_t hw_frame_seal(uint8_t *frame, size_t size);

/* Opens the `size` bytes that came before a zero byte, in place. Returns the size of the body, now at `frame`; 0 for what is
 * not a frame. */
size_t hw_frame_open(uint8_t *frame, size_t size);

#ifdef __cplusplus
}
#endif
#endif
