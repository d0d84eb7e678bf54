/*
 * Zephyr: the ring in a flash area, the link on a UART in interrupt mode. A sketch: it shows which calls belong where and has to be
 * fitted to your project (CI holds it to declarations of those calls, not to the framework). Devicetree: a fixed partition `headwater_partition`.
 * prj.conf: CONFIG_FLASH=y CONFIG_FLASH_MAP=y CONFIG_SERIAL=y CONFIG_UART_INTERRUPT_DRIVEN=y CONFIG_ENTROPY_GENERATOR=y
 * Set HW_FLASH_UNIT to your flash's write-block-size.
 */
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>
#include <zephyr/random/random.h>
#include <zephyr/storage/flash_map.h>
#include <zephyr/sys/ring_buffer.h>

#include "hw_serial.h"

#define SECTOR 4096

static const struct device *const line = DEVICE_DT_GET(DT_CHOSEN(headwater_uart));
RING_BUF_DECLARE(received, 128);

static int port_read(void *area, uint32_t address, void *bytes, uint32_t size) {
  return flash_area_read(area, address, bytes, size);
}
static int port_program(void *area, uint32_t address, const void *bytes, uint32_t size) {
  return flash_area_write(area, address, bytes, size);
}
static int port_erase(void *area, uint32_t sector) { return flash_area_erase(area, sector * SECTOR, SECTOR); }
static uint64_t port_ticks(void *context) { return (uint64_t)k_uptime_get(); }
static size_t port_write(void *context, const uint8_t *bytes, size_t size) {
  return (size_t)uart_fifo_fill(line, bytes, (int)size);
}
static void on_interrupt(const struct device *device, void *context) {
  uint8_t bytes[16];
  while (uart_irq_update(device) && uart_irq_rx_ready(device)) {
    int got = uart_fifo_read(device, bytes, sizeof bytes);
    if (got > 0) ring_buf_put(&received, bytes, (uint32_t)got);
  }
}

static hw_flash flash = {NULL, SECTOR, FIXED_PARTITION_SIZE(headwater_partition) / SECTOR, port_read, port_program, port_erase};
static const hw_serial_port port = {NULL, "zephyr-1", "", 1000, port_ticks, port_write, NULL};
hw_ring headwater_ring; /* push from this thread only, or take a mutex around every hw_ call */
static hw_serial serial;

static void headwater_thread(void *a, void *b, void *c) {
  const struct flash_area *area;
  uint8_t byte;
  if (flash_area_open(FIXED_PARTITION_ID(headwater_partition), &area) != 0) return;
  flash.context = (void *)area;
  if (hw_ring_mount(&headwater_ring, &flash, sys_rand32_get()) != HW_OK) return;
  if (hw_serial_init(&serial, &port, &headwater_ring) != HW_OK) return;
  uart_irq_callback_user_data_set(line, on_interrupt, NULL);
  uart_irq_rx_enable(line);
  for (;;) {
    while (ring_buf_get(&received, &byte, 1) == 1) hw_serial_receive(&serial, byte);
    hw_serial_poll(&serial);
    k_msleep(1);
  }
}
K_THREAD_DEFINE(headwater, 1536, headwater_thread, NULL, NULL, NULL, 7, 0, 0);
