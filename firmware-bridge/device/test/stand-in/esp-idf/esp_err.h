/* Stand-in for ESP-IDF's header: declarations only, see ../README.md. */
#ifndef ESP_ERR_H
#define ESP_ERR_H
typedef int esp_err_t;
void esp_error_check(esp_err_t error);
#define ESP_ERROR_CHECK(error) esp_error_check(error)
#endif
