# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Peers: the table of connections, their output, and the requests that wait on jobs."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from gearfast._codec cimport put_header
from gearfast.dispatch._blob cimport LARGE, blob_hold
from gearfast.dispatch._buffer cimport buffer_space
from gearfast.dispatch._records cimport PEER_DIRTY, PEER_FULL, PEER_GONE, PEER_OVERFLOW, Blob, Core, Job, Peer, Waiter

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define gearfast_fetch(at) __builtin_prefetch(at)
    #else
    #define gearfast_fetch(at) ((void)(at))
    #endif
    """
    void fetch "gearfast_fetch"(const void* at) noexcept nogil

cdef enum:
    AHEAD = 8                   # so few peers as this are in the cache

cdef struct Body:               # of a packet that may go to several peers
    const char* data
    size_t size
    Blob* blob                  # where it lies, if it is large

cdef Peer* peer_new(Core* core, int fd, const char* address, size_t size) noexcept nogil
cdef void peer_free(Core* core, Peer* peer) noexcept nogil
cdef void peer_gone(Core* core, Peer* peer) noexcept nogil
cdef void peer_mark_dirty(Core* core, Peer* peer) noexcept nogil
cdef void peer_hold_back(Core* core, Peer* peer) noexcept nogil
cdef void peer_pend(Core* core, Peer* peer) noexcept nogil
cdef void peer_unpend(Core* core, Peer* peer) noexcept nogil
cdef void peer_fail(Core* core, Peer* peer) noexcept nogil
cdef void peer_cut(Core* core, Peer* peer) noexcept nogil
cdef bint peer_is_full(Core* core, Peer* peer, size_t more) noexcept nogil
cdef int waiter_add(Core* core, Peer* peer, Job* job) noexcept nogil
cdef void waiter_remove(Core* core, Waiter* waiter) noexcept nogil
cdef char* write_reference(Core* core, Peer* peer, uint32_t command, size_t head, Blob* blob, const char* data,
                           size_t size) noexcept nogil
cdef char* write_workload(Core* core, Peer* peer, uint32_t command, size_t head, Job* job) noexcept nogil
cdef void body_drop(Core* core, Body* body) noexcept nogil
cdef int write_bytes(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil


cdef inline Peer* peer_by_id(Core* core, uint64_t id) noexcept nogil:
    """The peer that Python or epoll knows by this number, or NULL if it is gone."""
    cdef uint32_t slot = <uint32_t>id
    if slot >= core.slot_count or core.slots[slot].peer == NULL or core.slots[slot].generation != id >> 32:
        return NULL
    return core.slots[slot].peer


cdef inline void peer_fetch(Core* core, uint64_t id) noexcept nogil:
    """Ask the processor for what a turn needs of this peer's record, if there is one, before it is needed."""
    cdef char* record = <char*>peer_by_id(core, id)
    if record != NULL:
        fetch(record)
        fetch(record + 64)
        fetch(record + 128)


cdef inline void peer_fetch_more(Core* core, uint64_t id) noexcept nogil:
    """The same with the records that it points at, for which its own must have come."""
    cdef Peer* peer = peer_by_id(core, id)
    if peer == NULL:
        return
    fetch(peer.jobs)
    fetch(peer.waiters)
    if peer.abilities != NULL:
        fetch(peer.abilities)
        fetch(<char*>peer.abilities + 64)


cdef inline Peer* peer_next_dirty(Core* core) noexcept nogil:
    """Take the next peer off the list of dirty ones; NULL at its end."""
    cdef Peer* peer
    while core.dirty_count:
        peer = core.dirty[core.dirty_first]
        core.dirty_first = (core.dirty_first + 1) & (core.dirty_room - 1)
        core.dirty_count -= 1
        peer.flags &= ~<uint32_t>PEER_DIRTY
        if not peer.flags & PEER_GONE:
            return peer
        peer_free(core, peer)
    return NULL


cdef inline void dirty_fetch(Core* core) noexcept nogil:
    """The same with the next dirty peers: the record of the one after the next, the output of the next."""
    cdef size_t mask = core.dirty_room - 1
    cdef Peer* next
    if core.dirty_count > AHEAD:
        fetch(core.dirty[(core.dirty_first + 1) & mask])
        next = core.dirty[core.dirty_first]
        fetch(next.out.data + next.out.begin)


cdef inline size_t side_limit(Core* core) noexcept nogil:
    """Bytes that requests which wait for jobs may take under a ceiling for jobs, and the same again for names."""
    return max(core.max_queued // 4, <size_t>1 << 20)


cdef inline bint too_many_waiters(Core* core) noexcept nogil:
    return core.max_queued and core.waiter_count * sizeof(Waiter) > side_limit(core)


cdef inline size_t peer_unsent(Peer* peer) noexcept nogil:
    """Bytes of output that its driver has not taken yet."""
    return peer.out.end - peer.out.begin + peer.referenced


cdef inline bint peer_is_behind(Core* core, Peer* peer) noexcept nogil:
    """Whether it has so much unsent output that its further frames wait."""
    return peer_unsent(peer) > core.high_water and core.high_water != 0


cdef inline void peer_relieve(Core* core, Peer* peer) noexcept nogil:
    """Its driver has taken output: frames that waited for that may go on."""
    if peer.flags & PEER_FULL and peer_unsent(peer) <= core.high_water:
        peer_pend(core, peer)


cdef inline char* write_packet(Core* core, Peer* peer, uint32_t command, size_t body) noexcept nogil:
    """Queue a response with a body of `body` bytes; returns where the body goes, or NULL if the peer has failed."""
    cdef char* at
    if (peer.flags & PEER_OVERFLOW or peer_unsent(peer) + body > core.max_unsent) \
            and peer_is_full(core, peer, body):
        return NULL
    at = buffer_space(&core.pool, &peer.out, 12 + body)
    if at == NULL:
        peer_fail(core, peer)
        return NULL
    put_header(at, True, command, <uint32_t>body)
    peer.out.end += 12 + body
    core.stats.answered += 12 + body
    if not peer.flags & PEER_DIRTY:
        peer_mark_dirty(core, peer)
    return at + 12


cdef inline void body_hold(Core* core, Body* body, const char* data, size_t size) noexcept nogil:
    """A body out of the frame at hand, for write_body; body_drop ends it."""
    body.data = data
    body.size = size
    body.blob = blob_hold(core, &body.data, size) if size >= LARGE else NULL


cdef inline void write_body(Core* core, Peer* peer, uint32_t command, Body* body) noexcept nogil:
    """Queue a response with this body."""
    cdef char* at
    if body.blob != NULL:
        write_reference(core, peer, command, 0, body.blob, body.data, body.size)
        return
    at = write_packet(core, peer, command, body.size)
    if at != NULL:
        memcpy(at, body.data, body.size)
