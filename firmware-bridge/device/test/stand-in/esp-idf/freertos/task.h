/* Stand-in for FreeRTOS's header: nothing of it is called, see ../../README.md. */
#include "freertos/FreeRTOS.h"
