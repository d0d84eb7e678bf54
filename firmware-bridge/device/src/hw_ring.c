#include "hw_ring.h"

#include <string.h>

/* Layout, all little-endian; every part starts at a multiple of HW_FLASH_UNIT:
 *   sector: magic u32, epoch u32, lap u32, first u32, boot u16, zero u16, crc u32; entries...
 *   entry:  sequence u32, size u16, check u16, stamp u64, record, crc u32; then one unit of its own, zeroed when acknowledged */
#define MAGIC 0x31525748u /* "HWR1": the version of the layout is its last letter */
#define SECTOR_HEAD 24u
#define ENTRY_HEAD 16u
#define CRC_SIZE 4u
/* What is read to tell free space from a torn head: a unit is programmed at once, but may be torn anywhere inside. */
#define HEAD_SPAN (HW_FLASH_UNIT > ENTRY_HEAD ? HW_FLASH_UNIT : ENTRY_HEAD)
#define ALIGN(size) (((uint32_t)(size) + HW_FLASH_UNIT - 1u) & ~(HW_FLASH_UNIT - 1u))

/* Fails to compile for a unit that is not a power of two up to 64, or a reading longer than the size field holds. */
typedef char hw_unit_is_possible[HW_FLASH_UNIT <= 64 && (HW_FLASH_UNIT & (HW_FLASH_UNIT - 1)) == 0 ? 1 : -1];
typedef char hw_record_is_possible[HW_RECORD_MAX >= 1 && HW_RECORD_MAX <= 4096 ? 1 : -1];

static uint32_t body_size(uint32_t size) { return ALIGN(ENTRY_HEAD + size + CRC_SIZE); }
static uint32_t slot_size(uint32_t size) { return body_size(size) + HW_FLASH_UNIT; }

static uint32_t address_of(const hw_ring *ring, uint32_t lap, uint32_t offset) {
  return lap % ring->flash->sector_count * ring->flash->sector_size + offset;
}

static hw_status flash_read(const hw_ring *ring, uint32_t lap, uint32_t offset, void *bytes, uint32_t size) {
  return ring->flash->read(ring->flash->context, address_of(ring, lap, offset), bytes, size) == 0 ? HW_OK : HW_FLASH;
}

static int is_filled(const uint8_t *bytes, uint32_t size, uint8_t with) {
  while (size > 0 && *bytes == with) bytes++, size--;
  return size == 0;
}

/* Programs parts one behind the other through a buffer of one unit, padded with 0xff. */
typedef struct stream {
  const hw_ring *ring;
  uint32_t lap, offset;
  uint32_t held;
  hw_status status;
  uint8_t unit[HW_FLASH_UNIT];
} stream;

static void stream_write(stream *to, const void *bytes, uint32_t size) {
  const uint8_t *at = (const uint8_t *)bytes;
  for (; size > 0; size--) {
    to->unit[to->held++] = *at++;
    if (to->held < HW_FLASH_UNIT) continue;
    to->held = 0;
    if (to->status == HW_OK && to->ring->flash->program(to->ring->flash->context, address_of(to->ring, to->lap, to->offset),
                                                        to->unit, HW_FLASH_UNIT) != 0)
      to->status = HW_FLASH;
    to->offset += HW_FLASH_UNIT;
  }
}

static void stream_pad(stream *to) {
  static const uint8_t blank = 0xff;
  while (to->held > 0) stream_write(to, &blank, 1);
}

static void stream_start(stream *to, const hw_ring *ring, uint32_t lap, uint32_t offset) {
  to->ring = ring;
  to->lap = lap;
  to->offset = offset;
  to->held = 0;
  to->status = HW_OK;
}

/* ---- sectors ---- */

typedef struct sector {
  uint32_t epoch, lap, first;
  uint16_t boot;
} sector;

/* Reads the header of the sector at `index`. HW_CORRUPT: it has none, it is free. */
static hw_status read_sector(const hw_ring *ring, uint32_t index, sector *found) {
  uint8_t head[SECTOR_HEAD];
  hw_status status = flash_read(ring, index, 0, head, sizeof head);
  if (status != HW_OK) return status;
  if (hw_get32(head) != MAGIC || hw_get32(head + 20) != hw_crc32c(0, head, 20)) return HW_CORRUPT;
  found->epoch = hw_get32(head + 4);
  found->lap = hw_get32(head + 8);
  found->first = hw_get32(head + 12);
  found->boot = hw_get16(head + 16);
  return found->lap % ring->flash->sector_count == index ? HW_OK : HW_CORRUPT;
}

