/* Stand-in for ESP-IDF's header: declarations only, see ../../README.md. */
#include <stddef.h>
#include <stdint.h>
#include "esp_err.h"
#include "freertos/FreeRTOS.h"
typedef int uart_port_t;
#define UART_NUM_1 1
esp_err_t uart_driver_install(uart_port_t port, int rx_size, int tx_size, int queue_size, QueueHandle_t *queue, int flags);
esp_err_t uart_get_tx_buffer_free_size(uart_port_t port, size_t *size);
int uart_write_bytes(uart_port_t port, const void *bytes, size_t size);
int uart_read_bytes(uart_port_t port, void *bytes, uint32_t size, TickType_t ticks);
