// SPDX-License-Identifier: BSD-3-Clause
// Loaded into a process by LD_PRELOAD: notes what it does to the files of one folder, in the order in which it does it.
//
//   POWER_FOLDER   files below it are noted
//   POWER_LOG      the file of notes: for each a struct note, then the path, then the data of a write
//
// A write is noted before it is done, a sync when it has returned: so what is noted as synced was.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, WRITE = 2, TRUNCATE = 3, SYNC = 4, UNLINK = 5 };

struct note {
    uint32_t kind;
    uint32_t path;    // bytes
    int64_t offset;   // of a write; the new size of a truncation
    uint64_t size;    // bytes of a write
    int64_t time;     // CLOCK_MONOTONIC, ns
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void note(uint32_t kind, const char *path, int64_t offset, const void *data, uint64_t size) {
    static ssize_t (*real_writev)(int, const struct iovec *, int);
    struct timespec now;
    const char *folder = getenv("POWER_FOLDER");
    if (!folder || strncmp(path, folder, strlen(folder)) != 0) return;
    pthread_mutex_lock(&lock);
    if (!real_writev) real_writev = real("writev");
    if (log_fd < 0) {
        int (*real_open)(const char *, int, ...) = real("open");
        log_fd = real_open(getenv("POWER_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) abort();
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct note head = {kind, strlen(path), offset, size, now.tv_sec * 1000000000LL + now.tv_nsec};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)path, head.path}, {(void *)data, size}};
    if (real_writev(log_fd, parts, 3) != (ssize_t)(sizeof head + head.path + size)) abort();
    pthread_mutex_unlock(&lock);
}

static void note_fd(uint32_t kind, int fd, int64_t offset, const void *data, uint64_t size) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    note(kind, path, offset, data, size);
}

#define OPEN(name)                                                    \
    int name(const char *path, int flags, ...) {                      \
        static int (*next)(const char *, int, ...);                   \
        mode_t mode = 0;                                              \
        if (flags & O_CREAT) {                                        \
            va_list rest;                                             \
            va_start(rest, flags);                                    \
            mode = va_arg(rest, mode_t);                              \
            va_end(rest);                                             \
        }                                                             \
        if (!next) next = real(#name);                                \
        int is_new = (flags & O_CREAT) && access(path, F_OK) != 0;    \
        int fd = next(path, flags, mode);                             \
        if (fd >= 0 && is_new) note_fd(CREATE, fd, 0, NULL, 0);       \
        return fd;                                                    \
    }
OPEN(open)
OPEN(open64)

#define PWRITE(name, offset_type)                                                     \
    ssize_t name(int fd, const void *data, size_t size, offset_type offset) {         \
        static ssize_t (*next)(int, const void *, size_t, offset_type);               \
        if (!next) next = real(#name);                                                \
        note_fd(WRITE, fd, offset, data, size);                                       \
        return next(fd, data, size, offset);                                          \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATION(name, offset_type)                    \
    int name(int fd, offset_type size) {                 \
        static int (*next)(int, offset_type);            \
        if (!next) next = real(#name);                   \
        note_fd(TRUNCATE, fd, size, NULL, 0);            \
        return next(fd, size);                           \
    }
TRUNCATION(ftruncate, off_t)
TRUNCATION(ftruncate64, off64_t)

#define SYNCING(name)                                          \
    int name(int fd) {                                         \
        static int (*next)(int);                               \
        if (!next) next = real(#name);                         \
        int result = next(fd);                                 \
        if (result == 0) note_fd(SYNC, fd, 0, NULL, 0);        \
        return result;                                         \
    }
SYNCING(fsync)
SYNCING(fdatasync)

int unlink(const char *path) {
    static int (*next)(const char *);
    if (!next) next = real("unlink");
    note(UNLINK, path, 0, NULL, 0);
    return next(path);
}

// What would go past the notes.
ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = real("write");
    if (fd > 2) note_fd(WRITE, fd, lseek(fd, 0, SEEK_CUR), data, size);
    return next(fd, data, size);
}