/* Whether the filling `lap` still stands in its sector. */
static int is_live(const hw_ring *ring, uint32_t lap, sector *found) {
  return read_sector(ring, lap % ring->flash->sector_count, found) == HW_OK && found->lap == lap &&
         found->epoch == ring->epoch;
}

/* Erases the sector of `lap` and makes it the one that is filled. */
static hw_status open_sector(hw_ring *ring, uint32_t lap) {
  uint8_t head[SECTOR_HEAD];
  stream to;
  sector check;
  hw_put32(head, MAGIC);
  hw_put32(head + 4, ring->epoch);
  hw_put32(head + 8, lap);
  hw_put32(head + 12, ring->next);
  hw_put16(head + 16, ring->boot);
  hw_put16(head + 18, 0);
  hw_put32(head + 20, hw_crc32c(0, head, 20));
  ring->lap = lap;
  ring->offset = ring->flash->sector_size; /* full, until its header stands */
  if (ring->flash->erase(ring->flash->context, lap % ring->flash->sector_count) != 0) return HW_FLASH;
  stream_start(&to, ring, lap, 0);
  stream_write(&to, head, sizeof head);
  stream_pad(&to);
  if (to.status != HW_OK || !is_live(ring, lap, &check)) return HW_FLASH;
  ring->offset = to.offset;
  return HW_OK;
}

/* ---- entries ---- */

static uint16_t head_check(const hw_ring *ring, const uint8_t *head) {
  return (uint16_t)hw_crc32c(ring->epoch, head, 6);
}

/* Reads the head of the entry that starts at entry->lap, entry->offset. HW_NONE: no entry was begun there (or none fits).
 * HW_CORRUPT: something stands there, but no head; nothing behind it in this sector can be found. */
static hw_status read_head(const hw_ring *ring, hw_entry *entry) {
  uint8_t head[HEAD_SPAN];
  uint32_t size;
  hw_status status;
  if (entry->offset + slot_size(1) > ring->flash->sector_size) return HW_NONE;
  status = flash_read(ring, entry->lap, entry->offset, head, sizeof head);
  if (status != HW_OK) return status;
  if (is_filled(head, sizeof head, 0xff)) return HW_NONE;
  size = hw_get16(head + 4);
  if (hw_get16(head + 6) != head_check(ring, head) || size == 0 || size > HW_RECORD_MAX ||
      slot_size(size) > ring->flash->sector_size - entry->offset)
    return HW_CORRUPT;
  entry->sequence = hw_get32(head);
  entry->size = (uint16_t)size;
  entry->stamp = hw_get64(head + 8);
  return HW_OK;
}

/* Checks the entry's CRC in steps of a few bytes; copies the reading to `record` on the way unless that is NULL. */
static hw_status check_body(const hw_ring *ring, const hw_entry *entry, uint8_t *record) {
  uint8_t part[16];
  uint32_t done = 0, total = ENTRY_HEAD + entry->size, crc = ring->epoch;
  while (done < total) {
    uint32_t size = total - done < sizeof part ? total - done : (uint32_t)sizeof part;
    hw_status status = flash_read(ring, entry->lap, entry->offset + done, part, size);
    if (status != HW_OK) return status;
    crc = hw_crc32c(crc, part, size);
    if (record != NULL && done >= ENTRY_HEAD) memcpy(record + done - ENTRY_HEAD, part, size);
    done += size;
  }
  if (flash_read(ring, entry->lap, entry->offset + total, part, CRC_SIZE) != HW_OK) return HW_FLASH;
  return hw_get32(part) == crc ? HW_OK : HW_CORRUPT;
}

static void step_over(hw_entry *entry) {
  entry->offset += slot_size(entry->size);
  entry->size = 0;
}

static void enter(hw_entry *entry, uint32_t lap) {
  entry->lap = lap;
  entry->offset = ALIGN(SECTOR_HEAD);
  entry->size = 0;
}

/* Moves to the next entry that has a head, whatever its body, within the sectors that are live. */
static hw_status walk(hw_ring *ring, hw_entry *entry) {
  sector found;
  if (entry->lap < ring->oldest_lap || entry->offset == 0) enter(entry, ring->oldest_lap);
  else if (entry->size != 0) step_over(entry);
  for (;;) {
    if (is_live(ring, entry->lap, &found) && (entry->lap != ring->lap || entry->offset < ring->offset)) {
      hw_status status = read_head(ring, entry);
      if (status == HW_OK || status == HW_FLASH) return status;
    }
    if (entry->lap == ring->lap) return HW_NONE;
    enter(entry, entry->lap + 1);
  }
}

