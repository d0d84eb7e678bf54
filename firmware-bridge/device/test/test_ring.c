#include "test.h"

/* What must have been kept, written down outside of the flash: per sequence number the reading, and how far it got. */
enum { MANY = 4096 };
typedef struct oracle {
  uint8_t state[MANY]; /* 0 never seen, 1 begun, 2 stored, 3 acknowledged */
  uint32_t content[MANY];
  uint32_t acked;
} oracle;

static uint32_t fill(uint8_t *record, uint32_t content) {
  uint32_t i, size = 4 + content % 61;
  hw_put32(record, content);
  for (i = 4; i < size; i++) record[i] = (uint8_t)(content * 31 + i);
  return size;
}

/* Reads the whole ring and compares: everything stored and not acknowledged is there, in order, byte for byte. */
static void verify(hw_ring *ring, oracle *known) {
  hw_entry entry;
  uint8_t record[HW_RECORD_MAX], expected[HW_RECORD_MAX];
  uint32_t before = 0, sequence;
  memset(&entry, 0, sizeof entry);
  while (hw_ring_next(ring, &entry) == HW_OK) {
    CHECK(entry.sequence > before);
    CHECK(hw_ring_read(ring, &entry, record) == HW_OK);
    CHECK(entry.sequence < MANY && known->state[entry.sequence] != 0);
    CHECK(entry.size == fill(expected, known->content[entry.sequence]));
    CHECK(memcmp(record, expected, entry.size) == 0);
    for (sequence = before + 1; sequence < entry.sequence; sequence++) CHECK(known->state[sequence] != 2);
    before = entry.sequence;
    if (known->state[before] == 1) known->state[before] = 2; /* it was written after all: from now on it has to stay */
  }
  for (sequence = before + 1; sequence < MANY; sequence++) CHECK(known->state[sequence] != 2);
}

/* Pushes and acknowledges until the power goes or `steps` are done. */
static void work(hw_ring *ring, test_flash *flash, oracle *known, uint32_t steps, uint32_t *content) {
  uint8_t record[HW_RECORD_MAX];
  uint32_t i;
  for (i = 0; i < steps && !flash->is_dead; i++) {
    uint32_t sequence = ring->next;
    hw_status status;
    if (i % 7 == 6) {
      uint32_t to = ring->acked + 1 + (*content % 9);
      if (to >= ring->next) to = ring->next - 1;
      hw_ring_ack(ring, to);
      for (; known->acked < to; known->acked++) known->state[known->acked + 1] = 3;
      continue;
    }
    CHECK(sequence < MANY);
    CHECK(known->state[sequence] <= 1); /* a number whose reading was ever readable is not given out again */
    known->content[sequence] = ++*content;
    known->state[sequence] = 1;
    status = hw_ring_push(ring, hw_ring_stamp(ring, i), record, fill(record, *content), &sequence);
    if (status == HW_OK) known->state[sequence] = 2;
    if (status == HW_FULL) known->state[sequence] = 0;
    CHECK(status == HW_OK || status == HW_FULL || flash->is_dead);
  }
}

static test_flash flash;
static oracle known;

static uint32_t run(uint32_t cut_at, uint32_t second_cut, uint32_t seed) {
  hw_ring ring;
  uint32_t content = 0, operations;
  test_flash_init(&flash, 512, 4);
  memset(&known, 0, sizeof known);
  flash.seed = seed;
  flash.cut_at = cut_at;
  if (hw_ring_mount(&ring, &flash.port, 0x1234) == HW_OK) work(&ring, &flash, &known, 150, &content);
  operations = flash.operations;
  test_flash_power_up(&flash);
  flash.cut_at = second_cut == 0 ? 0 : flash.operations + second_cut;
  if (hw_ring_mount(&ring, &flash.port, 0x1234) == HW_OK) {
    verify(&ring, &known);
    work(&ring, &flash, &known, 60, &content);
  }
  test_flash_power_up(&flash);
  CHECK(hw_ring_mount(&ring, &flash.port, 0x1234) == HW_OK);
  verify(&ring, &known);
  work(&ring, &flash, &known, 40, &content);
  verify(&ring, &known);
  return operations;
}

