/* The little that the tests share: a check that counts, a seeded random number, a flash that can lose its power. */
#ifndef TEST_H
#define TEST_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/hw_ring.h"

extern unsigned long checks;
#define CHECK(condition)                                                          \
  do {                                                                            \
    checks++;                                                                     \
    if (!(condition)) {                                                           \
      fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                    \
    }                                                                             \
  } while (0)

uint32_t random_next(uint32_t *state); /* xorshift32 */

/* NOR flash in memory: programming only clears bits, and only of units that are erased; the power goes at operation `cut_at`
 * (counted from 1, a program of one unit or an erase), which is left half done in a way that `seed` decides. */
typedef struct test_flash {
  hw_flash port;
  uint8_t bytes[1 << 16];
  uint32_t operations;
  uint32_t cut_at;    /* 0: never */
  int is_dead;        /* the power is gone: nothing works any more */
  uint32_t seed;
  uint32_t erases[64];
} test_flash;

void test_flash_init(test_flash *flash, uint32_t sector_size, uint32_t sector_count);
void test_flash_power_up(test_flash *flash);

#endif
