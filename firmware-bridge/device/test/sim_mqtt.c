/* hw_mqtt against a real broker: sim_mqtt PORT VERSION COUNT. Pushes COUNT readings into a ring in memory, publishes them to
 * devices/sim-mqtt/readings over 127.0.0.1:PORT, drops the connection after every 50 PUBACKs, ends with 0 when all are acknowledged. */
#define _XOPEN_SOURCE 600
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../src/hw_cbor.h"
#include "../src/hw_mqtt.h"
#include "test.h"

static test_flash flash;
static int line = -1;

static uint64_t ticks(void *context) {
  struct timespec now;
  (void)context;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}
static int answer(ssize_t result) {
  if (result > 0) return (int)result;
  return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) ? 0 : -1;
}
static int line_send(void *context, const uint8_t *bytes, size_t size) {
  (void)context;
  return answer(send(line, bytes, size, 0));
}
static int line_receive(void *context, uint8_t *bytes, size_t size) {
  (void)context;
  return answer(recv(line, bytes, size, 0));
}

static int open_line(uint16_t port) {
  struct sockaddr_in to;
  memset(&to, 0, sizeof to);
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  line = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(line, (struct sockaddr *)&to, sizeof to) != 0) return -1;
  return fcntl(line, F_SETFL, O_NONBLOCK);
}

int main(int count, char **arguments) {
  hw_mqtt_port port = {NULL, 5, 10, 1000, "sim-mqtt", NULL, NULL, "devices/sim-mqtt/readings", NULL, ticks,
                       line_send, line_receive, NULL};
  hw_ring ring;
  hw_mqtt mqtt;
  uint32_t pushed = 0, want, from = 0, connections = 0;
  uint64_t began = ticks(NULL);
  if (count != 4) return 2;
  port.version = (uint8_t)atoi(arguments[2]);
  want = (uint32_t)atoi(arguments[3]);
  test_flash_init(&flash, 4096, 16);
  if (hw_ring_mount(&ring, &flash.port, (uint32_t)getpid()) != HW_OK || hw_mqtt_init(&mqtt, &port, &ring) != HW_OK) return 3;
  while (ring.acked < want) {
    struct pollfd wait = {line, POLLIN, 0};
    uint8_t record[16];
    hw_cbor_writer writer;
    if (ticks(NULL) - began > 30000) return 4;
    hw_cbor_write_to(&writer, record, sizeof record);
    hw_cbor_uint(&writer, pushed);
    if (pushed < want && hw_ring_push(&ring, 0, record, writer.size, NULL) == HW_OK) pushed++;
    if (mqtt.state == HW_MQTT_CLOSED || ring.acked >= from + 50) {
      if (line >= 0) close(line);
      if (open_line((uint16_t)atoi(arguments[1])) != 0) return 5;
      hw_mqtt_open(&mqtt);
      from = ring.acked;
      connections++;
    }
    if (hw_mqtt_poll(&mqtt) == HW_MISMATCH) return 6;
    if (pushed == want) poll(&wait, 1, 1);
  }
  printf("%u readings, %u connections\n", (unsigned)want, (unsigned)connections);
  return 0;
}
