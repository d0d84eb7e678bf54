#include "../src/hw_serial.h"
#include "test.h"

static test_flash flash;
static uint64_t clock_ticks;
static uint8_t line[1 << 16];
static size_t line_size, line_room;
static uint32_t executed;

static uint64_t ticks(void *context) {
  (void)context;
  return clock_ticks;
}
static size_t line_write(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  if (size > line_room) size = line_room;
  memcpy(line + line_size, bytes, size);
  line_size += size;
  line_room -= size;
  return size;
}
static uint8_t on_command(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  CHECK(size == 2 && bytes[0] == 'g');
  executed++;
  return 5;
}
static const hw_serial_port port = {NULL, "dev-1", "thermo", 1000, ticks, line_write, on_command};

static void give(hw_serial *serial, uint8_t *frame, size_t body) {
  size_t size = hw_frame_seal(frame, body), i;
  for (i = 0; i < size; i++) hw_serial_receive(serial, frame[i]);
}

static void give_welcome(hw_serial *serial, uint32_t last, uint8_t window) {
  uint8_t frame[HW_FRAME_ENCODED] = {0};
  frame[1] = HW_WELCOME;
  frame[2] = 1;
  hw_put32(frame + 3, serial->ring->epoch);
  hw_put32(frame + 7, last);
  frame[11] = window;
  hw_put64(frame + 12, 1700000000000u);
  give(serial, frame, 19);
}

static void give_ack(hw_serial *serial, uint8_t type, uint32_t acked, uint32_t received, uint32_t epoch) {
  uint8_t frame[HW_FRAME_ENCODED] = {0};
  frame[1] = type;
  hw_put32(frame + 2, epoch);
  hw_put32(frame + 6, acked);
  hw_put32(frame + 10, received);
  frame[14] = 8;
  give(serial, frame, 14);
}

/* Polls and opens the next frame that was sent; 0 when there is none. */
static size_t take(hw_serial *serial, uint8_t *body) {
  size_t end = 0;
  line_room = sizeof line - line_size;
  hw_serial_poll(serial);
  if (line_size == 0) return 0;
  while (line[end] != 0) end++;
  CHECK(end <= HW_FRAME_ENCODED);
  memcpy(body, line, end);
  line_size -= end + 1;
  memmove(line, line + end + 1, line_size);
  end = hw_frame_open(body, end);
  CHECK(end > 0);
  return end;
}

static void start(hw_ring *ring, hw_serial *serial, uint32_t readings) {
  uint8_t record[20] = {1};
  test_flash_init(&flash, 1024, 4);
  line_size = 0;
  clock_ticks = 1;
  executed = 0;
  CHECK(hw_ring_mount(ring, &flash.port, 0xe1) == HW_OK);
  while (readings-- > 0) CHECK(hw_ring_push(ring, hw_ring_stamp(ring, 7), record, sizeof record, NULL) == HW_OK);
  CHECK(hw_serial_init(serial, &port, ring) == HW_OK);
}

static uint32_t take_data(hw_serial *serial, uint8_t *back) {
  uint8_t body[HW_FRAME_ENCODED];
  size_t size = take(serial, body);
  if (size == 0) return 0;
  CHECK(body[0] == HW_DATA && size == 34);
  if (back != NULL) *back = body[1];
  return hw_get32(body + 2);
}

static void nothing_is_sent_before_the_welcome(void) {
  hw_ring ring;
  hw_serial serial;
  uint8_t body[HW_FRAME_ENCODED];
  start(&ring, &serial, 3);
  CHECK(take(&serial, body) == 27 + 6 + 7 && body[0] == HW_HELLO && memcmp(body + 28, "dev-1", 5) == 0);
  CHECK(take(&serial, body) == 0);
  clock_ticks += 1000;
  CHECK(take(&serial, body) > 0 && body[0] == HW_HELLO);
  give_welcome(&serial, 0, 8);
  CHECK(take_data(&serial, NULL) == 1);
}

