#include "../src/hw_mqtt.h"
#include "test.h"

static test_flash flash;
static uint64_t clock_ticks;
static uint8_t to_broker[1 << 16], to_client[1 << 12];
static size_t to_broker_size, to_client_size;
static unsigned commands;
static int is_cut;

static uint64_t ticks(void *context) {
  (void)context;
  return clock_ticks;
}
static int line_send(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  if (is_cut) return -1;
  if (size > 5) size = 5; /* in small pieces */
  memcpy(to_broker + to_broker_size, bytes, size);
  to_broker_size += size;
  return (int)size;
}
static int line_receive(void *context, uint8_t *bytes, size_t size) {
  (void)context;
  if (is_cut) return -1;
  if (size > 3) size = 3;
  if (size > to_client_size) size = to_client_size;
  memcpy(bytes, to_client, size);
  to_client_size -= size;
  memmove(to_client, to_client + size, to_client_size);
  return (int)size;
}
static void on_command(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  CHECK(size == 2 && memcmp(bytes, "go", 2) == 0);
  commands++;
}
static hw_mqtt_port port = {NULL, 5, 10, 1000, "dev-1", NULL, NULL, "d/dev-1/readings", "d/dev-1/commands",
                            ticks, line_send, line_receive, on_command};

static void say(const char *bytes, size_t size) {
  memcpy(to_client + to_client_size, bytes, size);
  to_client_size += size;
}
#define SAY(text) say(text, sizeof(text) - 1)

static hw_status poll_many(hw_mqtt *mqtt) {
  int i;
  hw_status status = HW_OK;
  for (i = 0; i < 500 && status == HW_OK; i++) status = hw_mqtt_poll(mqtt);
  return status;
}

/* The next packet the client sent: its type, its body behind it. */
static uint8_t take(uint8_t *body, size_t *size) {
  uint8_t type = to_broker[0];
  size_t at = 2, length = to_broker[1];
  if (to_broker_size == 0) return 0;
  if (length >= 128) length = (length & 127u) | (size_t)to_broker[at++] << 7;
  CHECK(at + length <= to_broker_size);
  memcpy(body, to_broker + at, length);
  *size = length;
  to_broker_size -= at + length;
  memmove(to_broker, to_broker + at + length, to_broker_size);
  return type;
}

static void start(hw_ring *ring, hw_mqtt *mqtt, uint8_t version, uint32_t readings) {
  uint8_t record[200] = {1};
  test_flash_init(&flash, 4096, 4);
  clock_ticks = 1;
  to_broker_size = to_client_size = 0;
  commands = 0;
  is_cut = 0;
  port.version = version;
  CHECK(hw_ring_mount(ring, &flash.port, 0xe1) == HW_OK);
  while (readings-- > 0) CHECK(hw_ring_push(ring, 0, record, sizeof record, NULL) == HW_OK);
  CHECK(hw_mqtt_init(mqtt, &port, ring) == HW_OK);
  hw_mqtt_open(mqtt);
}

static void readings_go_out_and_pubacks_free_them(uint8_t version) {
  hw_ring ring;
  hw_mqtt mqtt;
  uint8_t body[512];
  size_t size;
  unsigned i;
  start(&ring, &mqtt, version, 12);
  CHECK(poll_many(&mqtt) == HW_OK);
  CHECK(take(body, &size) == 0x10 && memcmp(body, "\0\4MQTT", 6) == 0 && body[6] == version && body[7] == 2);
  CHECK(take(body, &size) == 0); /* nothing before CONNACK */
  if (version == 5) SAY("\x20\x06\0\0\3\x21\0\x05"); /* receive maximum 5 */
  else SAY("\x20\x02\0\0");
  CHECK(poll_many(&mqtt) == HW_OK);
  CHECK(take(body, &size) == 0x82);
  for (i = 1; i <= (version == 5 ? 5u : 8u); i++) {
    CHECK(take(body, &size) == 0x32 && body[1] == 16 && memcmp(body + 2, "d/dev-1/readings", 16) == 0);
    CHECK((unsigned)body[18] * 256 + body[19] == i);
    if (version == 4) CHECK(size == 220 && body[20] == 1);
    else CHECK(body[20] == size - 221 && body[20] < 0x80 && memcmp(body + 21, "\x26\0\6device\0\5dev-1", 16) == 0);
  }
  CHECK(take(body, &size) == 0);
  SAY("\x40\x02\0\x02"); /* out of order: the first is still open */
  CHECK(poll_many(&mqtt) == HW_OK && ring.acked == 0);
  SAY("\x40\x02\0\x01");
  CHECK(poll_many(&mqtt) == HW_OK && ring.acked == 2);
  CHECK(take(body, &size) == 0x32 && take(body, &size) == 0x32 && take(body, &size) == 0);
}

