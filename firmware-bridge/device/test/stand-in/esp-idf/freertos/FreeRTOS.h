/* Stand-in for FreeRTOS's header: declarations only, see ../../README.md. */
#ifndef FREERTOS_H
#define FREERTOS_H
#include <stdint.h>
typedef uint32_t TickType_t;
typedef struct QueueDefinition *QueueHandle_t;
void vAssertCalled(const char *file, int line);
#define configASSERT(x) do { if (!(x)) vAssertCalled(__FILE__, __LINE__); } while (0)
#define pdMS_TO_TICKS(ms) ((TickType_t)(ms))
#endif
