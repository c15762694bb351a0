# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Connections with TLS in the epoll of the others."""

from libc.stdint cimport uint32_t, uint64_t

from gearfast.dispatch._records cimport Peer
from gearfast.server._greetings cimport Greetings

cdef enum:
    EVENTS = 512                # taken from the kernel at a time
    GATHERED = 64               # peers that are received from before what has come is opened

cdef struct Gathered:           # what has come from a peer, in `shared`
    uint64_t id
    size_t at
    size_t end

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


cdef class SecureSockets(Greetings):
    cdef list sessions              # by the slot of their peer
    cdef dict contexts              # what gives an SSLContext, by the slot of its listener
    cdef object window              # `plain` as ssl writes to it
    cdef object most                # SEALED
    cdef object interruption        # what a signal's handler raised while TLS was at work
    cdef char* plain
    cdef char* sealed
    cdef Woken woken[EVENTS]
    cdef int woken_count
    cdef Gathered gathered[GATHERED]
    cdef int gathered_count
    cdef size_t gathered_end
    cdef uint64_t* touched          # peers to be sealed for
    cdef size_t touched_count
    cdef size_t touched_room

    cdef void turn_secure(self) noexcept nogil
    cdef void expire(self) noexcept
    cdef void greet(self, int slot) noexcept
    cdef bint begin(self, int slot) except -1
    cdef int step(self, int slot) except -1
    cdef void send_greeting(self, int slot, Session session) except *
    cdef int welcome(self, int slot, Session session, size_t at, size_t size) except -1
    cdef void refuse(self, int slot, object why) noexcept
    cdef void receive_woken(self) noexcept
    cdef void open_gathered(self) noexcept
    cdef ssize_t gather(self, Session session, int fd, size_t at) noexcept
    cdef void receive_secure(self, Peer* peer, size_t at, size_t end) noexcept
    cdef bint open_records(self, Peer* peer, Session session, size_t at, size_t size) except -1
    cdef ssize_t open_one(self, Peer* peer, Session session, object view) except -2
    cdef void finish(self, Peer* peer) noexcept
    cdef void keep_interruption(self, object error) noexcept
    cdef void fail(self, uint64_t id, object why) noexcept
    cdef bint send_held(self, Peer* peer) noexcept
    cdef bint send_sealed(self, Peer* peer, bint ending) except -1
    cdef size_t seal(self, Session session, Peer* peer, bint ending) except? 0
