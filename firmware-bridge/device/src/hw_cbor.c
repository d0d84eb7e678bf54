#include "hw_cbor.h"

#include <string.h>

/* Major types (RFC 8949, 3.1), shifted to where they stand in the initial byte. */
enum { MAJOR_UINT = 0x00, MAJOR_NINT = 0x20, MAJOR_BYTES = 0x40, MAJOR_TEXT = 0x60, MAJOR_ARRAY = 0x80, MAJOR_MAP = 0xa0,
       MAJOR_TAG = 0xc0, MAJOR_SIMPLE = 0xe0 };
enum { SIMPLE_FALSE = 20, SIMPLE_TRUE = 21, SIMPLE_NULL = 22, SIMPLE_UNDEFINED = 23, FLOAT16 = 25, FLOAT32 = 26, FLOAT64 = 27 };

/* ---- writing ---- */

void hw_cbor_write_to(hw_cbor_writer *writer, void *buffer, size_t capacity) {
  writer->bytes = (uint8_t *)buffer;
  writer->capacity = capacity;
  writer->size = 0;
  writer->status = HW_OK;
}

/* Room for `size` bytes, or NULL: then nothing more is written. */
static uint8_t *room(hw_cbor_writer *writer, size_t size) {
  if (writer->status == HW_OK && size > writer->capacity - writer->size) writer->status = HW_FULL;
  if (writer->status != HW_OK) return NULL;
  writer->size += size;
  return writer->bytes + writer->size - size;
}

/* An initial byte with `size` bytes of big-endian argument behind it. */
static void head(hw_cbor_writer *writer, unsigned initial, uint64_t argument, unsigned size) {
  uint8_t *to = room(writer, 1u + size);
  if (to == NULL) return;
  *to = (uint8_t)initial;
  for (; size > 0; size--) {
    to[size] = (uint8_t)argument;
    argument >>= 8;
  }
}

static void write_head(hw_cbor_writer *writer, unsigned major, uint64_t argument) {
  if (argument < 24) head(writer, major | (unsigned)argument, 0, 0);
  else if (argument <= 0xff) head(writer, major | 24u, argument, 1);
  else if (argument <= 0xffff) head(writer, major | 25u, argument, 2);
  else if (argument <= 0xffffffffu) head(writer, major | 26u, argument, 4);
  else head(writer, major | 27u, argument, 8);
}

static void write_string(hw_cbor_writer *writer, unsigned major, const void *bytes, size_t size) {
  uint8_t *to;
  size_t before = writer->size;
  write_head(writer, major, size);
  to = room(writer, size);
  if (to != NULL && size > 0) memcpy(to, bytes, size);
  if (to == NULL) writer->size = before;
}

void hw_cbor_uint(hw_cbor_writer *writer, uint64_t value) { write_head(writer, MAJOR_UINT, value); }
void hw_cbor_nint(hw_cbor_writer *writer, uint64_t argument) { write_head(writer, MAJOR_NINT, argument); }
void hw_cbor_int(hw_cbor_writer *writer, int64_t value) {
  if (value >= 0) hw_cbor_uint(writer, (uint64_t)value);
  else hw_cbor_nint(writer, ~(uint64_t)value); /* -1 - value, in two's complement */
}
void hw_cbor_text(hw_cbor_writer *writer, const char *text) { hw_cbor_text_of(writer, text, strlen(text)); }
void hw_cbor_text_of(hw_cbor_writer *writer, const char *text, size_t size) { write_string(writer, MAJOR_TEXT, text, size); }
void hw_cbor_bytes(hw_cbor_writer *writer, const void *bytes, size_t size) { write_string(writer, MAJOR_BYTES, bytes, size); }
void hw_cbor_array(hw_cbor_writer *writer, uint32_t items) { write_head(writer, MAJOR_ARRAY, items); }
void hw_cbor_map(hw_cbor_writer *writer, uint32_t pairs) { write_head(writer, MAJOR_MAP, pairs); }
void hw_cbor_tag(hw_cbor_writer *writer, uint64_t tag) { write_head(writer, MAJOR_TAG, tag); }
void hw_cbor_bool(hw_cbor_writer *writer, int value) {
  head(writer, (unsigned)MAJOR_SIMPLE | (unsigned)(value ? SIMPLE_TRUE : SIMPLE_FALSE), 0, 0);
}
void hw_cbor_null(hw_cbor_writer *writer) { head(writer, MAJOR_SIMPLE | SIMPLE_NULL, 0, 0); }
void hw_cbor_undefined(hw_cbor_writer *writer) { head(writer, MAJOR_SIMPLE | SIMPLE_UNDEFINED, 0, 0); }

