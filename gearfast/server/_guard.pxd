# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What the sockets of peers are watched for: no answers, no words, and messages by the thousand."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from gearfast.dispatch._records cimport Core, Peer
from gearfast.server._liveness cimport Liveness

# In Peer.interest, beside epoll's.
cdef enum:
    OWNED = 1 << 24             # its socket is in this epoll
    SILENT = 1 << 26            # has not sent a byte; Peer.stalled is when it came

cdef enum BurstKind:
    BURST_FULL = 0              # too many connections
    BURST_DESCRIPTORS = 1       # out of descriptors
    BURST_SILENT = 2            # closed as it never said anything
    BURSTS = 3

cdef struct Burst:
    uint64_t count              # since the last line
    int64_t logged              # when that was; 0 never


cdef class Guard:
    cdef Core* core
    cdef Liveness live
    cdef int64_t silent_time    # ns that a connection may stay without having said anything, 0 for ever
    cdef int64_t silent_swept
    cdef uint64_t* newcomers    # a ring of peers that may still be silent, oldest first
    cdef size_t newcomer_room   # a power of two
    cdef size_t newcomer_first
    cdef size_t newcomer_count
    cdef Burst bursts[3]
    cdef uint64_t burst_count   # of all of them

    cdef int guard(self, Core* core, double dead_peer_limit, double silent_limit) except -1
    cdef int64_t guard_wait(self) noexcept nogil
    cdef void guard_sweep(self) noexcept nogil
    cdef void sweep_unanswered(self) noexcept nogil
    cdef void look_at(self, uint32_t slot) noexcept nogil
    cdef int add_newcomer(self, Peer* peer) noexcept nogil
    cdef void compact_newcomers(self) noexcept nogil
    cdef Peer* oldest_silent(self) noexcept nogil
    cdef void sweep_silent(self) noexcept nogil
    cdef bint make_place(self) noexcept nogil
    cdef void burst(self, int kind, const char* address) noexcept nogil
    cdef void log_burst(self, int kind, const char* address) noexcept nogil
    cdef void cut(self, Peer* peer, const char* why) noexcept nogil
    cdef void drop(self, Peer* peer) noexcept nogil
