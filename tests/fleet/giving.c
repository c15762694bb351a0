/* SPDX-License-Identifier: BSD-3-Clause */
/* To be preloaded: each job that a server gives out becomes a line of the file $GIVING_FILE: when its thread was woken
 * to decide about it, when it was sent (both CLOCK_MONOTONIC, ns), its handle and its function. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char ASSIGN[8] = "\0RES\0\0\0\13";
static int lines = -1;
static __thread long long woken;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("GIVING_FILE");
    lines = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void look(const char *data, size_t size) {
    const char *end = data + size;
    while (lines >= 0 && (data = memmem(data, end - data, ASSIGN, 8)) != NULL) {
        const char *handle = data + 12;
        const char *function = handle < end ? memchr(handle, 0, end - handle) : NULL;
        if (function == NULL || memchr(function + 1, 0, end - function - 1) == NULL)
            return;
        dprintf(lines, "%lld %lld %s %s\n", woken, now(), handle, function + 1);
        data = function;
    }
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout) {
    static int (*real)(int, struct epoll_event *, int, int);
    int count;
    if (!real)
        real = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
    count = real(fd, events, most, timeout);
    woken = now();
    return count;
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
    static ssize_t (*real)(int, const void *, size_t, int);
    if (!real)
        real = (ssize_t (*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
    look(data, size);
    return real(fd, data, size, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    static ssize_t (*real)(int, const struct msghdr *, int);
    size_t i;
    if (!real)
        real = (ssize_t (*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
    for (i = 0; i < message->msg_iovlen; i++)
        look(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
    return real(fd, message, flags);
}
