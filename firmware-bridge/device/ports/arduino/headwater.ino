/*
 * Arduino, on a part whose core gives access to its flash (here: an external SPI NOR by the SerialFlash-like calls of your library).
 * It shows which calls belong where and has to be fitted to your board; CI builds it for an ATmega2560. Copy device/src into the sketch's src/ folder. HW_FLASH_UNIT=1 suits most SPI NOR.
 */
#include "src/hw_cbor.h"
#include "src/hw_serial.h"

// Your flash library: read, write (up to a page), erase a 4-KB sector. Each returns when it is done.
bool flashRead(uint32_t address, void *bytes, uint32_t size);
bool flashWrite(uint32_t address, const void *bytes, uint32_t size);
bool flashErase4K(uint32_t address);

static int portRead(void *, uint32_t address, void *bytes, uint32_t size) { return flashRead(address, bytes, size) ? 0 : 1; }
static int portProgram(void *, uint32_t address, const void *bytes, uint32_t size) {
  return flashWrite(address, bytes, size) ? 0 : 1;
}
static int portErase(void *, uint32_t sector) { return flashErase4K(sector * 4096) ? 0 : 1; }
static uint64_t portTicks(void *) {
  static uint32_t last, high;
  uint32_t now = millis();
  if (now < last) high++;
  last = now;
  return (uint64_t)high << 32 | now;
}
static size_t portWrite(void *, const uint8_t *bytes, size_t size) {
  size_t room = (size_t)Serial1.availableForWrite();
  return Serial1.write(bytes, size < room ? size : room);
}

static const hw_flash flash = {nullptr, 4096, 32, portRead, portProgram, portErase};
static const hw_serial_port port = {nullptr, "arduino-1", "thermometer", 1000, portTicks, portWrite, nullptr};
static hw_ring ring;
static hw_serial serialLink;
static bool isReady;

void setup() {
  Serial1.begin(115200);
  uint32_t noise = micros();
  for (int i = 0; i < 32; i++) noise = noise * 1664525u + (uint32_t)analogRead(A0) + 1013904223u;
  isReady = hw_ring_mount(&ring, &flash, noise) == HW_OK && hw_serial_init(&serialLink, &port, &ring) == HW_OK;
  ring.overwrite = 1;
}

void loop() {
  static uint32_t sampled;
  if (!isReady) return;
  if (millis() - sampled >= 10000) {
    sampled = millis();
    uint8_t record[16];
    hw_cbor_writer writer;
    hw_cbor_write_to(&writer, record, sizeof record);
    hw_cbor_array(&writer, 1);
    hw_cbor_int(&writer, analogRead(A1));
    hw_ring_push(&ring, hw_ring_stamp(&ring, portTicks(nullptr)), record, writer.size, nullptr);
  }
  while (Serial1.available() > 0) hw_serial_receive(&serialLink, (uint8_t)Serial1.read());
  hw_serial_poll(&serialLink);
}
