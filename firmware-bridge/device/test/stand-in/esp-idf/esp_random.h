/* Stand-in for ESP-IDF's header: declarations only, see ../README.md. */
#include <stdint.h>
uint32_t esp_random(void);
