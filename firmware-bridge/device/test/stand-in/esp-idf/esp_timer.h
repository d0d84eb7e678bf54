/* Stand-in for ESP-IDF's header: declarations only, see ../README.md. */
#include <stdint.h>
int64_t esp_timer_get_time(void);
