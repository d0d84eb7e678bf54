/*
 * CBOR records (RFC 8949), written and read in place: integers, byte and text strings, arrays, maps, tags, booleans, null,
 * undefined and floating point, all of definite length. Encoding is deterministic (section 4.2.1): the shortest form of every
 * integer, length and float; map keys in the bytewise order of their encodings (`hw_cbor_check` refuses another order).
 *
 *   hw_cbor_writer writer;
 *   hw_cbor_write_to(&writer, buffer, sizeof buffer);
 *   hw_cbor_map(&writer, 2);
 *   hw_cbor_text(&writer, "t"), hw_cbor_float(&writer, 21.5);
 *   hw_cbor_text(&writer, "rh"), hw_cbor_uint(&writer, 40);
 *   if (writer.status == HW_OK) push(buffer, writer.size);
 */
#ifndef HW_CBOR_H
#define HW_CBOR_H

#include "hw_bytes.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The deepest nesting of arrays, maps and tags that a reader follows. Each level costs 16 bytes of stack in hw_cbor_check. */
#ifndef HW_CBOR_DEPTH
#define HW_CBOR_DEPTH 8
#endif

typedef struct hw_cbor_writer {
  uint8_t *bytes;
  size_t capacity;
  size_t size;      /* what has been written */
  hw_status status; /* HW_OK until the first item that did not fit; nothing is written after that */
} hw_cbor_writer;

void hw_cbor_write_to(hw_cbor_writer *writer, void *buffer, size_t capacity);
void hw_cbor_uint(hw_cbor_writer *writer, uint64_t value);
void hw_cbor_int(hw_cbor_writer *writer, int64_t value);
void hw_cbor_nint(hw_cbor_writer *writer, uint64_t argument); /* the value -1 - argument */
void hw_cbor_text(hw_cbor_writer *writer, const char *text);  /* up to its NUL, UTF-8 */
void hw_cbor_text_of(hw_cbor_writer *writer, const char *text, size_t size);
void hw_cbor_bytes(hw_cbor_writer *writer, const void *bytes, size_t size);
void hw_cbor_array(hw_cbor_writer *writer, uint32_t items); /* `items` items follow */
void hw_cbor_map(hw_cbor_writer *writer, uint32_t pairs);   /* `pairs` keys and values follow, keys in bytewise order */
void hw_cbor_tag(hw_cbor_writer *writer, uint64_t tag);     /* one item follows */
void hw_cbor_bool(hw_cbor_writer *writer, int value);
void hw_cbor_null(hw_cbor_writer *writer);
void hw_cbor_undefined(hw_cbor_writer *writer);
void hw_cbor_float(hw_cbor_writer *writer, double value);   /* 2, 4 or 8 bytes, whatever loses nothing; a NaN is f97e00 */
void hw_cbor_float32(hw_cbor_writer *writer, float value);  /* the same without double arithmetic, for small parts */

typedef enum hw_cbor_type {
  HW_CBOR_UINT, /* argument */
  HW_CBOR_NINT, /* -1 - argument */
  HW_CBOR_BYTES,
  HW_CBOR_TEXT,
  HW_CBOR_ARRAY, /* `argument` items follow */
  HW_CBOR_MAP,   /* `argument` pairs follow */
  HW_CBOR_TAG,   /* tag number `argument`; one item follows */
  HW_CBOR_FALSE,
  HW_CBOR_TRUE,
  HW_CBOR_NULL,
  HW_CBOR_UNDEFINED,
  HW_CBOR_FLOAT /* the IEEE 754 bits, widened to double, in `argument` */
} hw_cbor_type;

typedef struct hw_cbor_item {
  hw_cbor_type type;
  uint64_t argument;
  const uint8_t *bytes; /* of a byte or text string, inside the buffer that is read; `argument` long */
} hw_cbor_item;

typedef struct hw_cbor_reader {
  const uint8_t *at;
  const uint8_t *end;
} hw_cbor_reader;

void hw_cbor_read_from(hw_cbor_reader *reader, const void *bytes, size_t size);

/* The next item's head (and string). HW_NONE at the end; HW_CORRUPT for what is cut short, not in its shortest form, of
 * indefinite length or reserved. A map or array that claims more items than bytes are left is corrupt, too. */
hw_status hw_cbor_read(hw_cbor_reader *reader, hw_cbor_item *item);

/* Reads past one whole item, with all it holds. */
hw_status hw_cbor_skip(hw_cbor_reader *reader);

/* HW_OK if the bytes are exactly one item, deterministically encoded, with map keys in order and no key twice, text in UTF-8. */
hw_status hw_cbor_check(const void *bytes, size_t size);

/* Values with their range checked: HW_MISMATCH when the item is of another type or does not fit. */
hw_status hw_cbor_as_int(const hw_cbor_item *item, int64_t *value);
hw_status hw_cbor_as_float(const hw_cbor_item *item, double *value); /* integers are taken, too */
int hw_cbor_is_text(const hw_cbor_item *item, const char *text);

#ifdef __cplusplus
}
#endif
#endif
