# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Peers: the table of connections, their output, and the requests that wait on jobs.

Whoever writes to a peer puts it on the list of dirty ones; the driver sends to each of them once a tick.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from gearfast._codec cimport put_header
from gearfast.dispatch._blob cimport blob_drop
from gearfast.dispatch._buffer cimport buffer_append, buffer_release, buffer_space
from gearfast.dispatch._job cimport job_large
from gearfast.dispatch._notices cimport LEVEL_WARNING, note
from gearfast.dispatch._output cimport output_refer, output_release, output_reserve
from gearfast.dispatch._records cimport (
    PEER_CLOSING,
    PEER_DIRTY,
    PEER_FULL,
    PEER_GONE,
    PEER_OVERFLOW,
    PEER_PENDING,
    Blob,
    Core,
    Job,
    Large,
    Peer,
    PeerSlot,
    Waiter,
)
from gearfast.dispatch._slab cimport slab_give, slab_take

cdef enum:
    NO_SLOT = 0xFFFFFFFF


cdef int more_slots(Core* core) noexcept nogil:
    cdef size_t count = 2 * core.slot_count if core.slot_count else 64
    cdef size_t i
    cdef PeerSlot* slots = <PeerSlot*>realloc(core.slots, count * sizeof(PeerSlot))
    if slots == NULL:
        return -1
    for i in range(core.slot_count, count):
        slots[i].peer = NULL
        slots[i].generation = 1
        slots[i].next_free = <uint32_t>(i + 1) if i + 1 < count else NO_SLOT
    core.slots = slots
    core.free_slot = <uint32_t>core.slot_count
    core.slot_count = count
    return 0


cdef int more_dirty(Core* core) noexcept nogil:
    """Twice the room for dirty peers: each of them is there once at most, so marking one never needs memory."""
    cdef size_t room = 2 * core.dirty_room if core.dirty_room else 64
    cdef size_t i
    cdef Peer** dirty = <Peer**>malloc(room * sizeof(Peer*))
    if dirty == NULL:
        return -1
    for i in range(core.dirty_count):
        dirty[i] = core.dirty[(core.dirty_first + i) & (core.dirty_room - 1)]
    free(core.dirty)
    core.dirty = dirty
    core.dirty_room = room
    core.dirty_first = 0
    return 0


cdef Peer* peer_new(Core* core, int fd, const char* address, size_t size) noexcept nogil:
    """A new connection; NULL without memory."""
    cdef Peer* peer
    cdef uint32_t slot
    if core.free_slot == NO_SLOT and more_slots(core) < 0:
        return NULL
    if core.record_count == core.dirty_room and more_dirty(core) < 0:
        return NULL
    peer = <Peer*>slab_take(&core.slabs, sizeof(Peer))
    if peer == NULL:
        return NULL
    memset(peer, 0, sizeof(Peer))
    peer.address = <char*>malloc(size + 1)
    if peer.address == NULL:
        slab_give(&core.slabs, peer, sizeof(Peer))
        return NULL
    memcpy(peer.address, address, size)
    peer.address[size] = 0
    slot = core.free_slot
    core.free_slot = core.slots[slot].next_free
    core.slots[slot].peer = peer
    peer.id = (<uint64_t>core.slots[slot].generation << 32) | slot
    peer.fd = fd
    core.peer_count += 1
    core.record_count += 1
    core.stats.connected += 1
    return peer


cdef void peer_free(Core* core, Peer* peer) noexcept nogil:
    output_release(core, peer)
    buffer_release(&core.pool, &peer.partial)
    if peer.large != NULL:
        blob_drop(core, peer.large)
    free(peer.name)
    free(peer.address)
    slab_give(&core.slabs, peer, sizeof(Peer))
    core.record_count -= 1


cdef void peer_gone(Core* core, Peer* peer) noexcept nogil:
    """Its number means nothing any more. Its jobs, waiters and abilities must have left it."""
    cdef uint32_t slot = <uint32_t>peer.id
    core.slots[slot].peer = NULL
    # 30 bits: the reactor marks what is no peer in the two highest of the 64.
    core.slots[slot].generation = core.slots[slot].generation % 0x3FFFFFFF + 1
    core.slots[slot].next_free = core.free_slot
    core.free_slot = slot
    core.peer_count -= 1
    peer_unpend(core, peer)
    if peer.flags & PEER_DIRTY:
        peer.flags |= PEER_GONE
    else:
        peer_free(core, peer)


cdef void peer_mark_dirty(Core* core, Peer* peer) noexcept nogil:
    """It has output, or is to be closed. Once in the list is enough."""
    if peer.flags & PEER_DIRTY:
        return
    peer.flags |= PEER_DIRTY
    core.dirty[(core.dirty_first + core.dirty_count) & (core.dirty_room - 1)] = peer
    core.dirty_count += 1


cdef void peer_hold_back(Core* core, Peer* peer) noexcept nogil:
    """Its further frames wait: until it takes its output if there is too much of that, else for the next tick."""
    if peer_is_behind(core, peer):
        peer.flags |= PEER_FULL
    else:
        peer_pend(core, peer)


cdef void peer_pend(Core* core, Peer* peer) noexcept nogil:
    """Its frames go on with the next tick."""
    peer.flags = (peer.flags | PEER_PENDING) & ~<uint32_t>PEER_FULL
    peer.pending_next = NULL
    peer.pending_prev = core.pending_tail
    if core.pending_tail != NULL:
        core.pending_tail.pending_next = peer
    else:
        core.pending = peer
    core.pending_tail = peer


