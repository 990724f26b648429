/* What a program does to the files below DISK_ROOT, and what it says and hears on its sockets, in one order.

   To be loaded before the C library (LD_PRELOAD). Each call becomes a record at the end of the file DISK_LOG:
   a write and a change of names once it is done, a sync twice, as it begins and as it ends, what is said on a
   socket before it is sent. Several programs, one after the other, may share a log.

   DISK_FAULT (an errno's number) makes the DISK_FAULT_AT-th write or sync below DISK_ROOT fail, counted from 1;
   with DISK_FAULT_UNTIL also every write after it, until that file exists. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define HEARD 400 /* bytes kept of what comes in: the first lines of a request */

struct record {
  uint32_t size; /* with what follows it: name, other name, data */
  uint8_t kind, dsync;
  uint16_t name, other;
  uint16_t unused;
  int32_t pid, fd;
  uint64_t at, offset; /* ns of the monotonic clock; bytes */
} __attribute__((packed));

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static char root[PATH_MAX];
static size_t root_length;
static int fault, fault_at, operations;
static const char *fault_until;

/* A signal's handler writes to a descriptor too: it has to wait until we are done. */
static void take_order(sigset_t *before) {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, before);
  pthread_mutex_lock(&order);
}

static void leave_order(const sigset_t *before) {
  pthread_mutex_unlock(&order);
  pthread_sigmask(SIG_SETMASK, before, NULL);
}

__attribute__((constructor)) static void begin(void) {
  const char *log = getenv("DISK_LOG"), *where = getenv("DISK_ROOT"), *what = getenv("DISK_FAULT");
  if (!log || !where) return;
  int fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  log_fd = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900); /* out of the way of the program's own */
  syscall(SYS_close, fd);
  root_length = strlen(where);
  memcpy(root, where, root_length + 1);
  if (what) {
    fault = atoi(what);
    fault_at = atoi(getenv("DISK_FAULT_AT"));
    fault_until = getenv("DISK_FAULT_UNTIL");
  }
}

static int below_root(const char *path) {
  return log_fd >= 0 && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int is_socket(const char *path) { return log_fd >= 0 && !strncmp(path, "socket:", 7); }

/* What a descriptor is: a path, or "socket:[...]". */
static void name_of(int fd, char *path) {
  char link[40];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = log_fd < 0 ? 0 : syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
  path[length < 0 ? 0 : length] = 0;
}

/* The whole path of a name, seen from a directory. */
static void whole(int directory, const char *name, char *path) {
  if (log_fd < 0) {
    path[0] = 0;
  } else if (name[0] == '/') {
    snprintf(path, PATH_MAX, "%s", name);
  } else {
    char from[PATH_MAX];
    if (directory == AT_FDCWD) {
      if (syscall(SYS_getcwd, from, PATH_MAX) < 0) from[0] = 0;
    } else {
      name_of(directory, from);
    }
    size_t length = strlen(from);
    memcpy(path, from, length);
    path[length] = '/';
    snprintf(path + length + 1, PATH_MAX - length - 1, "%s", name);
  }
}

static void note(char kind, const char *name, const char *other, int fd, int dsync, uint64_t offset,
                 const struct iovec *parts, int count, size_t size) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  size_t name_length = strlen(name), other_length = other ? strlen(other) : 0;
  size_t all = sizeof(struct record) + name_length + other_length + size;
  char *text = malloc(all), *to = text + sizeof(struct record);
  struct record head = {all,          kind,  dsync, name_length, other_length, 0,
                        getpid(),     fd,    now.tv_sec * 1000000000ull + now.tv_nsec, offset};
  memcpy(text, &head, sizeof head);
  memcpy(to, name, name_length);
  to += name_length;
  if (other) memcpy(to, other, other_length);
  to += other_length;
  for (int i = 0; i < count && size; i++) {
    size_t part = parts[i].iov_len < size ? parts[i].iov_len : size;
    memcpy(to, parts[i].iov_base, part);
    to += part;
    size -= part;
  }
  for (size_t done = 0; done < all;) {
    ssize_t n = syscall(SYS_write, log_fd, text + done, all - done);
    if (n < 0 && errno != EINTR) abort(); /* a record that lacks would prove what is not so */
    if (n > 0) done += n;
  }
  free(text);
}

static void note_name(char kind, const char *name, const char *other) {
  int kept = errno;
  note(kind, name, other, -1, 0, 0, NULL, 0, 0);
  errno = kept;
}