hw_status hw_ring_next(hw_ring *ring, hw_entry *entry) {
  hw_entry at = *entry;
  hw_status status;
  while ((status = walk(ring, &at)) == HW_OK) {
    if (at.sequence <= ring->acked) continue;
    status = check_body(ring, &at, NULL);
    if (status == HW_CORRUPT) {
      ring->corrupt++;
      continue;
    }
    if (status == HW_OK) *entry = at;
    return status;
  }
  return status;
}

hw_status hw_ring_read(hw_ring *ring, const hw_entry *entry, void *record) {
  return check_body(ring, entry, (uint8_t *)record);
}

/* ---- mounting ---- */

/* The newest sector says which epoch, boot and sequence the ring has reached. */
static hw_status find_newest(hw_ring *ring) {
  uint32_t index;
  int any = 0;
  for (index = 0; index < ring->flash->sector_count; index++) {
    sector found;
    hw_status status = read_sector(ring, index, &found);
    if (status == HW_FLASH) return status;
    if (status != HW_OK || (any && found.lap < ring->lap)) continue;
    any = 1;
    ring->lap = found.lap;
    ring->epoch = found.epoch;
    ring->next = found.first;
    ring->boot = found.boot;
  }
  return any ? HW_OK : HW_NONE;
}

/* Nothing is known of what stood before the oldest sector: it was acknowledged, or given up. */
static hw_status find_oldest(hw_ring *ring) {
  uint32_t back = ring->flash->sector_count - 1;
  sector found;
  if (back > ring->lap) back = ring->lap;
  while (!is_live(ring, ring->lap - back, &found))
    if (back-- == 0) return HW_FLASH;
  ring->oldest_lap = ring->lap - back;
  ring->acked = found.first - 1;
  return HW_OK;
}

/* Whether nothing was ever programmed from `offset` to the end of the newest sector. */
static hw_status check_blank(const hw_ring *ring, uint32_t offset) {
  uint8_t part[16];
  for (; offset < ring->flash->sector_size; offset += (uint32_t)sizeof part) {
    uint32_t left = ring->flash->sector_size - offset, size = left < sizeof part ? left : (uint32_t)sizeof part;
    hw_status status = flash_read(ring, ring->lap, offset, part, size);
    if (status != HW_OK) return status;
    if (!is_filled(part, size, 0xff)) return HW_CORRUPT;
  }
  return HW_NONE;
}

/* Walks all entries once: where the acknowledged ones end, the highest sequence and boot, where the newest sector is full to. */
static hw_status find_entries(hw_ring *ring) {
  hw_entry entry;
  hw_status status;
  uint8_t mark[HW_FLASH_UNIT];
  sector found;
  memset(&entry, 0, sizeof entry);
  ring->offset = ring->flash->sector_size; /* to walk as far as there are entries */
  while ((status = walk(ring, &entry)) == HW_OK) {
    uint16_t boot = (uint16_t)(entry.stamp >> 48);
    if (entry.sequence >= ring->next) ring->next = entry.sequence + 1;
    if (boot > ring->boot && check_body(ring, &entry, NULL) == HW_OK) ring->boot = boot;
    status = flash_read(ring, entry.lap, entry.offset + body_size(entry.size), mark, sizeof mark);
    if (status != HW_OK) return status;
    if (!is_filled(mark, sizeof mark, 0xff) && entry.sequence > ring->acked) {
      ring->acked = entry.sequence;
      ring->tail = entry;
    }
  }
  if (status == HW_FLASH) return status;
  /* `entry` stands where the walk ended in the newest sector: at its free space, or at a torn head. */
  if (!is_live(ring, entry.lap, &found)) return HW_FLASH;
  status = read_head(ring, &entry);
  if (status == HW_NONE) status = check_blank(ring, entry.offset);
  if (status == HW_FLASH) return status;
  if (status == HW_NONE) {
    ring->offset = entry.offset;
  } else { /* A torn head may have been given a number, and its bits may not be solid: neither is used again. */
    ring->next++;
    ring->corrupt++;
  }
  return HW_OK;
}

