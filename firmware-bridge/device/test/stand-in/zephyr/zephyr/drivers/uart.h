/* Stand-in for Zephyr's header: declarations only, see ../../../README.md. */
#include <zephyr/kernel.h>
typedef void (*uart_irq_callback_user_data_t)(const struct device *device, void *user_data);
int uart_fifo_fill(const struct device *device, const uint8_t *bytes, int size);
int uart_fifo_read(const struct device *device, uint8_t *bytes, const int size);
int uart_irq_update(const struct device *device);
int uart_irq_rx_ready(const struct device *device);
void uart_irq_rx_enable(const struct device *device);
int uart_irq_callback_user_data_set(const struct device *device, uart_irq_callback_user_data_t callback, void *user_data);