/* Floats are narrowed and widened on their bits: no floating-point arithmetic, so no soft-float library on small parts. */

/* Half precision if nothing is lost, single precision otherwise. */
static void write_float32_bits(hw_cbor_writer *writer, uint32_t bits) {
  uint32_t sign = (bits >> 16) & 0x8000u, fraction = bits & 0x7fffffu;
  int exponent = (int)((bits >> 23) & 0xffu) - 127;
  if (exponent == 128) { /* infinity, NaN */
    head(writer, MAJOR_SIMPLE | FLOAT16, fraction != 0 ? 0x7e00u : sign | 0x7c00u, 2);
  } else if ((bits & 0x7fffffffu) == 0) { /* zero keeps its sign */
    head(writer, MAJOR_SIMPLE | FLOAT16, sign, 2);
  } else if (exponent >= -14 && exponent <= 15 && (fraction & 0x1fffu) == 0) {
    head(writer, MAJOR_SIMPLE | FLOAT16, sign | (uint32_t)(exponent + 15) << 10 | fraction >> 13, 2);
  } else if (exponent >= -24 && exponent < -14) { /* a subnormal half: the leading one is written out */
    uint32_t whole = fraction | 0x800000u;
    unsigned shift = (unsigned)(-1 - exponent); /* 14..23 */
    if ((whole & ((1u << shift) - 1u)) == 0) head(writer, MAJOR_SIMPLE | FLOAT16, sign | whole >> shift, 2);
    else head(writer, MAJOR_SIMPLE | FLOAT32, bits, 4);
  } else {
    head(writer, MAJOR_SIMPLE | FLOAT32, bits, 4);
  }
}

void hw_cbor_float32(hw_cbor_writer *writer, float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  write_float32_bits(writer, bits);
}

void hw_cbor_float(hw_cbor_writer *writer, double value) {
  uint64_t bits, fraction;
  uint32_t sign;
  int exponent;
  memcpy(&bits, &value, sizeof bits);
  sign = (uint32_t)(bits >> 32) & 0x80000000u;
  fraction = bits & 0xfffffffffffffu;
  exponent = (int)((bits >> 52) & 0x7ffu) - 1023;
  if (exponent == 1024) {
    write_float32_bits(writer, fraction != 0 ? 0x7fc00000u : sign | 0x7f800000u);
  } else if ((bits << 1) == 0) {
    write_float32_bits(writer, sign);
  } else if (exponent >= -126 && exponent <= 127 && (fraction & 0x1fffffffu) == 0) {
    write_float32_bits(writer, sign | (uint32_t)(exponent + 127) << 23 | (uint32_t)(fraction >> 29));
  } else if (exponent >= -149 && exponent < -126) { /* a subnormal single */
    uint64_t whole = fraction | 0x10000000000000u;
    unsigned shift = (unsigned)(-97 - exponent); /* 30..52 */
    if ((whole & (((uint64_t)1 << shift) - 1u)) == 0) write_float32_bits(writer, sign | (uint32_t)(whole >> shift));
    else head(writer, MAJOR_SIMPLE | FLOAT64, bits, 8);
  } else {
    head(writer, MAJOR_SIMPLE | FLOAT64, bits, 8);
  }
}

/* ---- reading ---- */

void hw_cbor_read_from(hw_cbor_reader *reader, const void *bytes, size_t size) {
  reader->at = (const uint8_t *)bytes;
  reader->end = reader->at + size;
}