static void survives_a_power_cut_at_every_operation(void) {
  uint32_t cut, seed, total = run(0, 0, 1);
  for (cut = 1; cut <= total; cut++)
    for (seed = 1; seed <= 12; seed++) run(cut, seed <= 4 ? 0 : (cut * 7 + seed) % 97 + 1, seed * 7919);
  printf("ring: %u operations, each cut 12 ways, two thirds of them cut again later\n", total);
}

static void keeps_order_and_content_over_many_laps(void) {
  hw_ring ring;
  uint32_t i, sector, content = 0;
  test_flash_init(&flash, 512, 5);
  memset(&known, 0, sizeof known);
  CHECK(hw_ring_mount(&ring, &flash.port, 7) == HW_OK);
  for (i = 0; i < 60; i++) {
    work(&ring, &flash, &known, 40, &content);
    hw_ring_ack(&ring, ring.next - 1);
    for (; known.acked < ring.next - 1; known.acked++) known.state[known.acked + 1] = 3;
    verify(&ring, &known);
  }
  for (sector = 1; sector < 5; sector++) /* all wear alike */
    CHECK(flash.erases[sector] + 1 >= flash.erases[0] && flash.erases[0] + 1 >= flash.erases[sector]);
}

static void a_full_ring_refuses_or_overwrites(void) {
  hw_ring ring;
  hw_entry entry;
  uint8_t record[40] = {1};
  uint32_t pushed = 0;
  test_flash_init(&flash, 512, 3);
  CHECK(hw_ring_mount(&ring, &flash.port, 7) == HW_OK);
  while (hw_ring_push(&ring, 0, record, sizeof record, NULL) == HW_OK) pushed++;
  CHECK(pushed > 10);
  CHECK(hw_ring_push(&ring, 0, record, sizeof record, NULL) == HW_FULL);
  memset(&entry, 0, sizeof entry);
  CHECK(hw_ring_next(&ring, &entry) == HW_OK && entry.sequence == 1);
  ring.overwrite = 1;
  CHECK(hw_ring_push(&ring, 0, record, sizeof record, NULL) == HW_OK);
  CHECK(ring.dropped > 0);
  memset(&entry, 0, sizeof entry);
  CHECK(hw_ring_next(&ring, &entry) == HW_OK && entry.sequence == ring.dropped + 1);
}

static void an_acknowledgement_makes_room(void) {
  hw_ring ring;
  uint8_t record[40] = {1};
  uint32_t sequence = 0;
  test_flash_init(&flash, 512, 3);
  CHECK(hw_ring_mount(&ring, &flash.port, 7) == HW_OK);
  while (hw_ring_push(&ring, 0, record, sizeof record, &sequence) == HW_OK) continue;
  CHECK(hw_ring_ack(&ring, sequence) == HW_OK);
  CHECK(hw_ring_push(&ring, 0, record, sizeof record, NULL) == HW_OK);
  CHECK(hw_ring_ack(&ring, 99999) == HW_OK); /* never given out: ignored */
  CHECK(ring.acked == sequence);
}

static void rot_costs_the_entry_it_hits(void) {
  hw_ring ring;
  hw_entry entry, second;
  uint8_t record[40] = {1}, back[HW_RECORD_MAX];
  uint32_t i, seen = 0;
  test_flash_init(&flash, 1024, 3);
  CHECK(hw_ring_mount(&ring, &flash.port, 7) == HW_OK);
  for (i = 0; i < 5; i++) CHECK(hw_ring_push(&ring, 0, record, sizeof record, NULL) == HW_OK);
  memset(&entry, 0, sizeof entry);
  hw_ring_next(&ring, &entry);
  second = entry;
  hw_ring_next(&ring, &second);
  flash.bytes[second.offset + 30] &= 0x7e;
  flash.bytes[second.offset + 31] &= 0x7e;
  flash.bytes[second.offset + 16] = 0; /* the record's first byte, 1 */
  CHECK(hw_ring_read(&ring, &second, back) == HW_CORRUPT);
  CHECK(hw_ring_mount(&ring, &flash.port, 7) == HW_OK);
  memset(&entry, 0, sizeof entry);
  while (hw_ring_next(&ring, &entry) == HW_OK) seen++;
  CHECK(seen == 4 && ring.corrupt == 1 && ring.next == 6);
}