/* Whether this write or sync is to fail. */
static int fails(char kind, const char *path, int fd) {
  if (!fault) return 0;
  operations++;
  int now = operations == fault_at;
  if (operations > fault_at && fault_until && kind == 'W')
    now = syscall(SYS_faccessat, AT_FDCWD, fault_until, F_OK) < 0;
  if (now) {
    note('F', path, kind == 'W' ? "write" : "sync", fd, (fcntl(fd, F_GETFL) & O_DSYNC) == O_DSYNC, operations,
         NULL, 0, 0);
    errno = fault;
  }
  return now;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* ---- writes ---- */

enum how { WRITE, WRITEV, PWRITE, PWRITEV };

static size_t total(const struct iovec *parts, int count) {
  size_t sum = 0;
  for (int i = 0; i < count; i++) sum += parts[i].iov_len;
  return sum;
}

static ssize_t really(enum how how, int fd, const struct iovec *parts, int count, off_t offset) {
  switch (how) {
    case WRITE: return REAL(write)(fd, parts->iov_base, parts->iov_len);
    case WRITEV: return REAL(writev)(fd, parts, count);
    case PWRITE: return REAL(pwrite)(fd, parts->iov_base, parts->iov_len, offset);
    default: return REAL(pwritev)(fd, parts, count, offset);
  }
}

static ssize_t written(enum how how, int fd, const struct iovec *parts, int count, off_t offset) {
  sigset_t before;
  char path[PATH_MAX];
  int kept = errno;
  name_of(fd, path);
  errno = kept;
  if (is_socket(path)) {
    take_order(&before);
    note('O', "", NULL, fd, 0, 0, parts, count, total(parts, count));
    leave_order(&before);
  }
  if (!below_root(path)) return really(how, fd, parts, count, offset);
  take_order(&before);
  int flags = fcntl(fd, F_GETFL);
  struct stat found;
  if (how == WRITE || how == WRITEV) {
    offset = lseek(fd, 0, SEEK_CUR);
    if (flags & O_APPEND) offset = fstat(fd, &found) ? 0 : found.st_size;
  }
  ssize_t n = fails('W', path, fd) ? -1 : really(how, fd, parts, count, offset);
  kept = errno;
  if (n > 0) note('W', path, NULL, fd, (flags & O_DSYNC) == O_DSYNC, offset, parts, count, n);
  leave_order(&before);
  errno = kept;
  return n;
}

ssize_t write(int fd, const void *data, size_t size) {
  struct iovec part = {(void *)data, size};
  return written(WRITE, fd, &part, 1, 0);
}

ssize_t writev(int fd, const struct iovec *parts, int count) { return written(WRITEV, fd, parts, count, 0); }

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
  struct iovec part = {(void *)data, size};
  return written(PWRITE, fd, &part, 1, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return pwrite(fd, data, size, offset); }

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  return written(PWRITEV, fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
  return pwritev(fd, parts, count, offset);
}

/* ---- sockets ---- */

static void said(int fd, const struct iovec *parts, int count) {
  sigset_t before;
  if (log_fd < 0) return;
  int kept = errno;
  take_order(&before);
  note('O', "", NULL, fd, 0, 0, parts, count, total(parts, count));
  leave_order(&before);
  errno = kept;
}

static void heard(int fd, const struct iovec *parts, int count, ssize_t size) {
  sigset_t before;
  char path[PATH_MAX];
  int kept = errno;
  if (size > 0 && log_fd >= 0) {
    name_of(fd, path);
    if (is_socket(path)) {
      take_order(&before);
      note('I', "", NULL, fd, 0, 0, parts, count, size < HEARD ? size : HEARD);
      leave_order(&before);
    }
  }
  errno = kept;
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
  struct iovec part = {(void *)data, size};
  said(fd, &part, 1);
  return REAL(send)(fd, data, size, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  said(fd, message->msg_iov, message->msg_iovlen);
  return REAL(sendmsg)(fd, message, flags);
}

ssize_t read(int fd, void *data, size_t size) {
  ssize_t n = REAL(read)(fd, data, size);
  struct iovec part = {data, size};
  heard(fd, &part, 1, n);
  return n;
}

ssize_t recv(int fd, void *data, size_t size, int flags) {
  ssize_t n = REAL(recv)(fd, data, size, flags);
  struct iovec part = {data, size};
  heard(fd, &part, 1, n);
  return n;
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
  ssize_t n = REAL(recvmsg)(fd, message, flags);
  heard(fd, message->msg_iov, message->msg_iovlen, n);
  return n;
}

/* ---- syncs ---- */

static int synced(int fd, int (*really_sync)(int)) {
  sigset_t before;
  char path[PATH_MAX];
  name_of(fd, path);
  if (!below_root(path)) return really_sync(fd);
  take_order(&before);
  int broken = fails('S', path, fd), kept = errno;
  if (!broken) note('S', path, NULL, fd, 0, 0, NULL, 0, 0);
  leave_order(&before);
  errno = kept;
  if (broken) return -1;
  int result = really_sync(fd);
  kept = errno;
  if (!result) {
    take_order(&before);
    note('s', path, NULL, fd, 0, 0, NULL, 0, 0);
    leave_order(&before);
  }
  errno = kept;
  return result;
}

int fsync(int fd) { return synced(fd, REAL(fsync)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

/* ---- sizes and names ---- */

int ftruncate(int fd, off_t size) {
  sigset_t before;
  char path[PATH_MAX];
  name_of(fd, path);
  if (!below_root(path)) return REAL(ftruncate)(fd, size);
  take_order(&before);
  int result = REAL(ftruncate)(fd, size);
  if (!result) note('T', path, NULL, fd, 0, size, NULL, 0, 0);
  leave_order(&before);
  return result;
}
int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int truncate(const char *name, off_t size) {
  sigset_t before;
  char path[PATH_MAX];
  whole(AT_FDCWD, name, path);
  if (!below_root(path)) return REAL(truncate)(name, size);
  take_order(&before);
  int result = REAL(truncate)(name, size);
  if (!result) note('T', path, NULL, -1, 0, size, NULL, 0, 0);
  leave_order(&before);
  return result;
}
int truncate64(const char *name, off_t size) { return truncate(name, size); }

static int opened(int directory, const char *name, int flags, mode_t mode) {
  sigset_t before;
  char path[PATH_MAX];
  whole(directory, name, path);
  int changes = below_root(path) && (flags & (O_CREAT | O_TRUNC)) && (flags & O_TMPFILE) != O_TMPFILE;
  if (!changes) return syscall(SYS_openat, directory, name, flags, mode);
  take_order(&before);
  int existed = !syscall(SYS_faccessat, AT_FDCWD, path, F_OK);
  int fd = syscall(SYS_openat, directory, name, flags, mode);
  if (fd >= 0 && !existed) note_name('C', path, NULL);
  if (fd >= 0 && existed && (flags & O_TRUNC)) note_name('T', path, NULL);
  leave_order(&before);
  return fd;
}

#define MODE                         \
  mode_t mode = 0;                   \
  if (flags & (O_CREAT | O_TMPFILE)) { \
    va_list rest;                    \
    va_start(rest, flags);           \
    mode = va_arg(rest, mode_t);     \
    va_end(rest);                    \
  }

int open(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE return opened(AT_FDCWD, name, flags, mode); }
int openat(int directory, const char *name, int flags, ...) { MODE return opened(directory, name, flags, mode); }
int openat64(int directory, const char *name, int flags, ...) { MODE return opened(directory, name, flags, mode); }

/* A call that changes names: done and noted as one. */
#define NAMED(kind, directory, name, other_directory, other_name, call)  \
  sigset_t before;                                                        \
  char path[PATH_MAX], other[PATH_MAX];                                   \
  whole(directory, name, path);                                          \
  whole(other_directory, other_name, other);                             \
  if (!below_root(path) && !below_root(other)) return call;              \
  take_order(&before);                                            \
  int result = call;                                                     \
  if (!result) note_name(kind, path, other);                             \
  leave_order(&before);                                          \
  return result;

int rename(const char *a, const char *b) { NAMED('R', AT_FDCWD, a, AT_FDCWD, b, REAL(rename)(a, b)) }
int renameat(int d, const char *a, int e, const char *b) { NAMED('R', d, a, e, b, REAL(renameat)(d, a, e, b)) }
int link(const char *a, const char *b) { NAMED('L', AT_FDCWD, a, AT_FDCWD, b, REAL(link)(a, b)) }
int linkat(int d, const char *a, int e, const char *b, int flags) {
  NAMED('L', d, a, e, b, REAL(linkat)(d, a, e, b, flags))
}
int symlink(const char *a, const char *b) { NAMED('L', AT_FDCWD, b, AT_FDCWD, b, REAL(symlink)(a, b)) }
int mkdir(const char *a, mode_t mode) { NAMED('M', AT_FDCWD, a, AT_FDCWD, a, REAL(mkdir)(a, mode)) }
int mkdirat(int d, const char *a, mode_t mode) { NAMED('M', d, a, d, a, REAL(mkdirat)(d, a, mode)) }
int unlink(const char *a) { NAMED('U', AT_FDCWD, a, AT_FDCWD, a, REAL(unlink)(a)) }
int rmdir(const char *a) { NAMED('U', AT_FDCWD, a, AT_FDCWD, a, REAL(rmdir)(a)) }
int unlinkat(int d, const char *a, int flags) { NAMED('U', d, a, d, a, REAL(unlinkat)(d, a, flags)) }
