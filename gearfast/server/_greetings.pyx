# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Greetings: connections with TLS until their handshake is done.

One that says nothing costs its descriptor and a record of C. They are kept in the order of their age, so that the next
whose time is over is the first, and those whose handshake is under way, or waits for its turn, in a second list each.
"""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, realloc

from gearfast.server._greetings cimport AGE, GREETING, STARTED, WAITING, Chain, Ends, Greeting
from gearfast.server._guard cimport BURST_FULL, BURST_SILENT, Guard
from gearfast.server._linux cimport (
    ADDRESS,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLIN,
    FIONREAD,
    close,
    epoll_ctl,
    epoll_event,
    ioctl,
    read_port,
    sockaddr_storage,
    write_address,
)
from gearfast.server._sockets cimport KIND_CLOSED, Sockets, make_mark

cdef enum:
    LOOKS = 64                  # for one that has said nothing

cdef int64_t SECOND = 1000000000
cdef int64_t PATIENCE = SECOND  # with a handshake while others wait


cdef class Greetings(Sockets):
    """Sockets some of which are to speak TLS; what they say in it is known to `_tls.pyx`."""

    def __cinit__(self, *args, **settings):
        cdef int chain
        self.starting = {}
        self.greeting_free = -1
        for chain in range(3):
            self.chains[chain].first = self.chains[chain].last = -1

    def __dealloc__(self):
        self.close_all(False)
        free(self.greetings)

    @property
    def handshakes(self):
        """Connections that are not through their handshake: (all, those that have begun it)."""
        return self.chains[<int>AGE].count, self.chains[<int>STARTED].count

    cdef void add_to(self, Chain chain, int slot) noexcept nogil:
        cdef Ends* ends = &self.chains[<int>chain]
        cdef int which = chain != AGE
        self.greetings[slot].links[which].before = ends.last
        self.greetings[slot].links[which].behind = -1
        if ends.last >= 0:
            self.greetings[ends.last].links[which].behind = slot
        else:
            ends.first = slot
        ends.last = slot
        ends.count += 1
        if which:
            self.greetings[slot].chain = chain

    cdef void take_from(self, Chain chain, int slot) noexcept nogil:
        cdef Ends* ends = &self.chains[<int>chain]
        cdef int which = chain != AGE
        cdef int before = self.greetings[slot].links[which].before
        cdef int behind = self.greetings[slot].links[which].behind
        if before >= 0:
            self.greetings[before].links[which].behind = behind
        else:
            ends.first = behind
        if behind >= 0:
            self.greetings[behind].links[which].before = before
        else:
            ends.last = before
        ends.count -= 1
        if which:
            self.greetings[slot].chain = AGE

    cdef int new_greeting(self) noexcept nogil:
        """A free slot, -1 without memory."""
        cdef int slot = self.greeting_free
        cdef int room
        cdef Greeting* greetings
        if slot < 0:
            room = 2 * self.greeting_room + 16
            greetings = <Greeting*>realloc(self.greetings, room * sizeof(Greeting))
            if greetings == NULL:
                return -1
            self.greetings = greetings
            for slot in range(self.greeting_room, room):
                greetings[slot].fd = -1
                greetings[slot].links[1].behind = slot + 1 if slot + 1 < room else -1
            slot = self.greeting_room
            self.greeting_room = room
        self.greeting_free = self.greetings[slot].links[1].behind
        return slot

    cdef void free_greeting(self, int slot) noexcept nogil:
        """The slot's descriptor is somebody else's now, or closed."""
        if self.greetings[slot].chain:
            self.take_from(<Chain>self.greetings[slot].chain, slot)
        self.take_from(AGE, slot)
        self.greetings[slot].fd = -1
        self.greetings[slot].links[1].behind = self.greeting_free
        self.greeting_free = slot
        self.resume()

    cdef void resume(self) noexcept nogil:
        """Let the next of those that wait begin, if there is room."""
        cdef int slot = self.chains[<int>WAITING].first
        if slot >= 0 and self.chains[<int>STARTED].count < self.most_handshakes:
            self.take_from(WAITING, slot)
            self.watch_greeting(slot, EPOLLIN)

    cdef void watch_greeting(self, int slot, uint32_t mask) noexcept nogil:
        cdef epoll_event event
        event.events = mask
        event.data.u64 = make_mark(KIND_CLOSED, GREETING | slot)
        epoll_ctl(self.epoll, EPOLL_CTL_MOD, self.greetings[slot].fd, &event)

    cdef void adopt_secure(self, int fd, const sockaddr_storage* address, int slot) noexcept nogil:
        cdef epoll_event event
        cdef Greeting* greeting
        cdef int number = -1
        cdef char text[ADDRESS]
        if self.max_connections and self.core.peer_count + self.chains[<int>AGE].count >= self.max_connections \
                and not self.make_place():
            write_address(address, text)
            self.burst(BURST_FULL, text)
        else:
            number = self.new_greeting()
        if number < 0:
            close(fd)
            return
        greeting = &self.greetings[number]
        greeting.fd = fd
        greeting.listener = slot
        greeting.chain = AGE
        greeting.blocked = False
        greeting.accepted = self.core.now
        greeting.port = read_port(address)
        write_address(address, greeting.address)
        self.add_to(AGE, number)
        event.events = EPOLLIN
        event.data.u64 = make_mark(KIND_CLOSED, GREETING | number)
        if epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            self.free_greeting(number)
            close(fd)

    cdef bint make_place(self) noexcept nogil:
        """Close one of the oldest that has said nothing, else a peer that has not."""
        cdef int slot = self.chains[<int>AGE].first
        cdef int _, unread
        for _ in range(LOOKS):
            if slot < 0:
                break
            unread = 1
            if self.greetings[slot].chain == AGE:
                ioctl(self.greetings[slot].fd, FIONREAD, &unread)
            if not unread:
                self.burst(BURST_SILENT, self.greetings[slot].address)
                epoll_ctl(self.epoll, EPOLL_CTL_DEL, self.greetings[slot].fd, NULL)
                close(self.greetings[slot].fd)
                self.free_greeting(slot)
                return True
            slot = self.greetings[slot].links[0].behind
        return Guard.make_place(self)

    cdef void end_greetings(self, int listener) noexcept:
        """Close the connections of a listener, or with -1 of all, that are not through their handshake."""
        cdef int slot
        for slot in range(self.greeting_room):
            if self.greetings[slot].fd >= 0 and (listener < 0 or self.greetings[slot].listener == listener):
                if self.epoll >= 0:
                    epoll_ctl(self.epoll, EPOLL_CTL_DEL, self.greetings[slot].fd, NULL)
                close(self.greetings[slot].fd)
                self.free_greeting(slot)
                if self.starting is not None:
                    self.starting.pop(slot, None)

    cdef void close_all(self, bint tell_epoll) noexcept:
        if self.core != NULL and self.epoll >= 0:
            self.end_greetings(-1)
        Sockets.close_all(self, tell_epoll)

    cdef int64_t greeting_left(self, int64_t limit) noexcept nogil:
        """ns until a greeting has lasted too long, at most `limit`."""
        cdef int oldest = self.chains[<int>AGE].first
        if oldest >= 0 and self.handshake_limit:
            limit = min(limit, self.greetings[oldest].accepted + self.handshake_limit - self.core.now)
        if self.chains[<int>WAITING].count and self.chains[<int>STARTED].count:
            oldest = self.chains[<int>STARTED].first
            limit = min(limit, self.greetings[oldest].begun + PATIENCE - self.core.now)
        return limit

    cdef str label(self, int slot):
        """As log lines name the other side."""
        host = self.greetings[slot].address.decode("ascii", "replace")
        if self.greetings[slot].port < 0:
            return host
        return f"[{host}]:{self.greetings[slot].port}" if ":" in host else f"{host}:{self.greetings[slot].port}"