static void a_lost_connection_sends_again_what_was_not_acknowledged(void) {
  hw_ring ring;
  hw_mqtt mqtt;
  uint8_t body[512];
  size_t size;
  start(&ring, &mqtt, 4, 3);
  SAY("\x20\x02\0\0");
  CHECK(poll_many(&mqtt) == HW_OK);
  SAY("\x40\x02\0\x01");
  CHECK(poll_many(&mqtt) == HW_OK && ring.acked == 1);
  is_cut = 1;
  CHECK(poll_many(&mqtt) == HW_NONE && mqtt.state == HW_MQTT_CLOSED);
  is_cut = 0;
  to_broker_size = 0;
  hw_mqtt_open(&mqtt);
  SAY("\x20\x02\0\0");
  CHECK(poll_many(&mqtt) == HW_OK);
  CHECK(take(body, &size) == 0x10 && take(body, &size) == 0x82);
  CHECK(take(body, &size) == 0x32 && take(body, &size) == 0x32 && take(body, &size) == 0);
}

static void commands_are_handed_over_and_acknowledged(void) {
  hw_ring ring;
  hw_mqtt mqtt;
  uint8_t body[512];
  size_t size;
  start(&ring, &mqtt, 5, 0);
  SAY("\x20\x03\0\0\0");
  SAY("\x32\x08\0\1c\0\x09\0go");
  CHECK(poll_many(&mqtt) == HW_OK && commands == 1);
  CHECK(take(body, &size) == 0x10 && take(body, &size) == 0x82);
  CHECK(memcmp(body, "\xff\xff\0\0\x10" "d/dev-1/commands\1", 22) == 0);
  CHECK(take(body, &size) == 0x40 && size == 2 && body[1] == 9);
}

static void silence_pings_and_then_gives_up(void) {
  hw_ring ring;
  hw_mqtt mqtt;
  uint8_t body[512];
  size_t size;
  start(&ring, &mqtt, 4, 0);
  SAY("\x20\x02\0\0");
  CHECK(poll_many(&mqtt) == HW_OK && take(body, &size) == 0x10 && take(body, &size) == 0x82);
  clock_ticks += 8000;
  CHECK(poll_many(&mqtt) == HW_OK && take(body, &size) == 0xc0 && size == 0);
  SAY("\xd0\0");
  CHECK(poll_many(&mqtt) == HW_OK);
  clock_ticks += 8000;
  CHECK(poll_many(&mqtt) == HW_OK && take(body, &size) == 0xc0);
  clock_ticks += 8000;
  CHECK(poll_many(&mqtt) == HW_NONE);
}

static void refusals_and_nonsense_end_the_connection(void) {
  hw_ring ring;
  hw_mqtt mqtt;
  start(&ring, &mqtt, 4, 1);
  SAY("\x20\x02\0\5");
  CHECK(poll_many(&mqtt) == HW_MISMATCH && mqtt.reason == 5);
  start(&ring, &mqtt, 5, 1);
  SAY("\x20\x03\0\0\0\x40\x03\0\1\x97"); /* quota exceeded: the reading stays */
  CHECK(poll_many(&mqtt) != HW_OK && ring.acked == 0);
  start(&ring, &mqtt, 5, 1);
  SAY("\x20\xff\xff\xff\xff\x01");
  CHECK(poll_many(&mqtt) == HW_CORRUPT);
  start(&ring, &mqtt, 5, 1);
  SAY("\x20\x03\0\0\0\x40\x02\0\x63"); /* a PUBACK for nothing */
  CHECK(poll_many(&mqtt) == HW_CORRUPT);
}

static void packet_ids_go_round(void) {
  hw_ring ring;
  hw_mqtt mqtt;
  unsigned i;
  char puback[4] = {0x40, 2, 0, 0};
  start(&ring, &mqtt, 4, 12);
  SAY("\x20\x02\0\0");
  mqtt.next_id = 0xfffc;
  CHECK(poll_many(&mqtt) == HW_OK && mqtt.in_flight == 8 && mqtt.next_id == 6);
  for (i = 0; i < 8; i++) {
    unsigned id = i < 3 ? 0xfffc + i : i - 2;
    puback[2] = (char)(id >> 8);
    puback[3] = (char)id;
    say(puback, 4);
    CHECK(poll_many(&mqtt) == HW_OK && ring.acked == i + 1);
  }
}

int main(void) {
  readings_go_out_and_pubacks_free_them(4);
  readings_go_out_and_pubacks_free_them(5);
  a_lost_connection_sends_again_what_was_not_acknowledged();
  commands_are_handed_over_and_acknowledged();
  silence_pings_and_then_gives_up();
  refusals_and_nonsense_end_the_connection();
  packet_ids_go_round();
  printf("mqtt: %lu checks passed, hw_mqtt is %u bytes\n", checks, (unsigned)sizeof(hw_mqtt));
  return 0;
}
