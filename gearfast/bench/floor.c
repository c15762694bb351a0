// SPDX-License-Identifier: BSD-3-Clause
// The floor: the least that a one-threaded job server must do. epoll, parse, relay, a send per touched socket a round.
//
//     cc -O2 -o floor floor.c && ./floor [PORT or /PATH]      prints the port (0: any free one) or the path
//
// It mallocs and copies each job. It has one queue: names of functions and uniques are skipped, one worker is woken a
// job. A handle is the job's address, so it must only ever see the traffic of the load generator.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { NOOP = 6, JOB_CREATED = 8, NO_JOB = 10, JOB_ASSIGN = 11, WORK_COMPLETE = 13, ECHO_RES = 17, UNIQ = 31, ALL = 40,
       CONNECTIONS = 1 << 17, HANDLE = 18 };
typedef struct job { struct job *next; uint32_t client, age, size; int background; char body[]; } job;
typedef struct { char *kept, *out; size_t held, filled, sent, room; uint32_t age; char asleep, touched, blocked; } conn;

static conn conns[CONNECTIONS];
static int touched[CONNECTIONS], asleep[CONNECTIONS], touches, sleepers, poller;
static job *first, **last = &first;

static char *put(int fd, uint32_t command, size_t size) {  // room for the body of a packet, sent at the round's end
    conn *c = &conns[fd];
    if (c->filled + 12 + size > c->room) c->out = realloc(c->out, c->room = 2 * (c->filled + 12 + size));
    char *at = c->out + c->filled;
    uint32_t head[3] = {htonl(0x00524553), htonl(command), htonl(size)};  // "\0RES"
    memcpy(at, head, 12);
    c->filled += 12 + size;
    if (!c->touched) c->touched = 1, touched[touches++] = fd;
    return at + 12;
}

static void put_handle(char *at, job *j) {
    at[0] = 'H', at[1] = ':';
    for (int i = 0; i < 16; i++) at[2 + i] = "0123456789abcdef"[(uintptr_t)j >> (60 - 4 * i) & 15];
}

static void submit(int fd, char *body, uint32_t size, int background) {
    job *j = malloc(sizeof *j + size);
    *j = (job){.client = fd, .age = conns[fd].age, .size = size, .background = background};
    memcpy(j->body, body, size);
    *last = j, last = &j->next;
    put_handle(put(fd, JOB_CREATED, HANDLE), j);
    if (sleepers) put(asleep[--sleepers], NOOP, 0), conns[asleep[sleepers]].asleep = 0;
}

static void grab(int fd, uint32_t command) {
    job *j = first;
    if (!j) { put(fd, NO_JOB, 0); return; }
    if (!(first = j->next)) last = &first;
    size_t name = strlen(j->body) + 1, unique = strlen(j->body + name) + 1, kept = command == JOB_ASSIGN ? 0 : unique;
    size_t extra = command == ALL, data = j->size - name - unique;  // an empty reducer
    char *at = put(fd, command, HANDLE + 1 + name + kept + extra + data);
    put_handle(at, j), at[HANDLE] = 0;
    memcpy(at += HANDLE + 1, j->body, name + kept);
    if (extra) at[name + kept] = 0;
    memcpy(at + name + kept + extra, j->body + name + unique, data);
}

static void complete(char *body, uint32_t size) {
    job *j = (job *)strtoull(body + 2, NULL, 16);
    if (!j->background && conns[j->client].age == j->age) memcpy(put(j->client, WORK_COMPLETE, size), body, size);
    free(j);
}

static void run(int fd, uint32_t command, char *body, uint32_t size) {
    switch (command) {
    case 4: if (first) put(fd, NOOP, 0);
            else if (!conns[fd].asleep) conns[fd].asleep = 1, asleep[sleepers++] = fd;
            break;
    case 7: case 21: case 33: submit(fd, body, size, 0); break;
    case 18: case 32: case 34: submit(fd, body, size, 1); break;
    case 9: grab(fd, JOB_ASSIGN); break;
    case 30: grab(fd, UNIQ); break;
    case 39: grab(fd, ALL); break;
    case 13: complete(body, size); break;
    case 16: memcpy(put(fd, ECHO_RES, size), body, size); break;
    }
}

static void leave(int fd) {
    conn *c = &conns[fd];
    for (int i = 0; c->asleep && i < sleepers; i++) if (asleep[i] == fd) asleep[i] = asleep[--sleepers], c->asleep = 0;
    free(c->kept), free(c->out);
    *c = (conn){.age = c->age + 1, .touched = c->touched};
    close(fd);
}

static void read_ready(int fd) {
    static char *in;
    static size_t room;
    conn *c = &conns[fd];
    if (room < c->held + 65536) in = realloc(in, room = 2 * (c->held + 65536));
    if (c->held) memcpy(in, c->kept, c->held);
    ssize_t n = recv(fd, in + c->held, room - c->held, 0);
    if (n <= 0) { leave(fd); return; }
    char *at = in, *end = in + c->held + n;
    uint32_t head[3];
    while (end - at >= 12 && (memcpy(head, at, 12), end - at - 12 >= ntohl(head[2])))
        run(fd, ntohl(head[1]), at + 12, ntohl(head[2])), at += 12 + ntohl(head[2]);
    if ((c->held = end - at)) memcpy(c->kept = realloc(c->kept, c->held), at, c->held);
}

static void write_touched(int fd) {
    conn *c = &conns[fd];
    c->touched = 0;
    ssize_t n = c->filled ? send(fd, c->out + c->sent, c->filled - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (n > 0 && (c->sent += n) == c->filled) c->sent = c->filled = 0;
    if (c->blocked == (c->filled > 0)) return;
    c->blocked = c->filled > 0;
    epoll_ctl(poller, EPOLL_CTL_MOD, fd, &(struct epoll_event){EPOLLIN | (c->blocked ? EPOLLOUT : 0), {.fd = fd}});
}

static int listen_at(const char *where) {
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_port = htons(atoi(where)), .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t size = sizeof tcp;
    int local = *where == '/', fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
    strncpy(path.sun_path, where, sizeof path.sun_path - 1);
    if (bind(fd, local ? (void *)&path : (void *)&tcp, local ? sizeof path : size) || listen(fd, 4096)) exit(1);
    if (local) puts(where);
    else getsockname(fd, (struct sockaddr *)&tcp, &size), printf("%d\n", ntohs(tcp.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv) {
    struct epoll_event events[512];
    int listener = listen_at(argc > 1 ? argv[1] : "0");
    poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &(struct epoll_event){EPOLLIN, {.fd = listener}});
    for (;;) {
        int n = epoll_wait(poller, events, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd != listener) {
                if (events[i].events & EPOLLOUT && !conns[fd].touched) conns[fd].touched = 1, touched[touches++] = fd;
                if (events[i].events & ~EPOLLOUT) read_ready(fd);
            } else if ((fd = accept(listener, NULL, NULL)) >= 0 && fd < CONNECTIONS) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
                epoll_ctl(poller, EPOLL_CTL_ADD, fd, &(struct epoll_event){EPOLLIN, {.fd = fd}});
            }
        }
        while (touches) write_touched(touched[--touches]);
    }
}