hw_status hw_ring_mount(hw_ring *ring, const hw_flash *flash, uint32_t seed) {
  hw_status status;
  memset(ring, 0, sizeof *ring);
  ring->flash = flash;
  if (flash->sector_count < 3 || flash->sector_size % HW_FLASH_UNIT != 0 ||
      flash->sector_size < ALIGN(SECTOR_HEAD) + slot_size(HW_RECORD_MAX))
    return HW_CONFIG;
  status = find_newest(ring);
  if (status == HW_NONE) {
    ring->epoch = seed;
    ring->next = 1;
    ring->boot = 1;
    return open_sector(ring, 0);
  }
  if (status != HW_OK) return status;
  status = find_oldest(ring);
  if (status == HW_OK) status = find_entries(ring);
  ring->boot++;
  return status;
}

hw_stamp hw_ring_stamp(const hw_ring *ring, uint64_t ticks) {
  return (uint64_t)ring->boot << 48 | (ticks & 0xffffffffffffu);
}

/* ---- writing ---- */

/* Gives up the oldest sector if the next one to be filled is it. */
static hw_status make_way(hw_ring *ring) {
  uint32_t lap = ring->lap + 1;
  hw_entry entry = ring->tail;
  if (lap - ring->oldest_lap < ring->flash->sector_count) return HW_OK;
  while (hw_ring_next(ring, &entry) == HW_OK && entry.lap == ring->oldest_lap) {
    if (!ring->overwrite) return HW_FULL;
    ring->dropped++;
    ring->acked = entry.sequence;
    ring->tail = entry;
  }
  ring->oldest_lap++;
  return HW_OK;
}

hw_status hw_ring_push(hw_ring *ring, hw_stamp stamp, const void *record, size_t size, uint32_t *sequence) {
  uint8_t head[ENTRY_HEAD], crc[CRC_SIZE];
  hw_entry entry;
  stream to;
  hw_status status;
  if (size == 0 || size > HW_RECORD_MAX) return HW_TOO_LONG;
  if (ring->next == UINT32_MAX) return HW_FULL; /* 4 billion readings: beyond what the flash endures */
  while (ring->offset + slot_size((uint32_t)size) > ring->flash->sector_size) {
    status = make_way(ring);
    if (status == HW_OK) status = open_sector(ring, ring->lap + 1);
    if (status != HW_OK) return status;
  }
  entry.sequence = ring->next++;
  entry.lap = ring->lap;
  entry.offset = ring->offset;
  entry.size = (uint16_t)size;
  hw_put32(head, entry.sequence);
  hw_put16(head + 4, entry.size);
  hw_put16(head + 6, head_check(ring, head));
  hw_put64(head + 8, stamp);
  hw_put32(crc, hw_crc32c(hw_crc32c(ring->epoch, head, sizeof head), record, size));
  stream_start(&to, ring, entry.lap, entry.offset);
  stream_write(&to, head, sizeof head);
  stream_write(&to, record, entry.size);
  stream_write(&to, crc, sizeof crc);
  stream_pad(&to);
  if (to.status == HW_OK) to.status = check_body(ring, &entry, NULL);
  if (to.status != HW_OK) { /* What stands there is not trusted; nor is what could be written behind it. */
    ring->offset = ring->flash->sector_size;
    return HW_FLASH;
  }
  ring->offset += slot_size(entry.size);
  if (sequence != NULL) *sequence = entry.sequence;
  return HW_OK;
}

hw_status hw_ring_ack(hw_ring *ring, uint32_t sequence) {
  static const uint8_t done = 0;
  hw_entry entry = ring->tail, last;
  stream to;
  uint32_t acked = ring->acked;
  if (sequence <= acked || sequence >= ring->next) return HW_OK;
  last.size = 0;
  while (walk(ring, &entry) == HW_OK && entry.sequence <= sequence) last = entry;
  ring->acked = sequence;
  if (last.size == 0) return HW_OK;
  ring->tail = last;
  stream_start(&to, ring, last.lap, last.offset + body_size(last.size));
  do stream_write(&to, &done, 1);
  while (to.held > 0);
  return to.status;
}

void hw_ring_skip(hw_ring *ring, uint32_t sequence) {
  if (sequence >= ring->next && sequence < UINT32_MAX) ring->next = sequence + 1;
}

uint32_t hw_ring_space(const hw_ring *ring) {
  uint32_t per_sector = ring->flash->sector_size - ALIGN(SECTOR_HEAD);
  uint32_t free_sectors = ring->flash->sector_count - 1u - (ring->lap - ring->oldest_lap);
  uint32_t largest = slot_size(HW_RECORD_MAX);
  uint32_t slots = (ring->flash->sector_size - ring->offset) / largest + free_sectors * (per_sector / largest);
  return slots * HW_RECORD_MAX;
}
