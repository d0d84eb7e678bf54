/* Preloaded into a broker: while the file $FAIL_WHILE exists, what is written below $FAIL_BELOW fails with EIO. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(int fd) {
  const char *below = getenv("FAIL_BELOW"), *flag = getenv("FAIL_WHILE");
  char link[64], path[4096];
  ssize_t length;
  if (below == NULL || flag == NULL) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  return strncmp(path, below, strlen(below)) == 0 && access(flag, F_OK) == 0;
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)
#define FAIL(fd) do { int saved = errno; if (fails(fd)) { errno = EIO; return -1; } errno = saved; } while (0)

ssize_t write(int fd, const void *bytes, size_t count) { REAL(write); FAIL(fd); return real(fd, bytes, count); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { REAL(pwrite64); FAIL(fd); return real(fd, bytes, count, at); }
ssize_t writev(int fd, const struct iovec *parts, int count) { REAL(writev); FAIL(fd); return real(fd, parts, count); }
int fsync(int fd) { REAL(fsync); FAIL(fd); return real(fd); }
int fdatasync(int fd) { REAL(fdatasync); FAIL(fd); return real(fd); }
