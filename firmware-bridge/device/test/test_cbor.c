#include "../src/hw_cbor.h"
#include "test.h"

static uint8_t buffer[512];
static hw_cbor_writer writer;

static void start(void) { hw_cbor_write_to(&writer, buffer, sizeof buffer); }

/* Compares what was written with hexadecimal text, and reads it back as one well-formed, deterministic item. */
static void expect(const char *hex) {
  size_t i, size = strlen(hex) / 2;
  CHECK(writer.status == HW_OK && writer.size == size);
  for (i = 0; i < size; i++) {
    unsigned value;
    CHECK(sscanf(hex + i * 2, "%2x", &value) == 1);
    CHECK(buffer[i] == value);
  }
  CHECK(hw_cbor_check(buffer, size) == HW_OK);
  start();
}

/* RFC 8949, appendix A: every example of a type that records have, of definite length. */
static void the_examples_of_the_rfc(void) {
  static const struct { uint64_t value; const char *hex; } uints[] = {
      {0, "00"}, {1, "01"}, {10, "0a"}, {23, "17"}, {24, "1818"}, {25, "1819"}, {100, "1864"}, {1000, "1903e8"},
      {1000000, "1a000f4240"}, {1000000000000u, "1b000000e8d4a51000"}, {UINT64_MAX, "1bffffffffffffffff"}};
  static const struct { int64_t value; const char *hex; } ints[] = {{-1, "20"}, {-10, "29"}, {-100, "3863"}, {-1000, "3903e7"}};
  static const struct { double value; const char *hex; } floats[] = {
      {0.0, "f90000"}, {-0.0, "f98000"}, {1.0, "f93c00"}, {1.1, "fb3ff199999999999a"}, {1.5, "f93e00"}, {65504.0, "f97bff"},
      {100000.0, "fa47c35000"}, {3.4028234663852886e+38, "fa7f7fffff"}, {1.0e+300, "fb7e37e43c8800759c"},
      {5.960464477539063e-8, "f90001"}, {0.00006103515625, "f90400"}, {-4.0, "f9c400"}, {-4.1, "fbc010666666666666"}};
  size_t i;
  double zero = 0.0;
  start();
  for (i = 0; i < sizeof uints / sizeof *uints; i++) hw_cbor_uint(&writer, uints[i].value), expect(uints[i].hex);
  for (i = 0; i < sizeof ints / sizeof *ints; i++) hw_cbor_int(&writer, ints[i].value), expect(ints[i].hex);
  for (i = 0; i < sizeof floats / sizeof *floats; i++) hw_cbor_float(&writer, floats[i].value), expect(floats[i].hex);
  hw_cbor_nint(&writer, UINT64_MAX), expect("3bffffffffffffffff");
  hw_cbor_float(&writer, 1 / zero), expect("f97c00");
  hw_cbor_float(&writer, -1 / zero), expect("f9fc00");
  hw_cbor_float(&writer, zero / zero), expect("f97e00");
  hw_cbor_bool(&writer, 0), expect("f4");
  hw_cbor_bool(&writer, 1), expect("f5");
  hw_cbor_null(&writer), expect("f6");
  hw_cbor_undefined(&writer), expect("f7");
  hw_cbor_tag(&writer, 0), hw_cbor_text(&writer, "2013-03-21T20:04:00Z"), expect("c074323031332d30332d32315432303a30343a30305a");
  hw_cbor_tag(&writer, 1), hw_cbor_uint(&writer, 1363896240), expect("c11a514b67b0");
  hw_cbor_tag(&writer, 1), hw_cbor_float(&writer, 1363896240.5), expect("c1fb41d452d9ec200000");
  hw_cbor_tag(&writer, 23), hw_cbor_bytes(&writer, "\1\2\3\4", 4), expect("d74401020304");
  hw_cbor_tag(&writer, 24), hw_cbor_bytes(&writer, "dIETF", 5), expect("d818456449455446");
  hw_cbor_tag(&writer, 32), hw_cbor_text(&writer, "http://www.example.com"), expect("d82076687474703a2f2f7777772e6578616d706c652e636f6d");
  hw_cbor_bytes(&writer, "", 0), expect("40");
  hw_cbor_bytes(&writer, "\1\2\3\4", 4), expect("4401020304");
  hw_cbor_text(&writer, ""), expect("60");
  hw_cbor_text(&writer, "a"), expect("6161");
  hw_cbor_text(&writer, "IETF"), expect("6449455446");
  hw_cbor_text(&writer, "\"\\"), expect("62225c");
  hw_cbor_text(&writer, "\xc3\xbc"), expect("62c3bc");
  hw_cbor_text(&writer, "\xe6\xb0\xb4"), expect("63e6b0b4");
  hw_cbor_text(&writer, "\xf0\x90\x85\x91"), expect("64f0908591");
  hw_cbor_array(&writer, 0), expect("80");
  hw_cbor_array(&writer, 3);
  for (i = 1; i <= 3; i++) hw_cbor_uint(&writer, i);
  expect("83010203");
  hw_cbor_array(&writer, 3), hw_cbor_uint(&writer, 1);
  hw_cbor_array(&writer, 2), hw_cbor_uint(&writer, 2), hw_cbor_uint(&writer, 3);
  hw_cbor_array(&writer, 2), hw_cbor_uint(&writer, 4), hw_cbor_uint(&writer, 5);
  expect("8301820203820405");
  hw_cbor_array(&writer, 25);
  for (i = 1; i <= 25; i++) hw_cbor_uint(&writer, i);
  expect("98190102030405060708090a0b0c0d0e0f101112131415161718181819");
  hw_cbor_map(&writer, 0), expect("a0");
  hw_cbor_map(&writer, 2), hw_cbor_uint(&writer, 1), hw_cbor_uint(&writer, 2), hw_cbor_uint(&writer, 3), hw_cbor_uint(&writer, 4);
  expect("a201020304");
  hw_cbor_map(&writer, 2), hw_cbor_text(&writer, "a"), hw_cbor_uint(&writer, 1), hw_cbor_text(&writer, "b");
  hw_cbor_array(&writer, 2), hw_cbor_uint(&writer, 2), hw_cbor_uint(&writer, 3);
  expect("a26161016162820203");
  hw_cbor_array(&writer, 2), hw_cbor_text(&writer, "a"), hw_cbor_map(&writer, 1), hw_cbor_text(&writer, "b"), hw_cbor_text(&writer, "c");
  expect("826161a161626163");
}

