/*
 * The device library on this machine, flash in a file, serial over a terminal:
 *   sim_device TTY FLASH JOURNAL ID BAUD RUN READINGS SIZE INTERVAL_US CUT SEED
 * Pushes READINGS readings of about SIZE bytes, one every INTERVAL_US; each carries the number RUN * 1000000 + i, which is written
 * to JOURNAL when its push returned HW_OK. The power goes in flash operation CUT (0: never), which is left half done as SEED says.
 * Ends with 0 when everything is acknowledged, with 9 when the power went. SIGTERM ends it at once, as a power cut between two
 * operations would.
 */
#define _XOPEN_SOURCE 600
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../src/hw_cbor.h"
#include "../src/hw_ring.h"
#include "../src/hw_serial.h"

enum { SECTOR = 4096, SECTORS = 16 };

static int tty, flash_file;
static double byte_rate;
static uint32_t operations, cut_at, seed, commands;

static uint32_t random_next(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed;
}

static uint64_t microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static int flash_read(void *context, uint32_t address, void *bytes, uint32_t size) {
  (void)context;
  return pread(flash_file, bytes, size, (off_t)address) == (ssize_t)size ? 0 : 1;
}

static int flash_program(void *context, uint32_t address, const void *bytes, uint32_t size) {
  uint8_t unit[256];
  uint32_t i;
  (void)context;
  memcpy(unit, bytes, size);
  if (++operations == cut_at) {
    for (i = 0; i < size; i++) unit[i] |= (uint8_t)(random_next() & random_next());
    if (pwrite(flash_file, unit, size, (off_t)address) < 0) _exit(1);
    _exit(9);
  }
  return pwrite(flash_file, unit, size, (off_t)address) == (ssize_t)size ? 0 : 1;
}

static int flash_erase(void *context, uint32_t sector) {
  uint8_t bytes[SECTOR];
  uint32_t i;
  int is_cut = ++operations == cut_at;
  (void)context;
  if (pread(flash_file, bytes, SECTOR, (off_t)sector * SECTOR) != SECTOR) return 1;
  for (i = 0; i < SECTOR; i++) bytes[i] = is_cut ? (uint8_t)(bytes[i] | random_next()) : 0xff;
  if (pwrite(flash_file, bytes, SECTOR, (off_t)sector * SECTOR) != SECTOR) return 1;
  if (is_cut) _exit(9);
  return 0;
}

static uint64_t ticks(void *context) {
  (void)context;
  return microseconds() / 1000u;
}

/* As a UART with DMA does: no more than the line has carried away by now, and 256 bytes waiting. */
static size_t line_write(void *context, const uint8_t *bytes, size_t size) {
  static double room;
  static uint64_t last;
  uint64_t now = microseconds();
  ssize_t written;
  (void)context;
  if (last != 0) room += (double)(now - last) * 1e-6 * byte_rate;
  last = now;
  if (room > 256) room = 256;
  if ((double)size > room) size = (size_t)room;
  written = size == 0 ? 0 : write(tty, bytes, size);
  if (written < 0) return 0;
  room -= (double)written;
  return (size_t)written;
}

static uint8_t on_command(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  (void)bytes;
  (void)size;
  commands++;
  return 7;
}

static size_t encode(uint8_t *record, size_t capacity, uint32_t number, size_t about) {
  static const uint8_t filler[HW_RECORD_MAX];
  hw_cbor_writer writer;
  hw_cbor_write_to(&writer, record, capacity);
  hw_cbor_map(&writer, 2);
  hw_cbor_text(&writer, "n");
  hw_cbor_uint(&writer, number);
  hw_cbor_text(&writer, "pad");
  hw_cbor_bytes(&writer, filler, about > 15 ? about - 15 : 0);
  return writer.status == HW_OK ? writer.size : 0;
}

int main(int count, char **arguments) {
  hw_flash flash = {NULL, SECTOR, SECTORS, flash_read, flash_program, flash_erase};
  hw_serial_port port = {NULL, "", "", 1000, ticks, line_write, on_command};
  hw_ring ring;
  hw_serial serial;
  uint8_t record[HW_RECORD_MAX], bytes[256];
  char line[32];
  uint32_t run, readings, pushed = 0;
  uint64_t interval, due;
  int journal;
  struct pollfd wait;
  if (count != 13) return 2;
  tty = open(arguments[1], O_RDWR | O_NOCTTY | O_NONBLOCK);
  flash_file = open(arguments[2], O_RDWR | O_CREAT, 0600);
  journal = open(arguments[3], O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (tty < 0 || flash_file < 0 || journal < 0) return 1;
  if (lseek(flash_file, 0, SEEK_END) != (off_t)SECTOR * SECTORS) {
    static uint8_t blank[SECTOR];
    uint32_t i;
    memset(blank, 0xff, sizeof blank);
    for (i = 0; i < SECTORS; i++)
      if (pwrite(flash_file, blank, SECTOR, (off_t)i * SECTOR) != SECTOR) return 1;
  }
  port.id = arguments[4];
  port.kind = arguments[12];
  byte_rate = atof(arguments[5]) / 10;
  run = (uint32_t)strtoul(arguments[6], NULL, 10);
  readings = (uint32_t)strtoul(arguments[7], NULL, 10);
  interval = strtoul(arguments[9], NULL, 10);
  cut_at = (uint32_t)strtoul(arguments[10], NULL, 10);
  seed = (uint32_t)strtoul(arguments[11], NULL, 10) | 1u;
  if (hw_ring_mount(&ring, &flash, (uint32_t)microseconds()) != HW_OK) return 3;
  if (hw_serial_init(&serial, &port, &ring) != HW_OK) return 4;
  wait.fd = tty;
  wait.events = POLLIN;
  due = microseconds();
  while (pushed < readings || ring.acked + 1 < ring.next) {
    ssize_t got, i;
    if (pushed < readings && microseconds() >= due) {
      uint32_t number = run * 1000000u + pushed;
      size_t size = encode(record, sizeof record, number, strtoul(arguments[8], NULL, 10));
      hw_status status = hw_ring_push(&ring, hw_ring_stamp(&ring, ticks(NULL)), record, size, NULL);
      if (status == HW_OK) {
        int length = snprintf(line, sizeof line, "%lu\n", (unsigned long)number);
        if (write(journal, line, (size_t)length) != length) return 1;
        pushed++;
        due += interval;
      } else if (status != HW_FULL) {
        return 5;
      }
    }
    got = read(tty, bytes, sizeof bytes);
    for (i = 0; i < got; i++) hw_serial_receive(&serial, bytes[i]);
    hw_serial_poll(&serial);
    poll(&wait, 1, 1);
  }
  printf("%lu bad frames, %lu commands\n", (unsigned long)serial.bad_frames, (unsigned long)commands);
  return 0;
}
