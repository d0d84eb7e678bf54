/*
 * A store-and-forward ring in NOR flash: readings are pushed at its head and stay until they are acknowledged. The layout is
 * written down in ../../PROTOCOL.md, section 2. What holds, whenever the power goes:
 *
 *   - A reading whose hw_ring_push returned HW_OK is there after the next mount, until it was acknowledged (or, if the ring was
 *     set to overwrite, until `dropped` counts it).
 *   - Sequence numbers grow and are never given to two readings, not even when a write was torn.
 *   - Nothing is programmed twice between two erases: parts with ECC or write-once words are fine.
 *   - Sectors are erased in turn, so all wear alike; an acknowledgement costs one program unit, however many readings it covers.
 *
 * The caller serialises the calls: one thread or interrupt level.
 */
#ifndef HW_RING_H
#define HW_RING_H

#include "hw_bytes.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The smallest number of bytes the flash programs at once, a power of two: 8 for STM32G0/L4, 4 for nRF52, 1 for most SPI NOR. */
#ifndef HW_FLASH_UNIT
#define HW_FLASH_UNIT 8
#endif

/* The longest reading in bytes. 236 fill a serial frame; more than that cannot be sent by hw_serial. */
#ifndef HW_RECORD_MAX
#define HW_RECORD_MAX 236
#endif

/* The port to the flash. `address` counts from the start of the ring. Every call returns 0 when it succeeded. */
typedef struct hw_flash {
  void *context;
  uint32_t sector_size;  /* bytes erased at once, a multiple of HW_FLASH_UNIT */
  uint32_t sector_count; /* 3 at the least: one is being filled, one is being erased, one keeps readings meanwhile */
  int (*read)(void *context, uint32_t address, void *bytes, uint32_t size);
  /* `address` and `size` are multiples of HW_FLASH_UNIT; the bytes there are erased (0xff). Done when it returns. */
  int (*program)(void *context, uint32_t address, const void *bytes, uint32_t size);
  int (*erase)(void *context, uint32_t sector);
} hw_flash;

/* When a reading was taken: the boot it was taken in (16 bits) above the ticks since that boot (48 bits). */
typedef uint64_t hw_stamp;

/* One entry as it stands in flash. A zeroed one is a cursor before the first. */
typedef struct hw_entry {
  uint32_t sequence;
  uint32_t lap;     /* which filling of which sector: sectors are numbered as they are opened, for ever */
  uint32_t offset;  /* inside the sector */
  uint16_t size;    /* bytes of the reading */
  hw_stamp stamp;
} hw_entry;

typedef struct hw_ring {
  const hw_flash *flash;
  uint32_t epoch;     /* names this life of the ring: chosen when it was formatted */
  uint32_t lap;       /* the sector being filled is lap % sector_count */
  uint32_t offset;    /* where the next entry goes in it */
  uint32_t oldest_lap;
  uint32_t next;      /* the next sequence number */
  uint32_t acked;     /* every reading up to this one was acknowledged, or is gone */
  hw_entry tail;      /* the newest entry at or below `acked` that is known, a cursor before the oldest live one */
  uint32_t dropped;   /* unacknowledged readings overwritten since the mount */
  uint32_t corrupt;   /* entries found since the mount whose bytes are not what was written */
  uint16_t boot;      /* this boot's number */
  uint8_t overwrite;  /* set after the mount: a full ring gives up its oldest readings instead of refusing new ones */
} hw_ring;

/* Finds what is there, or formats. `seed` becomes the epoch of a new ring and should differ for every formatting of every
 * device (a hardware random number, or a unique id mixed with a clock or noise). */
hw_status hw_ring_mount(hw_ring *ring, const hw_flash *flash, uint32_t seed);

/* The stamp of `ticks` in this boot; ticks above 48 bits are cut off. */
hw_stamp hw_ring_stamp(const hw_ring *ring, uint64_t ticks);

/* Stores one reading of 1..HW_RECORD_MAX bytes. HW_OK: it is in flash, verified. HW_FULL: nothing happened.
 * HW_FLASH: the flash failed, do not count on the reading; a further push goes on in the next sector. `sequence` may be NULL. */
hw_status hw_ring_push(hw_ring *ring, hw_stamp stamp, const void *record, size_t size, uint32_t *sequence);

/* Moves to the oldest live entry after `entry` (start with a zeroed one, or ring->tail). HW_NONE at the end. */
hw_status hw_ring_next(hw_ring *ring, hw_entry *entry);

/* Reads the entry's bytes into `record` (HW_RECORD_MAX of them) and checks them: HW_CORRUPT when they have rotted. */
hw_status hw_ring_read(hw_ring *ring, const hw_entry *entry, void *record);

/* Every reading up to `sequence` is stored where it was sent: they may be overwritten. Numbers never given out are ignored. */
hw_status hw_ring_ack(hw_ring *ring, uint32_t sequence);

/* The other side knows sequences up to `sequence` of this epoch: new readings get higher ones. (Heals a ring whose newest
 * sector was lost, so that no number is used twice.) */
void hw_ring_skip(hw_ring *ring, uint32_t sequence);

/* Erases nothing, writes nothing: how many bytes of payload can be pushed before the ring is full, at the least. */
uint32_t hw_ring_space(const hw_ring *ring);

#ifdef __cplusplus
}
#endif
#endif