static void what_is_not_deterministic_is_refused(void) {
  static const struct { const char *bytes; size_t size; } bad[] = {
      {"\x18\x17", 2}, {"\x19\x00\xff", 3}, {"\x1a\x00\x00\xff\xff", 5}, {"\x1b\0\0\0\0\xff\xff\xff\xff", 9}, /* too long a form */
      {"\x5f\x41\x01\xff", 4}, {"\x9f\xff", 2}, {"\xbf\xff", 2},            /* indefinite */
      {"\xfa\x3f\x80\0\0", 5}, {"\xfb\x3f\xf0\0\0\0\0\0\0", 9}, {"\xf9\x7e\x01", 3}, /* 1.0 as single and double, another NaN */
      {"\xa2\x61\x62\x01\x61\x61\x02", 7}, {"\xa2\x01\x01\x01\x02", 5},      /* keys out of order, a key twice */
      {"\x61\xff", 2}, {"\x62\xc0\x80", 3}, {"\x63\xed\xa0\x80", 4},          /* not UTF-8 */
      {"\xf8\x18", 2}, {"\xf0", 1}, {"\x1c", 1}, {"\x01\x02", 2}, {"", 0}};
  uint8_t deep[32];
  size_t i;
  for (i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(hw_cbor_check(bad[i].bytes, bad[i].size) == HW_CORRUPT);
  memset(deep, 0x81, sizeof deep);
  deep[31] = 0;
  CHECK(hw_cbor_check(deep + 31 - HW_CBOR_DEPTH, HW_CBOR_DEPTH + 1) == HW_OK);
  CHECK(hw_cbor_check(deep + 30 - HW_CBOR_DEPTH, HW_CBOR_DEPTH + 2) == HW_TOO_LONG);
}

static void every_way_to_cut_an_item_short_is_noticed(void) {
  size_t size;
  start();
  hw_cbor_map(&writer, 2), hw_cbor_text(&writer, "a"), hw_cbor_float(&writer, 1.1), hw_cbor_text(&writer, "b");
  hw_cbor_array(&writer, 2), hw_cbor_uint(&writer, 1000), hw_cbor_bytes(&writer, "xyz", 3);
  for (size = 0; size < writer.size; size++) {
    hw_cbor_reader reader;
    CHECK(hw_cbor_check(buffer, size) == HW_CORRUPT);
    hw_cbor_read_from(&reader, buffer, size);
    CHECK(hw_cbor_skip(&reader) == (size == 0 ? HW_NONE : HW_CORRUPT));
  }
}

static void a_full_buffer_stays_what_it_was(void) {
  uint8_t small[6];
  hw_cbor_write_to(&writer, small, sizeof small);
  hw_cbor_text(&writer, "abc");
  hw_cbor_text(&writer, "too long for it");
  CHECK(writer.status == HW_FULL && writer.size == 4);
  hw_cbor_uint(&writer, 1);
  CHECK(writer.size == 4);
}

static void values_come_with_their_range(void) {
  hw_cbor_reader reader;
  hw_cbor_item item;
  int64_t integer = 0;
  double number = 0;
  start();
  hw_cbor_int(&writer, INT64_MIN), hw_cbor_nint(&writer, UINT64_MAX), hw_cbor_float32(&writer, 21.5f), hw_cbor_text(&writer, "x");
  hw_cbor_read_from(&reader, buffer, writer.size);
  CHECK(hw_cbor_read(&reader, &item) == HW_OK && hw_cbor_as_int(&item, &integer) == HW_OK && integer == INT64_MIN);
  CHECK(hw_cbor_read(&reader, &item) == HW_OK && hw_cbor_as_int(&item, &integer) == HW_MISMATCH);
  CHECK(hw_cbor_as_float(&item, &number) == HW_OK && number < -1.8e19);
  CHECK(hw_cbor_read(&reader, &item) == HW_OK && hw_cbor_as_float(&item, &number) == HW_OK && number > 21.4 && number < 21.6);
  CHECK(hw_cbor_read(&reader, &item) == HW_OK && hw_cbor_is_text(&item, "x") && !hw_cbor_is_text(&item, "y"));
  CHECK(hw_cbor_read(&reader, &item) == HW_NONE);
}

int main(void) {
  the_examples_of_the_rfc();
  what_is_not_deterministic_is_refused();
  every_way_to_cut_an_item_short_is_noticed();
  a_full_buffer_stays_what_it_was();
  values_come_with_their_range();
  printf("cbor: %lu checks passed\n", checks);
  return 0;
}