cdef void peer_unpend(Core* core, Peer* peer) noexcept nogil:
    """Its frames wait for nothing any more; no harm if they did not."""
    peer.flags &= ~<uint32_t>PEER_FULL
    if not peer.flags & PEER_PENDING:
        return
    peer.flags &= ~<uint32_t>PEER_PENDING
    if peer.pending_prev != NULL:
        peer.pending_prev.pending_next = peer.pending_next
    else:
        core.pending = peer.pending_next
    if peer.pending_next != NULL:
        peer.pending_next.pending_prev = peer.pending_prev
    else:
        core.pending_tail = peer.pending_prev


cdef void peer_fail(Core* core, Peer* peer) noexcept nogil:
    """No memory for its output: a peer that misses an answer is of no use, so it is closed."""
    peer.flags |= PEER_CLOSING
    peer.held = 0
    peer_mark_dirty(core, peer)


cdef void peer_cut(Core* core, Peer* peer) noexcept nogil:
    """Closed at once: it gets nothing of what waits for it either."""
    output_release(core, peer)
    peer.flags |= PEER_OVERFLOW | PEER_CLOSING
    peer.held = 0       # it gets no job any more
    peer_mark_dirty(core, peer)


cdef bint peer_is_full(Core* core, Peer* peer, size_t more) noexcept nogil:
    """Whether `more` bytes are too many for a peer that does not take its output; it is then to be closed without it.

    A peer that has nothing unsent may get one packet of any size.
    """
    cdef char line[190]
    if peer.flags & PEER_OVERFLOW:
        return True
    if not core.max_unsent or not peer_unsent(peer) or peer_unsent(peer) + more <= core.max_unsent:
        return False
    note(core, LEVEL_WARNING, line, <size_t>snprintf(
        line, sizeof(line), "closing connection %.64s: more output than it takes (%zu bytes unsent)",
        peer.address, peer_unsent(peer)))
    core.stats.overflows += 1
    peer_cut(core, peer)
    return True


cdef char* write_reference(Core* core, Peer* peer, uint32_t command, size_t head, Blob* blob, const char* data,
                           size_t size) noexcept nogil:
    """As write_packet, with a body of `head` bytes and then `size` bytes that stay in their blob.

    Returns where the head goes, or NULL if the peer has failed.
    """
    cdef char* at
    if peer_is_full(core, peer, head + size):
        return NULL
    at = buffer_space(&core.pool, &peer.out, 12 + head) if output_reserve(peer) == 0 else NULL
    if at == NULL:
        peer_fail(core, peer)
        return NULL
    put_header(at, True, command, <uint32_t>(head + size))
    peer.out.end += 12 + head
    core.stats.answered += 12 + head + size
    output_refer(peer, blob, data, size)
    peer_mark_dirty(core, peer)
    return at + 12


cdef char* write_workload(Core* core, Peer* peer, uint32_t command, size_t head, Job* job) noexcept nogil:
    """The same with the workload of a large job."""
    cdef Large large = job_large(job)
    return write_reference(core, peer, command, head, large.blob, large.data, job.size)


cdef void body_drop(Core* core, Body* body) noexcept nogil:
    if body.blob != NULL:
        blob_drop(core, body.blob)


cdef int write_bytes(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Queue bytes as they are (text replies); 0, or -1 if the peer has failed."""
    if peer_is_full(core, peer, size):
        return -1
    if size and buffer_append(&core.pool, &peer.out, data, size) < 0:
        peer_fail(core, peer)
        return -1
    core.stats.answered += size
    peer_mark_dirty(core, peer)
    return 0


cdef int waiter_add(Core* core, Peer* peer, Job* job) noexcept nogil:
    """One more request of `peer` that waits for `job`; 0, or -1 without memory."""
    cdef Waiter* waiter = <Waiter*>slab_take(&core.slabs, sizeof(Waiter))
    if waiter == NULL:
        return -1
    core.waiter_count += 1
    waiter.peer = peer
    waiter.job = job
    waiter.job_prev = NULL
    waiter.job_next = job.waiters
    waiter.count = 1
    if job.waiters != NULL:
        waiter.count += job.waiters.count
        job.waiters.job_prev = waiter
    job.waiters = waiter
    waiter.peer_prev = NULL
    waiter.peer_next = peer.waiters
    if peer.waiters != NULL:
        peer.waiters.peer_prev = waiter
    peer.waiters = waiter
    return 0


cdef void waiter_remove(Core* core, Waiter* waiter) noexcept nogil:
    core.waiter_count -= 1
    waiter.job.waiters.count -= 1
    if waiter.job_prev != NULL:
        waiter.job_prev.job_next = waiter.job_next
    else:
        waiter.job.waiters = waiter.job_next
    if waiter.job_next != NULL:
        waiter.job_next.job_prev = waiter.job_prev
        if waiter.job_prev == NULL:
            waiter.job_next.count = waiter.count
    if waiter.peer_prev != NULL:
        waiter.peer_prev.peer_next = waiter.peer_next
    else:
        waiter.peer.waiters = waiter.peer_next
    if waiter.peer_next != NULL:
        waiter.peer_next.peer_prev = waiter.peer_prev
    slab_give(&core.slabs, waiter, sizeof(Waiter))
