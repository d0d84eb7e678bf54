/* Stand-in for Zephyr's header: declarations only, see ../../../README.md. */
#include <stdint.h>
uint32_t sys_rand32_get(void);