static uint64_t widen32(uint32_t bits) {
  uint64_t sign = (uint64_t)(bits & 0x80000000u) << 32;
  uint32_t exponent = (bits >> 23) & 0xffu, fraction = bits & 0x7fffffu;
  if (exponent == 0xff) return sign | 0x7ff0000000000000u | (uint64_t)fraction << 29;
  if (exponent == 0) {
    if (fraction == 0) return sign;
    for (exponent = 1; (fraction & 0x800000u) == 0; exponent--) fraction <<= 1; /* wraps below zero, added back below */
    fraction &= 0x7fffffu;
  }
  return sign | (uint64_t)(exponent + 896u) << 52 | (uint64_t)fraction << 29;
}

static uint64_t widen16(uint32_t bits) {
  uint32_t sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 0x1fu, fraction = bits & 0x3ffu;
  if (exponent == 0x1f) return widen32(sign | 0x7f800000u | fraction << 13);
  if (exponent == 0) {
    if (fraction == 0) return widen32(sign);
    for (exponent = 1; (fraction & 0x400u) == 0; exponent--) fraction <<= 1;
    fraction &= 0x3ffu;
  }
  return widen32(sign | (exponent + 112u) << 23 | fraction << 13);
}

hw_status hw_cbor_read(hw_cbor_reader *reader, hw_cbor_item *item) {
  const uint8_t *at = reader->at;
  size_t left = (size_t)(reader->end - at);
  unsigned major, info, size;
  uint64_t argument;
  if (left == 0) return HW_NONE;
  major = *at & 0xe0u;
  info = *at & 0x1fu;
  at++;
  left--;
  argument = info;
  if (info >= 24) {
    if (info > 27) return HW_CORRUPT; /* reserved, or of indefinite length */
    size = 1u << (info - 24u);
    if (left < size) return HW_CORRUPT;
    argument = 0;
    left -= size;
    for (; size > 0; size--) argument = argument << 8 | *at++;
  }
  item->bytes = NULL;
  if (major == MAJOR_SIMPLE) {
    if (info == FLOAT16) argument = widen16((uint32_t)argument);
    else if (info == FLOAT32) argument = widen32((uint32_t)argument);
    else if (info != FLOAT64 && (info < SIMPLE_FALSE || info > SIMPLE_UNDEFINED)) return HW_CORRUPT;
    item->type = info >= FLOAT16 ? HW_CBOR_FLOAT : (hw_cbor_type)(HW_CBOR_FALSE + (int)info - SIMPLE_FALSE);
  } else {
    /* A length or number in more bytes than it needs is not deterministic. */
    if (info >= 24 && argument < (info == 24 ? 24u : (uint64_t)1 << (8u << (info - 25u)))) return HW_CORRUPT;
    item->type = (hw_cbor_type)(major >> 5);
    if (major == MAJOR_BYTES || major == MAJOR_TEXT) {
      if (argument > left) return HW_CORRUPT;
      item->bytes = at;
      at += argument;
    } else if (major == MAJOR_ARRAY || major == MAJOR_MAP) {
      if (argument > (major == MAJOR_MAP ? left / 2 : left)) return HW_CORRUPT; /* every item takes a byte at least */
    }
  }
  item->argument = argument;
  reader->at = at;
  return HW_OK;
}

/* How many items stand directly inside this one. */
static uint64_t inside(const hw_cbor_item *item) {
  if (item->type == HW_CBOR_ARRAY) return item->argument;
  if (item->type == HW_CBOR_MAP) return item->argument * 2;
  return item->type == HW_CBOR_TAG ? 1 : 0;
}

