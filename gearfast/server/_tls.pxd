# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Connections with TLS in the epoll of the others."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from gearfast.dispatch._records cimport Peer
from gearfast.server._linux cimport ADDRESS, sockaddr_storage
from gearfast.server._sockets cimport Sockets

cdef enum:
    EVENTS = 512                # taken from the kernel at a time
    GREETING = 1 << 30          # in the number of a mark with KIND_CLOSED: it is no connection yet

cdef enum Chain:                # lists of greetings, the oldest first
    AGE = 0                     # all
    STARTED = 1                 # handshakes under way
    WAITING = 2                 # have said something while too many of those are
    CHAINS = 3

cdef struct Link:
    int before                  # -1: none
    int behind

cdef struct Ends:
    int first
    int last
    int count

cdef struct Greeting:           # a connection until its handshake is done
    int fd                      # -1: free
    int listener
    int port                    # of the other side, -1 if it has none
    uint8_t chain               # STARTED, WAITING, or AGE: neither
    uint8_t blocked             # the socket takes no more for now
    int64_t accepted
    int64_t begun
    Link links[2]               # in AGE; in the other chain, or of the free ones
    char address[ADDRESS]

cdef struct Woken:
    uint64_t mark
    uint32_t events


cdef class Session:
    cdef object incoming            # MemoryBIO
    cdef object outgoing
    cdef object inner               # SSLObject
    cdef object fill
    cdef object fetch
    cdef object open
    cdef object seal
    cdef char* tail                 # of a record that is not whole yet
    cdef size_t tail_size
    cdef char* rest                 # sealed, and not taken by the socket yet
    cdef size_t rest_at
    cdef size_t rest_size
    cdef bint more                  # `outgoing` was not emptied
    cdef bint ended                 # the end of TLS is said

    cdef int keep_tail(self, const char* data, size_t size) except -1
    cdef int keep_rest(self, const char* data, size_t sent, size_t size) except -1
    cdef int say_end(self) except -1


cdef class SecureSockets(Sockets):
    cdef list sessions              # by the slot of their peer
    cdef dict starting              # Sessions by the number of their greeting
    cdef dict contexts              # what gives an SSLContext, by the slot of its listener
    cdef int64_t handshake_limit    # ns, 0 none
    cdef int most_handshakes        # under way at once
    cdef object window              # `plain` as ssl writes to it
    cdef object most                # SEALED
    cdef object interruption        # what a signal's handler raised while TLS was at work
    cdef char* plain
    cdef char* sealed
    cdef Greeting* greetings
    cdef int greeting_room
    cdef int greeting_free          # the first, -1: none
    cdef Ends chains[CHAINS]
    cdef Woken woken[EVENTS]
    cdef int woken_count
    cdef uint64_t* touched          # peers to be sealed for
    cdef size_t touched_count
    cdef size_t touched_room

    cdef bint secure_wanted(self) noexcept nogil
    cdef void turn_secure(self) noexcept nogil
    cdef int64_t greeting_left(self, int64_t limit) noexcept nogil
    cdef void add_to(self, Chain chain, int slot) noexcept nogil
    cdef void take_from(self, Chain chain, int slot) noexcept nogil
    cdef int new_greeting(self) noexcept nogil
    cdef void free_greeting(self, int slot) noexcept nogil
    cdef void end_greetings(self, int listener) noexcept
    cdef void watch_greeting(self, int slot, uint32_t mask) noexcept nogil
    cdef void expire(self) noexcept
    cdef void greet(self, int slot, uint32_t events) noexcept
    cdef bint begin(self, int slot) except -1
    cdef int step(self, int slot) except -1
    cdef str label(self, int slot)
    cdef void resume(self) noexcept nogil
    cdef void send_greeting(self, int slot, Session session) except *
    cdef int welcome(self, int slot, Session session, size_t at, size_t size) except -1
    cdef void refuse(self, int slot, object why) noexcept
    cdef ssize_t gather(self, Session session, int fd) noexcept
    cdef void receive_secure(self, Peer* peer) noexcept
    cdef bint open_records(self, Peer* peer, Session session, size_t at, size_t size) except -1
    cdef void finish(self, Peer* peer) noexcept
    cdef void keep_interruption(self, object error) noexcept
    cdef void fail(self, uint64_t id, object why) noexcept
    cdef bint send_held(self, Peer* peer) noexcept
    cdef bint send_sealed(self, Peer* peer, bint ending) except -1
    cdef size_t seal(self, Session session, Peer* peer, bint ending) except? 0