static void every_boot_has_a_higher_number(void) {
  hw_ring ring;
  uint8_t record[4] = {1};
  uint16_t boot;
  test_flash_init(&flash, 1024, 3);
  CHECK(hw_ring_mount(&ring, &flash.port, 7) == HW_OK);
  boot = ring.boot;
  CHECK(hw_ring_push(&ring, hw_ring_stamp(&ring, 5), record, 4, NULL) == HW_OK);
  CHECK(hw_ring_mount(&ring, &flash.port, 7) == HW_OK);
  CHECK(ring.boot > boot);
  CHECK(hw_ring_stamp(&ring, 5) >> 48 == ring.boot);
}

static void garbage_is_formatted_and_impossible_geometry_refused(void) {
  hw_ring ring;
  hw_entry entry;
  uint32_t i, seed = 99;
  test_flash_init(&flash, 512, 4);
  for (i = 0; i < 2048; i++) flash.bytes[i] = (uint8_t)random_next(&seed);
  CHECK(hw_ring_mount(&ring, &flash.port, 0xabcd) == HW_OK);
  CHECK(ring.epoch == 0xabcd && ring.next == 1);
  memset(&entry, 0, sizeof entry);
  CHECK(hw_ring_next(&ring, &entry) == HW_NONE);
  flash.port.sector_count = 2;
  CHECK(hw_ring_mount(&ring, &flash.port, 1) == HW_CONFIG);
  flash.port.sector_count = 4;
  flash.port.sector_size = 128;
  CHECK(hw_ring_mount(&ring, &flash.port, 1) == HW_CONFIG);
}

static void skipped_numbers_are_not_given_out(void) {
  hw_ring ring;
  uint8_t record[4] = {1};
  uint32_t sequence = 0;
  test_flash_init(&flash, 1024, 3);
  CHECK(hw_ring_mount(&ring, &flash.port, 7) == HW_OK);
  hw_ring_skip(&ring, 41);
  CHECK(hw_ring_push(&ring, 0, record, 4, &sequence) == HW_OK && sequence == 42);
  hw_ring_skip(&ring, 3);
  CHECK(hw_ring_push(&ring, 0, record, 4, &sequence) == HW_OK && sequence == 43);
}

static void a_torn_head_or_damaged_free_space_closes_the_sector_and_costs_a_number(void) {
  hw_ring ring;
  hw_entry entry;
  uint8_t record[40] = {1};
  uint32_t sequence = 0, distance;
  for (distance = 0; distance < 900; distance += 300) { /* where the next head would be, and far behind it */
    test_flash_init(&flash, 1024, 3);
    CHECK(hw_ring_mount(&ring, &flash.port, 7) == HW_OK);
    CHECK(hw_ring_push(&ring, 0, record, sizeof record, &sequence) == HW_OK && sequence == 1);
    flash.bytes[ring.offset + distance] = 0x5a;
    CHECK(hw_ring_mount(&ring, &flash.port, 7) == HW_OK);
    CHECK(hw_ring_push(&ring, 0, record, sizeof record, &sequence) == HW_OK && sequence == 3);
    CHECK(ring.lap == 1);
    memset(&entry, 0, sizeof entry);
    CHECK(hw_ring_next(&ring, &entry) == HW_OK && entry.sequence == 1);
    CHECK(hw_ring_next(&ring, &entry) == HW_OK && entry.sequence == 3);
  }
}

int main(void) {
  a_torn_head_or_damaged_free_space_closes_the_sector_and_costs_a_number();
  keeps_order_and_content_over_many_laps();
  a_full_ring_refuses_or_overwrites();
  an_acknowledgement_makes_room();
  rot_costs_the_entry_it_hits();
  every_boot_has_a_higher_number();
  garbage_is_formatted_and_impossible_geometry_refused();
  skipped_numbers_are_not_given_out();
  survives_a_power_cut_at_every_operation();
  printf("ring, unit %d: %lu checks passed\n", HW_FLASH_UNIT, checks);
  return 0;
}