static void the_window_holds_and_acknowledgements_move_it(void) {
  hw_ring ring;
  hw_serial serial;
  uint8_t body[HW_FRAME_ENCODED], back;
  uint32_t i;
  start(&ring, &serial, 20);
  take(&serial, body);
  give_welcome(&serial, 0, 8);
  for (i = 1; i <= 8; i++) {
    CHECK(take_data(&serial, &back) == i);
    CHECK(back == (i == 1 ? 0 : 1));
  }
  CHECK(take_data(&serial, NULL) == 0);
  give_ack(&serial, HW_ACK, 3, 8, 0xe1);
  CHECK(ring.acked == 3);
  for (; i <= 11; i++) CHECK(take_data(&serial, NULL) == i);
  CHECK(take_data(&serial, NULL) == 0);
}

static void a_nack_goes_back(void) {
  hw_ring ring;
  hw_serial serial;
  uint8_t body[HW_FRAME_ENCODED];
  uint32_t i;
  start(&ring, &serial, 6);
  take(&serial, body);
  give_welcome(&serial, 0, 8);
  for (i = 1; i <= 6; i++) CHECK(take_data(&serial, NULL) == i);
  give_ack(&serial, HW_NACK, 1, 3, 0xe1);
  for (i = 4; i <= 6; i++) CHECK(take_data(&serial, NULL) == i);
  CHECK(take_data(&serial, NULL) == 0);
}

static void silence_is_answered_with_a_retry_and_then_a_greeting(void) {
  hw_ring ring;
  hw_serial serial;
  uint8_t body[HW_FRAME_ENCODED];
  uint32_t i, hellos = 0;
  start(&ring, &serial, 2);
  take(&serial, body);
  give_welcome(&serial, 0, 8);
  CHECK(take_data(&serial, NULL) == 1 && take_data(&serial, NULL) == 2 && take_data(&serial, NULL) == 0);
  clock_ticks += 500;
  CHECK(take_data(&serial, NULL) == 1 && take_data(&serial, NULL) == 2);
  for (i = 0; i < 300; i++) {
    clock_ticks += 500;
    while (take(&serial, body) > 0) hellos += body[0] == HW_HELLO;
  }
  CHECK(serial.state == HW_SERIAL_GREETING && hellos > 3);
}

static void an_acknowledgement_of_another_epoch_is_ignored(void) {
  hw_ring ring;
  hw_serial serial;
  uint8_t body[HW_FRAME_ENCODED];
  start(&ring, &serial, 2);
  take(&serial, body);
  give_welcome(&serial, 0, 8);
  take_data(&serial, NULL);
  give_ack(&serial, HW_ACK, 1, 1, 0xbad);
  CHECK(ring.acked == 0);
  give_ack(&serial, HW_ACK, 1, 1, 0xe1);
  CHECK(ring.acked == 1);
}

static void a_welcome_that_knows_more_is_believed(void) {
  hw_ring ring;
  hw_serial serial;
  uint8_t body[HW_FRAME_ENCODED], record[3] = {0};
  uint32_t sequence;
  start(&ring, &serial, 2);
  take(&serial, body);
  give_welcome(&serial, 41, 8);
  CHECK(ring.acked == 41);
  CHECK(take_data(&serial, NULL) == 0);
  CHECK(hw_ring_push(&ring, 0, record, 3, &sequence) == HW_OK && sequence == 42);
}

static void a_command_is_carried_out_once_and_its_result_repeated(void) {
  hw_ring ring;
  hw_serial serial;
  uint8_t frame[HW_FRAME_ENCODED], body[HW_FRAME_ENCODED];
  int i;
  start(&ring, &serial, 0);
  take(&serial, body);
  give_welcome(&serial, 0, 8);
  for (i = 0; i < 3; i++) {
    frame[1] = HW_COMMAND;
    hw_put32(frame + 2, 99);
    frame[6] = 'g';
    frame[7] = 'o';
    give(&serial, frame, 7);
    CHECK(take(&serial, body) == 6 && body[0] == HW_RESULT && hw_get32(body + 1) == 99 && body[5] == 5);
  }
  CHECK(executed == 1);
}

