/* Any bytes from the broker, in any pieces, in both versions. */
#include "../src/hw_mqtt.h"
#include "../test/test.h"

static test_flash flash;
static const uint8_t *input;
static size_t left;
static uint64_t clock_ticks;
static uint64_t ticks(void *context) {
  (void)context;
  return clock_ticks++;
}
static int line_send(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  (void)bytes;
  return (int)size;
}
static int line_receive(void *context, uint8_t *bytes, size_t size) {
  (void)context;
  if (size > 37) size = 37;
  if (size > left) size = left;
  memcpy(bytes, input, size);
  input += size;
  left -= size;
  return (int)size;
}
static void on_command(void *context, const uint8_t *bytes, size_t size) {
  uint8_t copy[HW_MQTT_PACKET];
  (void)context;
  CHECK(size <= sizeof copy);
  memcpy(copy, bytes, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  hw_mqtt_port port = {NULL, 5, 10, 1000, "d", "u", "p", "t", "c", ticks, line_send, line_receive, on_command};
  hw_ring ring;
  hw_mqtt mqtt;
  uint8_t record[20] = {1};
  int i;
  if (size < 2) return 0;
  port.version = (data[0] & 1) != 0 ? 5 : 4;
  test_flash_init(&flash, 512, 3);
  CHECK(hw_ring_mount(&ring, &flash.port, 0) == HW_OK && hw_mqtt_init(&mqtt, &port, &ring) == HW_OK);
  for (i = 0; i < 9; i++) hw_ring_push(&ring, 0, record, sizeof record, NULL);
  hw_mqtt_open(&mqtt);
  if ((data[0] & 2) != 0) mqtt.state = HW_MQTT_ONLINE;
  input = data + 1;
  left = size - 1;
  for (i = 0; i < 200 && hw_mqtt_poll(&mqtt) == HW_OK; i++) CHECK(ring.acked < ring.next && mqtt.in_flight <= HW_MQTT_WINDOW);
  return 0;
}
