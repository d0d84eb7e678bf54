/*
 * A serial cable between two ptys: sim_line LINK_A LINK_B BAUD NOISE SEED. Bytes are paced to BAUD (10 bits each, both ways at
 * once) and flipped, inserted or dropped with the probability NOISE a byte. SIGUSR1 pulls the cable, or plugs it in again.
 * At its end (SIGTERM) it prints how many bytes went each way.
 */
#define _XOPEN_SOURCE 600
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t is_pulled, is_over;
static void on_signal(int number) {
  if (number == SIGUSR1) is_pulled = !is_pulled;
  else is_over = 1;
}

static uint32_t seed;
static uint32_t random_next(void) {
  seed ^= seed << 13;
  seed ^= seed >> 17;
  seed ^= seed << 5;
  return seed;
}

static double seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int open_end(const char *link) {
  struct termios raw;
  int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
  const char *name;
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 || (name = ptsname(master)) == NULL) exit(1);
  slave = open(name, O_RDWR | O_NOCTTY); /* stays open: the end does not hang up when its user goes */
  if (slave < 0 || tcgetattr(slave, &raw) != 0) exit(1);
  cfmakeraw(&raw);
  tcsetattr(slave, TCSANOW, &raw);
  unlink(link);
  if (symlink(name, link) != 0) exit(1);
  fcntl(master, F_SETFL, O_NONBLOCK);
  return master;
}

/* Moves what `rate` allows since the last time. */
static void move(int from, int to, double rate, double noise, double *credit, unsigned long *moved) {
  uint8_t in[256], out[512];
  size_t size = 0, want = *credit > (double)sizeof in ? sizeof in : (size_t)*credit;
  ssize_t got = want == 0 ? 0 : read(from, in, want), i;
  if (got <= 0) {
    if (*credit > rate / 50) *credit = rate / 50; /* an idle line saves nothing up */
    return;
  }
  *credit -= (double)got;
  *moved += (unsigned long)got;
  for (i = 0; i < got; i++) {
    double dice = (double)random_next() / 4294967296.0;
    if (dice >= noise) out[size++] = in[i];
    else if (dice < noise / 3) out[size++] = (uint8_t)(in[i] ^ 1u << random_next() % 8);
    else if (dice < noise * 2 / 3) {
      out[size++] = (uint8_t)random_next();
      out[size++] = in[i];
    }
  }
  if (!is_pulled && size > 0 && write(to, out, size) < 0) return; /* nobody reads: lost, as on a wire */
}

int main(int count, char **arguments) {
  int a, b;
  double rate, noise, last, credit[2] = {0, 0};
  unsigned long moved[2] = {0, 0};
  if (count != 6) return 2;
  rate = atof(arguments[3]) / 10;
  noise = atof(arguments[4]);
  seed = (uint32_t)strtoul(arguments[5], NULL, 10) | 1u;
  signal(SIGUSR1, on_signal);
  signal(SIGTERM, on_signal);
  signal(SIGINT, on_signal);
  a = open_end(arguments[1]);
  b = open_end(arguments[2]);
  puts("ready");
  fflush(stdout);
  last = seconds();
  while (!is_over) {
    struct pollfd none = {-1, 0, 0};
    double now = seconds();
    credit[0] += (now - last) * rate;
    credit[1] += (now - last) * rate;
    last = now;
    move(a, b, rate, noise, &credit[0], &moved[0]);
    move(b, a, rate, noise, &credit[1], &moved[1]);
    poll(&none, 1, 1);
  }
  printf("%lu %lu\n", moved[0], moved[1]);
  return 0;
}
