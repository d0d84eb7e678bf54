/*
 * ESP-IDF: the ring in a data partition, the link on a UART. A sketch: it shows which calls belong where and has to be fitted to your
 * project (CI holds it to declarations of those calls, not to the framework). partitions.csv: headwater, data, 0x40, , 256K
 * Set HW_FLASH_UNIT=4 (component CMakeLists: target_compile_definitions).
 */
#include "driver/uart.h"
#include "esp_partition.h"
#include "esp_random.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "hw_serial.h"

#define LINE UART_NUM_1

static int port_read(void *partition, uint32_t address, void *bytes, uint32_t size) {
  return esp_partition_read(partition, address, bytes, size);
}
static int port_program(void *partition, uint32_t address, const void *bytes, uint32_t size) {
  return esp_partition_write(partition, address, bytes, size);
}
static int port_erase(void *partition, uint32_t sector) {
  return esp_partition_erase_range(partition, sector * 4096, 4096);
}
static uint64_t port_ticks(void *context) { return (uint64_t)esp_timer_get_time(); } /* microseconds */
static size_t port_write(void *context, const uint8_t *bytes, size_t size) {
  size_t room = 0;
  uart_get_tx_buffer_free_size(LINE, &room);
  if (size > room) size = room;
  return size == 0 ? 0 : (size_t)uart_write_bytes(LINE, bytes, size);
}

static hw_flash flash = {NULL, 4096, 64, port_read, port_program, port_erase};
static const hw_serial_port port = {NULL, "esp-1", "", 1000000, port_ticks, port_write, NULL};
hw_ring headwater_ring; /* push from this task only, or take a mutex around every hw_ call */
static hw_serial serial;

void headwater_task(void *unused) {
  uint8_t bytes[64];
  flash.context = (void *)esp_partition_find_first(ESP_PARTITION_TYPE_DATA, 0x40, "headwater");
  configASSERT(flash.context != NULL);
  uart_driver_install(LINE, 256, 256, 0, NULL, 0); /* a short buffer: the link does its own waiting */
  ESP_ERROR_CHECK(hw_ring_mount(&headwater_ring, &flash, esp_random()));
  ESP_ERROR_CHECK(hw_serial_init(&serial, &port, &headwater_ring));
  for (;;) {
    int got = uart_read_bytes(LINE, bytes, sizeof bytes, pdMS_TO_TICKS(5));
    for (int i = 0; i < got; i++) hw_serial_receive(&serial, bytes[i]);
    hw_serial_poll(&serial);
  }
}