hw_status hw_cbor_skip(hw_cbor_reader *reader) {
  hw_cbor_reader at = *reader;
  hw_cbor_item item;
  uint64_t owed = 1;
  while (owed > 0) {
    hw_status status = hw_cbor_read(&at, &item);
    if (status != HW_OK) return owed > 1 || at.at != reader->at ? HW_CORRUPT : status;
    owed += inside(&item) - 1; /* at most what the buffer has bytes: cannot overflow */
  }
  *reader = at;
  return HW_OK;
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
static int is_utf8(const uint8_t *at, uint64_t size) {
  const uint8_t *end = at + size;
  while (at < end) {
    unsigned first = *at++, more, low = 0x80, high = 0xbf;
    if (first < 0x80) continue;
    if (first < 0xc2 || first > 0xf4) return 0;
    more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    for (; more > 0; more--, low = 0x80, high = 0xbf)
      if (at == end || *at < low || *at++ > high) return 0;
  }
  return 1;
}

/* Whether the key from `key` to `key_end` sorts after the one before it (RFC 8949, 4.2.1: bytewise). */
static int sorts_after(const uint8_t *before, const uint8_t *before_end, const uint8_t *key, const uint8_t *key_end) {
  while (before < before_end && key < key_end && *before == *key) before++, key++;
  if (key == key_end) return 0;
  return before == before_end || *before < *key;
}

static hw_status check_item(hw_cbor_reader *reader, unsigned depth);

static hw_status check_map(hw_cbor_reader *reader, uint64_t pairs, unsigned depth) {
  const uint8_t *before = NULL, *before_end = NULL;
  for (; pairs > 0; pairs--) {
    const uint8_t *key = reader->at;
    hw_status status = check_item(reader, depth);
    if (status != HW_OK) return status;
    if (before != NULL && !sorts_after(before, before_end, key, reader->at)) return HW_CORRUPT;
    before = key;
    before_end = reader->at;
    status = check_item(reader, depth);
    if (status != HW_OK) return status;
  }
  return HW_OK;
}

/* The float in this item is in its shortest form: written again it is the same bytes. */
static int is_shortest_float(const hw_cbor_item *item, const uint8_t *from, const uint8_t *to) {
  uint8_t again[9];
  hw_cbor_writer writer;
  double value;
  memcpy(&value, &item->argument, sizeof value);
  hw_cbor_write_to(&writer, again, sizeof again);
  hw_cbor_float(&writer, value);
  return writer.size == (size_t)(to - from) && memcmp(again, from, writer.size) == 0;
}

static hw_status check_item(hw_cbor_reader *reader, unsigned depth) {
  hw_cbor_item item;
  const uint8_t *from = reader->at;
  uint64_t items;
  hw_status status = hw_cbor_read(reader, &item);
  if (status != HW_OK) return HW_CORRUPT;
  if (item.type == HW_CBOR_TEXT && !is_utf8(item.bytes, item.argument)) return HW_CORRUPT;
  if (item.type == HW_CBOR_FLOAT && !is_shortest_float(&item, from, reader->at)) return HW_CORRUPT;
  items = inside(&item);
  if (items > 0 && depth == 0) return HW_TOO_LONG;
  if (item.type == HW_CBOR_MAP) return check_map(reader, item.argument, depth - 1);
  for (; items > 0 && status == HW_OK; items--) status = check_item(reader, depth - 1);
  return status;
}

hw_status hw_cbor_check(const void *bytes, size_t size) {
  hw_cbor_reader reader;
  hw_status status;
  hw_cbor_read_from(&reader, bytes, size);
  status = check_item(&reader, HW_CBOR_DEPTH);
  return status == HW_OK && reader.at != reader.end ? HW_CORRUPT : status;
}

hw_status hw_cbor_as_int(const hw_cbor_item *item, int64_t *value) {
  if (item->type > HW_CBOR_NINT || item->argument > INT64_MAX) return HW_MISMATCH;
  *value = item->type == HW_CBOR_UINT ? (int64_t)item->argument : -1 - (int64_t)item->argument;
  return HW_OK;
}

hw_status hw_cbor_as_float(const hw_cbor_item *item, double *value) {
  if (item->type == HW_CBOR_FLOAT) memcpy(value, &item->argument, sizeof *value);
  else if (item->type == HW_CBOR_UINT) *value = (double)item->argument;
  else if (item->type == HW_CBOR_NINT) *value = -1.0 - (double)item->argument;
  else return HW_MISMATCH;
  return HW_OK;
}

int hw_cbor_is_text(const hw_cbor_item *item, const char *text) {
  size_t size = strlen(text);
  return item->type == HW_CBOR_TEXT && item->argument == size && memcmp(item->bytes, text, size) == 0;
}
