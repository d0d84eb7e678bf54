/* Stand-in for Zephyr's header: declarations only, see ../../README.md. */
#ifndef ZEPHYR_KERNEL_H
#define ZEPHYR_KERNEL_H
#include <stddef.h>
#include <stdint.h>
struct device { const char *name; };
extern const struct device stand_in_device;
#define DT_CHOSEN(name) name
#define DEVICE_DT_GET(node) (&stand_in_device)
int64_t k_uptime_get(void);
int32_t k_msleep(int32_t ms);
typedef void (*k_thread_entry_t)(void *, void *, void *);
#define K_THREAD_DEFINE(name, stack, entry, p1, p2, p3, priority, options, delay) \
  extern const k_thread_entry_t name##_entry; \
  const k_thread_entry_t name##_entry = entry
#endif
