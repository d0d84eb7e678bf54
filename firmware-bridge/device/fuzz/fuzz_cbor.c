/* Any bytes: the reader ends inside the buffer, and what it calls deterministic is written again as the same bytes. */
#include "../src/hw_cbor.h"
#include "../test/test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hw_cbor_reader reader;
  hw_cbor_item item;
  hw_status status;
  hw_cbor_read_from(&reader, data, size);
  while ((status = hw_cbor_read(&reader, &item)) == HW_OK) {
    int64_t integer;
    double number;
    hw_cbor_as_int(&item, &integer);
    hw_cbor_as_float(&item, &number);
    CHECK(reader.at <= reader.end && (item.bytes == NULL || item.bytes + item.argument <= reader.end));
  }
  CHECK(status != HW_NONE || reader.at == reader.end);
  hw_cbor_read_from(&reader, data, size);
  if (hw_cbor_check(data, size) == HW_OK) CHECK(hw_cbor_skip(&reader) == HW_OK && reader.at == reader.end);
  return 0;
}
