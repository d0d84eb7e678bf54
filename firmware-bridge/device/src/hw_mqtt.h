/*
 * Empties a ring straight into an MQTT broker, 3.1.1 or 5.0, QoS 1, over a connection that you open (TCP, TLS, a modem's socket).
 * A reading is acknowledged in the ring when its PUBACK came. After a lost connection what had no PUBACK is published again; in
 * MQTT 5 every publish carries the user properties `device`, `epoch` and `sequence`, by which a reader tells the copies.
 * The payload is the reading as it was pushed. Ticks are not translated: push a time of your own in it if you have one.
 *
 *   hw_mqtt_init(&mqtt, &port, &ring);
 *   for (;;) {
 *     if (!connected && connect_socket()) connected = 1, hw_mqtt_open(&mqtt);
 *     if (connected && hw_mqtt_poll(&mqtt) != HW_OK) close_socket(), connected = 0;   // wait a little, longer each time
 *   }
 */
#ifndef HW_MQTT_H
#define HW_MQTT_H

#include "hw_ring.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The longest packet sent or received in bytes: topic, reading and about 60 bytes of MQTT 5 properties have to fit. */
#ifndef HW_MQTT_PACKET
#define HW_MQTT_PACKET 384
#endif

/* Publishes without a PUBACK at a time, 1..32. */
#ifndef HW_MQTT_WINDOW
#define HW_MQTT_WINDOW 8
#endif

typedef struct hw_mqtt_port {
  void *context;
  uint8_t version;             /* 4 (3.1.1) or 5 */
  uint16_t keep_alive;         /* seconds */
  uint32_t ticks_per_second;
  const char *client_id;       /* names this device; the user property `device`, too */
  const char *username, *password; /* NULL: none */
  const char *topic;           /* readings are published to it */
  const char *command_topic;   /* subscribed with QoS 1, or NULL */
  uint64_t (*ticks)(void *context);
  /* Both take or give what they can without waiting and return how much; negative: the connection is lost. */
  int (*send)(void *context, const uint8_t *bytes, size_t size);
  int (*receive)(void *context, uint8_t *bytes, size_t size);
  /* A message on `command_topic`; may be NULL. A copy can come twice (QoS 1). */
  void (*command)(void *context, const uint8_t *bytes, size_t size);
} hw_mqtt_port;

typedef enum hw_mqtt_state { HW_MQTT_CLOSED, HW_MQTT_CONNECTING, HW_MQTT_ONLINE } hw_mqtt_state;

typedef struct hw_mqtt {
  const hw_mqtt_port *port;
  hw_ring *ring;
  hw_mqtt_state state;
  uint8_t reason;            /* why the broker refused, as it said in CONNACK or PUBACK */
  uint8_t in_flight, is_pinging, is_subscribe_due;
  uint16_t receive_max;      /* how much the broker wants in flight */
  uint16_t next_id;          /* packet id of the next publish */
  uint16_t tx_size, tx_at, rx_size;
  uint16_t puback;           /* packet id of a command to be acknowledged, 0: none */
  uint32_t done;             /* bit i: the i-th oldest publish in flight has its PUBACK */
  uint32_t sequences[HW_MQTT_WINDOW]; /* of the publishes in flight, oldest first */
  hw_entry cursor;           /* the last reading published */
  uint64_t sent_at, heard_at;
  uint8_t tx[HW_MQTT_PACKET];
  uint8_t rx[HW_MQTT_PACKET];
} hw_mqtt;

hw_status hw_mqtt_init(hw_mqtt *mqtt, const hw_mqtt_port *port, hw_ring *ring);

/* A connection to the broker stands: CONNECT is sent with the next poll. */
void hw_mqtt_open(hw_mqtt *mqtt);

/* Sends and receives what is due and possible. Anything but HW_OK: close the connection. HW_MISMATCH: the broker refused, see
 * `reason`. HW_CORRUPT: it does not speak MQTT. HW_NONE: lost, or silent for too long. HW_TOO_LONG: a packet, or the reading
 * to be sent, does not fit HW_MQTT_PACKET. */
hw_status hw_mqtt_poll(hw_mqtt *mqtt);

#ifdef __cplusplus
}
#endif
#endif