static void pings_are_answered_with_the_ticks_and_time_is_kept(void) {
  hw_ring ring;
  hw_serial serial;
  uint8_t frame[HW_FRAME_ENCODED], body[HW_FRAME_ENCODED];
  start(&ring, &serial, 0);
  take(&serial, body);
  CHECK(hw_serial_time(&serial) == 0);
  give_welcome(&serial, 0, 8);
  frame[1] = HW_PING;
  hw_put32(frame + 2, 5);
  give(&serial, frame, 5);
  clock_ticks += 2500;
  CHECK(take(&serial, body) == 13 && body[0] == HW_PONG && hw_get32(body + 1) == 5);
  CHECK(hw_get64(body + 5) == hw_ring_stamp(&ring, clock_ticks));
  CHECK(hw_serial_time(&serial) == 1700000002500u);
}

static void noise_costs_frames_and_nothing_else(void) {
  hw_ring ring;
  hw_serial serial;
  uint8_t body[HW_FRAME_ENCODED];
  uint32_t i, seed = 5;
  start(&ring, &serial, 2);
  for (i = 0; i < 100000; i++) hw_serial_receive(&serial, (uint8_t)random_next(&seed));
  hw_serial_receive(&serial, 0);
  take(&serial, body);
  give_welcome(&serial, 0, 8);
  CHECK(take_data(&serial, NULL) == 1 && ring.acked == 0 && serial.bad_frames > 100);
}

static void a_slow_line_gets_every_byte_once(void) {
  hw_ring ring;
  hw_serial serial;
  uint8_t body[HW_FRAME_ENCODED];
  size_t end;
  start(&ring, &serial, 1);
  while (line_size < 46) {
    line_room = 3;
    hw_serial_poll(&serial);
  }
  for (end = 0; line[end] != 0; end++) body[end] = line[end];
  CHECK(hw_frame_open(body, end) == 40);
}

static void frames_survive_every_content(void) {
  uint8_t frame[HW_FRAME_ENCODED], body[HW_FRAME_ENCODED];
  uint32_t size, i, round, seed = 3;
  for (size = 1; size <= HW_FRAME_BODY; size++)
    for (round = 0; round < 8; round++) {
      const uint32_t values = round < 2 ? 1 : round < 5 ? 3 : 256; /* all zeros, all ones, many zeros, anything */
      for (i = 0; i < size; i++) body[i] = (uint8_t)(random_next(&seed) % values + (round == 1 ? 255 : 0));
      memcpy(frame + 1, body, size);
      CHECK(hw_frame_seal(frame, size) == size + 6 && frame[size + 5] == 0);
      for (i = 0; i < size + 5; i++) CHECK(frame[i] != 0);
      CHECK(hw_frame_open(frame, size + 5) == size && memcmp(frame, body, size) == 0);
    }
}

int main(void) {
  CHECK(hw_crc32c(0, "123456789", 9) == 0xe3069283u);
  frames_survive_every_content();
  nothing_is_sent_before_the_welcome();
  the_window_holds_and_acknowledgements_move_it();
  a_nack_goes_back();
  silence_is_answered_with_a_retry_and_then_a_greeting();
  an_acknowledgement_of_another_epoch_is_ignored();
  a_welcome_that_knows_more_is_believed();
  a_command_is_carried_out_once_and_its_result_repeated();
  pings_are_answered_with_the_ticks_and_time_is_kept();
  noise_costs_frames_and_nothing_else();
  a_slow_line_gets_every_byte_once();
  printf("serial: %lu checks passed, hw_serial is %u bytes, hw_ring %u\n", checks, (unsigned)sizeof(hw_serial),
         (unsigned)sizeof(hw_ring));
  return 0;
}
