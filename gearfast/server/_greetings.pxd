# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Greetings: connections with TLS until their handshake is done."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

from gearfast.server._linux cimport ADDRESS
from gearfast.server._sockets cimport Sockets

cdef enum:
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


cdef class Greetings(Sockets):
    cdef dict starting              # Sessions by the number of their greeting
    cdef int64_t handshake_limit    # ns, 0 none
    cdef int most_handshakes        # under way at once
    cdef Greeting* greetings
    cdef int greeting_room
    cdef int greeting_free          # the first, -1: none
    cdef Ends chains[CHAINS]

    cdef int64_t greeting_left(self, int64_t limit) noexcept nogil
    cdef void add_to(self, Chain chain, int slot) noexcept nogil
    cdef void take_from(self, Chain chain, int slot) noexcept nogil
    cdef int new_greeting(self) noexcept nogil
    cdef void free_greeting(self, int slot) noexcept nogil
    cdef void end_greetings(self, int listener) noexcept
    cdef void watch_greeting(self, int slot, uint32_t mask) noexcept nogil
    cdef void resume(self) noexcept nogil
    cdef str label(self, int slot)
