#include "test.h"

unsigned long checks;

uint32_t random_next(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

static int flash_read(void *context, uint32_t address, void *bytes, uint32_t size) {
  test_flash *flash = (test_flash *)context;
  CHECK(address + size <= flash->port.sector_size * flash->port.sector_count);
  memcpy(bytes, flash->bytes + address, size);
  return flash->is_dead;
}

/* Whether the power goes in this operation. */
static int is_cut(test_flash *flash) {
  flash->operations++;
  if (flash->operations == flash->cut_at) flash->is_dead = 1;
  return flash->is_dead;
}

static int flash_program(void *context, uint32_t address, const void *bytes, uint32_t size) {
  test_flash *flash = (test_flash *)context;
  const uint8_t *from = (const uint8_t *)bytes;
  CHECK(address % HW_FLASH_UNIT == 0 && size % HW_FLASH_UNIT == 0);
  CHECK(address + size <= flash->port.sector_size * flash->port.sector_count);
  for (; size > 0; size -= HW_FLASH_UNIT) {
    uint32_t i, keep;
    if (flash->is_dead) return 1;
    for (i = 0; i < HW_FLASH_UNIT; i++) CHECK(flash->bytes[address + i] == 0xff); /* never twice between two erases */
    keep = is_cut(flash) ? random_next(&flash->seed) % 4 : 3; /* torn: nothing, some bits, nearly all, or all of them */
    for (i = 0; i < HW_FLASH_UNIT; i++, address++) {
      uint8_t left = 0;
      if (keep == 0) left = 0xff;
      if (keep == 1) left = (uint8_t)random_next(&flash->seed);
      if (keep == 2) left = (uint8_t)(random_next(&flash->seed) & random_next(&flash->seed) & random_next(&flash->seed));
      flash->bytes[address] &= (uint8_t)(*from++ | left);
    }
    if (flash->is_dead) return 1;
  }
  return 0;
}

static int flash_erase(void *context, uint32_t sector) {
  test_flash *flash = (test_flash *)context;
  uint8_t *bytes = flash->bytes + sector * flash->port.sector_size;
  uint32_t i, keep;
  CHECK(sector < flash->port.sector_count);
  if (flash->is_dead) return 1;
  flash->erases[sector]++;
  if (!is_cut(flash)) {
    memset(bytes, 0xff, flash->port.sector_size);
    return 0;
  }
  keep = random_next(&flash->seed) % 4; /* torn: nothing erased, all erased, some bits, or the first part of it */
  for (i = 0; i < flash->port.sector_size; i++) {
    if (keep == 1 || (keep == 3 && i < flash->port.sector_size / 2)) bytes[i] = 0xff;
    if (keep == 2) bytes[i] |= (uint8_t)random_next(&flash->seed);
  }
  return 1;
}

void test_flash_init(test_flash *flash, uint32_t sector_size, uint32_t sector_count) {
  memset(flash, 0, sizeof *flash);
  memset(flash->bytes, 0xff, sizeof flash->bytes);
  flash->port.context = flash;
  flash->port.sector_size = sector_size;
  flash->port.sector_count = sector_count;
  flash->port.read = flash_read;
  flash->port.program = flash_program;
  flash->port.erase = flash_erase;
  flash->seed = 1;
}

void test_flash_power_up(test_flash *flash) {
  flash->is_dead = 0;
  flash->cut_at = 0;
}
