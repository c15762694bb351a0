# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Traffic at the speed of C: many connections on one epoll, without the GIL.

`Clients` (`_clients`) submits jobs and waits for them, `Workers` (`_workers`) grabs and completes them. Each runs in a
process of its own (`gearfast.bench.load`) and must cost less than the server that it measures, so a turn of the loop
reads each ready socket once and sends once on it. The parsing of packets is its own: what measures a codec must not
depend on it.

The first twelve bytes of each workload name its connection, its slot in the window and its sequence number. A worker
sends the workload back, so a client knows each result for its own, counts each job once and needs no table.
"""

from libc.errno cimport EAGAIN, EINTR, EPIPE
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.unistd cimport close

from gearfast.bench._tls_link cimport TlsLink

import socket as _socket


cdef extern from "<errno.h>" nogil:
    int errno


cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT
    enum: MSG_NOSIGNAL
    ssize_t recv(int, void*, size_t, int)
    ssize_t send(int, const void*, size_t, int)


cdef int64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t>t.tv_sec * 1000000000 + t.tv_nsec


cdef class Load:
    """What clients and workers share: connections, one epoll, packets in and out.

    `sockets` are connected stream sockets, or TlsLinks all of them; the load takes their descriptors over. `control` is
    a descriptor whose being readable ends a run, or -1.
    """

    def __cinit__(self, sockets, int control=-1, *args, **settings):
        cdef epoll_event event
        self.poller = epoll_create1(0)
        self.count = len(sockets)
        self.control = control
        self.conns = <Conn*>calloc(max(self.count, 1), sizeof(Conn))
        if self.conns == NULL or self.poller < 0:
            raise MemoryError
        for index in range(self.count):
            self.conns[index].fd = -1  # until it has its socket: 0 would be closed in its stead
        if self.count and isinstance(sockets[0], TlsLink):
            self.links = list(sockets)
        for index, sock in enumerate(sockets):
            sock.setblocking(False)
            if sock.family != _socket.AF_UNIX:
                sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            self.conns[index].fd = sock.detach()
            self.conns[index].number = index
            self._watch(&self.conns[index])
        if control >= 0:
            event.events = EPOLLIN
            event.data.u64 = CONTROL
            epoll_ctl(self.poller, EPOLL_CTL_ADD, control, &event)

    def __dealloc__(self):
        self.close()

    def close(self):
        """Closes all connections. The load cannot be used any more."""
        cdef Conn* c
        if self.conns != NULL:
            for index in range(self.count):
                c = &self.conns[index]
                if c.fd >= 0:
                    close(c.fd)
                free(c.kept)
                free(c.out)
                free(c.spare)
                free(c.slot_sequence)
                free(c.slot_time)
            free(self.conns)
            self.conns = NULL
            self.count = 0
        if self.poller >= 0:
            close(self.poller)
            self.poller = -1

    def _check(self):
        if self.problem[0]:
            raise RuntimeError(self.problem.decode("utf-8", "replace"))

    cdef void _fail(self, const char* text) noexcept nogil:
        cdef int i = 0
        if not self.problem[0]:
            while text[i] and i < 255:
                self.problem[i] = text[i]
                i += 1
            self.problem[i] = 0

    cdef void _watch(self, Conn* c) noexcept nogil:
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.u64 = c.number
        epoll_ctl(self.poller, EPOLL_CTL_ADD, c.fd, &event)

    cdef char* _room(self, Conn* c, uint32_t magic, uint32_t command, size_t size) noexcept nogil:
        """Writes a header and returns where the body goes."""
        cdef size_t need = c.filled + HEADER + size
        cdef char* at
        if need > c.out_room:
            c.out_room = 2 * need
            c.out = <char*>realloc(c.out, c.out_room)
        at = c.out + c.filled
        put_u32(at, magic)
        put_u32(at + 4, command)
        put_u32(at + 8, <uint32_t>size)
        c.filled = need
        return at + HEADER

    cdef void _request(self, Conn* c, uint32_t command) noexcept nogil:
        self._room(c, 0x00524551, command, 0)

    cdef void _flush(self, Conn* c) noexcept nogil:
        """Sends what is there, once; waits for room when the send falls short."""
        cdef epoll_event event
        cdef ssize_t n
        if c.filled == 0:
            return
        n = self._give(c, c.out + c.sent, c.filled - c.sent)
        if n < 0 and errno != EAGAIN and errno != EINTR:
            self._fail(b"a send failed: the server closed a connection")
            return
        if n > 0:
            c.sent += n
        if c.sent == c.filled:
            c.sent = c.filled = 0
        if c.blocked != (c.filled > 0):
            c.blocked = c.filled > 0
            event.events = EPOLLIN | (EPOLLOUT if c.blocked else 0)
            event.data.u64 = c.number
            epoll_ctl(self.poller, EPOLL_CTL_MOD, c.fd, &event)

    cdef void _receive(self, Conn* c) noexcept nogil:
        """Reads once and hands every complete packet to `_packet`."""
        cdef size_t at = 0
        cdef size_t size
        cdef ssize_t n
        if c.kept_room - c.held < FIRST_ROOM // 2:
            c.kept_room = 2 * c.kept_room + FIRST_ROOM
            c.kept = <char*>realloc(c.kept, c.kept_room)
        n = self._take(c, c.kept + c.held, c.kept_room - c.held)
        if n <= 0:
            if n == 0 or (errno != EAGAIN and errno != EINTR):
                self._fail(b"the server closed a connection")
            return
        c.held += n
        while c.held - at >= HEADER:
            size = get_u32(c.kept + at + 8)
            if c.held - at - HEADER < size:
                break
            self._packet(c, get_u32(c.kept + at + 4), c.kept + at + HEADER, size)
            if c.fresh:                         # nothing of the old connection counts
                c.fresh = False
                return
            at += HEADER + size
        c.held -= at
        if at and c.held:
            memmove(c.kept, c.kept + at, c.held)

    cdef ssize_t _take(self, Conn* c, char* data, size_t room) noexcept nogil:
        """recv, below TLS or not."""
        global errno
        cdef ssize_t size = 0
        if self.links is None:
            return recv(c.fd, data, room, MSG_DONTWAIT)
        with gil:
            try:
                size = (<TlsLink>self.links[c.number]).receive(c.fd, data, room)
            except OSError:
                pass        # as if it had ended
        if size < 0:
            errno = EAGAIN      # whoever waited for the GIL may have changed it
        return size

    cdef ssize_t _give(self, Conn* c, const char* data, size_t size) noexcept nogil:
        """send, below TLS or not."""
        global errno
        cdef ssize_t sent = -1
        if self.links is None:
            return send(c.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        with gil:
            try:
                sent = (<TlsLink>self.links[c.number]).send(c.fd, data, size)
            except OSError:
                pass
        if sent < 0:
            errno = EPIPE
        return sent

    cdef void _packet(self, Conn* c, uint32_t command, const char* body, size_t size) noexcept nogil:
        pass

    cdef void _error(self, const char* body, size_t size) noexcept nogil:
        """ERROR from the server: code NUL text."""
        cdef char text[200]
        cdef size_t i
        size = min(size, <size_t>190)
        for i in range(size):
            text[i] = body[i] if body[i] else c" "
        text[size] = 0
        self._fail(text)

    def step(self):
        """Reads what has come and sends what it calls for, without waiting. Raises RuntimeError as a run does."""
        with nogil:
            while self._turn(0) > 0 and not self.problem[0]:
                pass
        self._check()

    cdef int _turn(self, int timeout=STALL) noexcept nogil:
        """Waits for ready sockets, reads each of them once and sends once on it; returns how many there were.

        timeout: -1: however long it takes, 0: not at all.
        """
        cdef int i, n
        cdef Conn* c
        n = epoll_wait(self.poller, self.events, TURN, timeout)
        self.now = now_ns()
        if n == 0 and timeout:
            self._fail(b"no event for 30 s: a reply is missing")
        for i in range(n):
            if self.events[i].data.u64 == CONTROL:
                self.called = True
                continue
            if self.events[i].data.u64 == TIMER:
                self.ticked = True
                continue
            c = &self.conns[self.events[i].data.u64]
            if self.events[i].events & ~<uint32_t>EPOLLOUT:
                self._receive(c)
            self._flush(c)
        return n
