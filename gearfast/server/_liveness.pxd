# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Which connections have output under way, and whether the other side still answers. By slots of the peers' table."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum Answer:
    ANSWER_ALL = 0              # the other side has acknowledged all that was sent
    ANSWER_WAIT = 1             # something is unacknowledged
    ANSWER_DEAD = 2             # and the other side has not answered for too long

cdef struct Liveness:
    uint64_t* sent              # a bit a slot: sent to since all was known to be acknowledged
    uint32_t* doubted           # a slot's time (ms) when its silence was first seen; 0: no doubt
    size_t room                 # slots
    size_t word                 # of `sent`, to be looked at next in this round
    uint32_t silence            # ms without a sign of life that make a peer dead, 0 never
    uint32_t grace              # ms that a doubt must last
    int64_t period              # ns from one round to the next
    int64_t begun               # when the round began
    bint any                    # some bit may be set
    bint under_way              # the round has not reached the end of `sent`


cdef inline void live_mark(Liveness* live, uint64_t id) noexcept nogil:
    """Output has gone to the peer with this id."""
    cdef uint32_t slot = <uint32_t>id
    if slot < live.room:
        live.sent[slot >> 6] |= <uint64_t>1 << (slot & 63)
        live.any = True


cdef void live_init(Liveness* live, double limit) noexcept nogil
cdef int live_room(Liveness* live, uint64_t id) noexcept nogil
cdef Answer live_look(int fd, uint32_t silence, uint32_t grace, uint32_t now, uint32_t* doubted) noexcept nogil
