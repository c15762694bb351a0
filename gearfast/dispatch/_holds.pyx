# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Output that waits for a commit: what a client is told of a durable job is true once the job is in the store.

A hold is a place in a peer's output, and the batch before whose commit nothing from there on is sent. Replies keep
their order, so all that is written later waits too, for that batch or a later one. A peer has one hold a batch at most.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport malloc, realloc
from libc.string cimport memmove

from gearfast.dispatch._peer cimport peer_mark_dirty, peer_unsent
from gearfast.dispatch._records cimport PEER_HOLDING, Core, Hold, Holds, Peer

cdef enum:
    FIRST_ROOM = 3


cdef inline Hold* last_hold(Holds* holds) noexcept nogil:
    return &holds.list[holds.first + holds.count - 1]


cdef int hold_reserve(Peer* peer) noexcept nogil:
    """Make sure that there is room for one more hold; 0, or -1 without memory."""
    cdef Holds* holds = peer.holds
    cdef size_t room
    if holds == NULL:
        holds = <Holds*>malloc(sizeof(Holds) + (FIRST_ROOM - 1) * sizeof(Hold))
        if holds == NULL:
            return -1
        holds.first = 0
        holds.count = 0
        holds.room = FIRST_ROOM
        holds.before = 0
        peer.holds = holds
    elif holds.first + holds.count == holds.room:
        if holds.first > holds.room // 2:
            memmove(holds.list, holds.list + holds.first, holds.count * sizeof(Hold))
            holds.first = 0
            return 0
        room = 2 * holds.room
        holds = <Holds*>realloc(holds, sizeof(Holds) + (room - 1) * sizeof(Hold))
        if holds == NULL:
            return -1
        holds.room = room
        peer.holds = holds
    return 0


cdef bint hold_add(Peer* peer, uint64_t batch) noexcept nogil:
    """What is written from now on waits for this batch; hold_reserve has made room. False if it did already."""
    cdef Holds* holds = peer.holds
    cdef Hold* hold
    if holds.count and last_hold(holds).batch >= batch:
        return False
    hold = &holds.list[holds.first + holds.count]
    hold.batch = batch
    hold.before = peer_unsent(peer) - holds.before
    holds.before += hold.before
    holds.count += 1
    peer.flags |= PEER_HOLDING
    return True


cdef bint hold_postpone(Peer* peer, uint64_t batch, uint64_t to) noexcept nogil:
    """What waits for `batch`, the oldest one, waits for the next one, `to`. False if something waits for that already,
    or nothing for this."""
    cdef Holds* holds = peer.holds
    cdef Hold* hold
    if not peer.flags & PEER_HOLDING or holds.list[holds.first].batch != batch:
        return False
    hold = &holds.list[holds.first]
    hold.batch = to
    if holds.count == 1 or hold[1].batch != to:
        return True
    if holds.count > 2:
        hold[2].before += hold[1].before
    else:
        holds.before -= hold[1].before
    hold[1] = hold[0]
    holds.first += 1
    holds.count -= 1
    return False


cdef void hold_release(Core* core, Peer* peer, uint64_t batch) noexcept nogil:
    """All batches up to this one are settled."""
    cdef Holds* holds = peer.holds
    cdef Hold* hold
    cdef size_t before = 0
    if not peer.flags & PEER_HOLDING:
        return
    while holds.count and holds.list[holds.first].batch <= batch:
        before += holds.list[holds.first].before
        holds.first += 1
        holds.count -= 1
    if holds.count:
        hold = &holds.list[holds.first]
        hold.before += before
    else:
        # The record stays for the next one: a client that submits durable jobs submits more of them.
        holds.first = 0
        holds.before = 0
        peer.flags &= ~<uint32_t>PEER_HOLDING
    peer_mark_dirty(core, peer)
