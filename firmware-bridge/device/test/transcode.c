/* Reads CBOR items of the other side, one a line in hexadecimal, with hw_cbor and writes them again with hw_cbor: what comes out has
 * to mean the same to the other side. A line that cannot be read comes back as "-". */
#include <stdio.h>
#include <string.h>

#include "../src/hw_cbor.h"

static void write_item(hw_cbor_writer *writer, const hw_cbor_item *item) {
  double value;
  switch (item->type) {
    case HW_CBOR_UINT: hw_cbor_uint(writer, item->argument); break;
    case HW_CBOR_NINT: hw_cbor_nint(writer, item->argument); break;
    case HW_CBOR_BYTES: hw_cbor_bytes(writer, item->bytes, (size_t)item->argument); break;
    case HW_CBOR_TEXT: hw_cbor_text_of(writer, (const char *)item->bytes, (size_t)item->argument); break;
    case HW_CBOR_ARRAY: hw_cbor_array(writer, (uint32_t)item->argument); break;
    case HW_CBOR_MAP: hw_cbor_map(writer, (uint32_t)item->argument); break;
    case HW_CBOR_TAG: hw_cbor_tag(writer, item->argument); break;
    case HW_CBOR_FALSE: hw_cbor_bool(writer, 0); break;
    case HW_CBOR_TRUE: hw_cbor_bool(writer, 1); break;
    case HW_CBOR_NULL: hw_cbor_null(writer); break;
    case HW_CBOR_UNDEFINED: hw_cbor_undefined(writer); break;
    case HW_CBOR_FLOAT:
      memcpy(&value, &item->argument, sizeof value);
      hw_cbor_float(writer, value);
      break;
  }
}

int main(void) {
  static char line[40000];
  static uint8_t in[20000], out[20000];
  while (fgets(line, sizeof line, stdin) != NULL) {
    size_t size = strcspn(line, "\r\n") / 2, i;
    hw_cbor_reader reader;
    hw_cbor_writer writer;
    hw_cbor_item item;
    hw_status status;
    for (i = 0; i < size; i++) {
      unsigned value = 0;
      sscanf(line + i * 2, "%2x", &value);
      in[i] = (uint8_t)value;
    }
    hw_cbor_read_from(&reader, in, size);
    hw_cbor_write_to(&writer, out, sizeof out);
    while ((status = hw_cbor_read(&reader, &item)) == HW_OK) write_item(&writer, &item);
    if (status != HW_NONE || writer.status != HW_OK) fputs("-", stdout);
    else
      for (i = 0; i < writer.size; i++) printf("%02x", out[i]);
    putchar('\n');
    fflush(stdout);
  }
  return 0;
}
