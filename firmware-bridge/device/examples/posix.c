/*
 * This machine as a device: its load average once a second, over a serial line, the ring in a file.
 *   posix /dev/ttyUSB0 ring.bin my-device
 * The line has to be set up before: stty -F /dev/ttyUSB0 115200 raw -echo
 */
#define _XOPEN_SOURCE 600
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../src/hw_cbor.h"
#include "../src/hw_ring.h"
#include "../src/hw_serial.h"

enum { SECTOR = 4096, SECTORS = 64 };

static int ring_file, line;

static int file_read(void *context, uint32_t address, void *bytes, uint32_t size) {
  (void)context;
  return pread(ring_file, bytes, size, (off_t)address) == (ssize_t)size ? 0 : -1;
}

/* A program is done when it survives a power cut. */
static int file_program(void *context, uint32_t address, const void *bytes, uint32_t size) {
  (void)context;
  return pwrite(ring_file, bytes, size, (off_t)address) == (ssize_t)size && fdatasync(ring_file) == 0 ? 0 : -1;
}

static int file_erase(void *context, uint32_t sector) {
  uint8_t blank[SECTOR];
  uint32_t i;
  for (i = 0; i < SECTOR; i++) blank[i] = 0xff;
  return file_program(context, sector * SECTOR, blank, SECTOR);
}

static uint64_t ticks(void *context) {
  struct timespec now;
  (void)context;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

static size_t line_write(void *context, const uint8_t *bytes, size_t size) {
  ssize_t written = write(line, bytes, size);
  (void)context;
  return written < 0 ? 0 : (size_t)written;
}

static void store_load(hw_ring *ring) {
  uint8_t record[32];
  double load = 0;
  hw_cbor_writer writer;
  if (getloadavg(&load, 1) != 1) return;
  hw_cbor_write_to(&writer, record, sizeof record);
  hw_cbor_map(&writer, 1);
  hw_cbor_text(&writer, "load");
  hw_cbor_float32(&writer, (float)load);
  if (hw_ring_push(ring, hw_ring_stamp(ring, ticks(NULL)), record, writer.size, NULL) != HW_OK) fputs("not stored\n", stderr);
}

int main(int count, char **arguments) {
  static const hw_flash flash = {NULL, SECTOR, SECTORS, file_read, file_program, file_erase};
  hw_serial_port port = {NULL, "", "", 1000, ticks, line_write, NULL};
  struct pollfd wait = {0, POLLIN, 0};
  struct timespec now;
  hw_ring ring;
  hw_serial serial;
  uint32_t i;
  uint64_t due = 0;
  if (count != 4) {
    fputs("posix TTY RING-FILE ID\n", stderr);
    return 2;
  }
  port.id = arguments[3];
  line = open(arguments[1], O_RDWR | O_NOCTTY | O_NONBLOCK);
  ring_file = open(arguments[2], O_RDWR | O_CREAT, 0600);
  if (line < 0 || ring_file < 0) {
    perror(line < 0 ? arguments[1] : arguments[2]);
    return 1;
  }
  if (lseek(ring_file, 0, SEEK_END) == 0)
    for (i = 0; i < SECTORS; i++) (void)file_erase(NULL, i);
  clock_gettime(CLOCK_REALTIME, &now);
  if (hw_ring_mount(&ring, &flash, (uint32_t)now.tv_sec ^ (uint32_t)now.tv_nsec ^ (uint32_t)getpid()) != HW_OK) return 1;
  ring.overwrite = 1;
  if (hw_serial_init(&serial, &port, &ring) != HW_OK) return 1;
  for (wait.fd = line;;) {
    uint8_t bytes[64];
    ssize_t got = read(line, bytes, sizeof bytes), at;
    for (at = 0; at < got; at++) hw_serial_receive(&serial, bytes[at]);
    if (ticks(NULL) >= due) {
      due = ticks(NULL) + 1000;
      store_load(&ring);
    }
    hw_serial_poll(&serial);
    poll(&wait, 1, 10);
  }
}
