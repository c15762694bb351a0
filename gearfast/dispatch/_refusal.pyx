# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What clients are told of jobs that could not be stored: in output that was held back, JOB_CREATED becomes ERROR.

The output is written anew, packet by packet, since the two differ in size. It happens when a store fails, so it need
not be quick; it must not fail: without memory for it the connection is closed, which tells the client as much. And if
a job is given out in it that is another server's by now, since it has waited for longer than the lease.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from gearfast._codec cimport (
    CMD_ERROR,
    CMD_JOB_ASSIGN,
    CMD_JOB_ASSIGN_ALL,
    CMD_JOB_ASSIGN_UNIQ,
    CMD_JOB_CREATED,
    CMD_STATUS_RES_UNIQUE,
    HEADER_BYTES,
    get_u32,
    put_header,
)
from gearfast.dispatch._buffer cimport buffer_append
from gearfast.dispatch._job cimport HANDLE_ROOM, handles_get, job_is_durable, number_of_handle, write_handle
from gearfast.dispatch._index cimport hash_bytes
from gearfast.dispatch._journal cimport batch_has, has_lapsed
from gearfast.dispatch._letter cimport letter_find
from gearfast.dispatch._output cimport output_refer, output_release, output_reserve
from gearfast.dispatch._peer cimport peer_cut, peer_fail
from gearfast.dispatch._record cimport has_ended, place_of
from gearfast.dispatch._records cimport (
    PEER_HOLDING,
    QUEUE_ERROR,
    Batch,
    Buffer,
    Core,
    Hold,
    Job,
    Part,
    Parts,
    Peer,
    Verdict,
    Waiter,
)

cdef enum:
    REFUSAL_BYTES = 12 + 12 + 27

cdef char REFUSAL[REFUSAL_BYTES]

cdef struct Old:                # output that is written anew
    Buffer out
    Parts* parts
    size_t at                   # bytes of `out` that are done
    size_t part                 # parts that are done
    size_t before               # bytes of `out` in front of the next part that are not done


cdef size_t next_part(Old* old) noexcept nogil:
    """Bytes of `out` up to the next part; more than there are if there is none."""
    return old.before if old.parts != NULL and old.part < old.parts.count else <size_t>-1


cdef int copy(Core* core, Peer* peer, Old* old, size_t size) noexcept nogil:
    """Take over `size` bytes of output, parts included; 0, or -1 without memory."""
    cdef size_t some
    cdef Part* part
    while size:
        some = min(size, next_part(old))
        if some:
            if buffer_append(&core.pool, &peer.out, old.out.data + old.out.begin + old.at, some) < 0:
                return -1
            old.at += some
            old.before -= some
            size -= some
            continue
        part = &old.parts.list[old.parts.first + old.part]
        if output_reserve(peer) < 0:
            return -1
        output_refer(peer, part.blob, part.data, part.size)
        size -= part.size
        old.part += 1
        if old.part < old.parts.count:
            old.before = old.parts.list[old.parts.first + old.part].before
    return 0


cdef void forget(Core* core, Old* old) noexcept nogil:
    cdef Peer shell
    memset(&shell, 0, sizeof(Peer))
    shell.out = old.out
    shell.parts = old.parts
    output_release(core, &shell)


cdef size_t packet_at(Old* old, size_t left) noexcept nogil:
    """Bytes of the packet that comes next; of text, all up to the next packet. Packets begin in `out`."""
    cdef const char* data = old.out.data + old.out.begin + old.at
    cdef size_t here = old.out.end - old.out.begin - old.at
    cdef size_t size
    if data[0] == 0 and here >= HEADER_BYTES:
        return min(HEADER_BYTES + <size_t>get_u32(data + 8), left)
    size = 1
    while size < here and data[size] != 0:
        size += 1
    return size


cdef bint is_refused(Core* core, Old* old, Batch* batch) noexcept nogil:
    """Whether the next packet is the JOB_CREATED of a job of this batch that has not ended, or as a dead letter."""
    cdef const char* data = old.out.data + old.out.begin + old.at
    cdef uint64_t number
    if old.out.end - old.out.begin - old.at < HEADER_BYTES or data[0] != 0 or get_u32(data + 4) != CMD_JOB_CREATED:
        return False
    number = number_of_handle(core, data + HEADER_BYTES, get_u32(data + 8))
    return batch_has(batch, number) and (
        handles_get(&core.handles, number) != NULL or letter_find(core, number) != NULL)


cdef bint is_given_out(Core* core, Old* old) noexcept nogil:
    """Whether the next packet gives out a durable job, which may be another server's by now.

    One of this batch too: the store may have it, and its answer be lost. Or one that has ended since: it was queued
    again when this connection's far side closed, and given to another one.
    """
    cdef const char* data = old.out.data + old.out.begin + old.at
    cdef size_t here = old.out.end - old.out.begin - old.at
    cdef uint32_t command
    cdef const char* end
    cdef Job* job
    if here < HEADER_BYTES or data[0] != 0:
        return False
    command = get_u32(data + 4)
    if command != CMD_JOB_ASSIGN and command != CMD_JOB_ASSIGN_UNIQ and command != CMD_JOB_ASSIGN_ALL:
        return False
    data += HEADER_BYTES
    end = <const char*>memchr(data, 0, here - HEADER_BYTES)
    job = handles_get(&core.handles, number_of_handle(core, data, end - data)) if end != NULL else NULL
    return job == NULL or job_is_durable(job)


cdef int rewrite(Core* core, Peer* peer, Old* old, size_t left, Batch* batch) noexcept nogil:
    """0, or -1 without memory, or if some of it must not be sent any more: the connection is closed then."""
    cdef size_t size
    cdef int amended
    cdef bint lapsed = has_lapsed(core)
    while left:
        size = packet_at(old, left)
        left -= size
        if batch == NULL:
            amended = amend(core, peer, old, size)
            if amended < 0 or not amended and copy(core, peer, old, size) < 0:
                return -1
            continue
        if lapsed and is_given_out(core, old):
            peer_cut(core, peer)
            return -1
        if not is_refused(core, old, batch):
            if copy(core, peer, old, size) < 0:
                return -1
            continue
        core.stats.errors[<int>QUEUE_ERROR] += 1
        if buffer_append(&core.pool, &peer.out, REFUSAL, REFUSAL_BYTES) < 0:
            return -1
        old.at += size
        old.before -= size
    return 0


cdef void refuse_held(Core* core, Peer* peer, Batch* batch) noexcept nogil:
    """In all that this peer is still to be sent: that the jobs of this batch are not stored.

    It is the oldest batch that is not settled. Who has joined a job of it since waits for the next one, if it waits.
    """
    write_anew(core, peer, batch)


cdef void amend_held(Core* core, Peer* peer) noexcept nogil:
    """In the same: what the store has told of other servers' jobs, see Verdict."""
    write_anew(core, peer, NULL)


cdef uint64_t winner_of(Core* core, uint64_t number) noexcept nogil:
    """The job that has this one's unique, by the verdict on the batch that is settled; 0: it is its own."""
    cdef Verdict* verdict = core.journal.verdict
    cdef size_t place
    if verdict == NULL:
        return 0
    place = place_of(verdict.taken, verdict.taken_count, number)
    return verdict.winners[place] if place < verdict.taken_count else 0


cdef bint waits_for(Core* core, Peer* peer, uint64_t number) noexcept nogil:
    """Whether it waits for this job, which then goes on here: it is to hear of no other one, or it would miss its end.

    Which JOB_CREATED was that of its background submission is not known any more.
    """
    cdef Job* job = handles_get(&core.handles, number)
    cdef Waiter* its = job.waiters if job != NULL else NULL
    cdef Waiter* own = peer.waiters
    while its != NULL and own != NULL:      # the shorter list ends first
        if its.peer == peer or own.job == job:
            return True
        its = its.job_next
        own = own.peer_next
    return False


cdef int amend(Core* core, Peer* peer, Old* old, size_t size) noexcept nogil:
    """Write the next packet as it is to be: 1 if it is another one then, 0 if it is to be copied, -1 without memory."""
    cdef char packet[HEADER_BYTES + HANDLE_ROOM]
    cdef char* data = old.out.data + old.out.begin + old.at
    cdef char* end
    cdef uint64_t number, winner
    cdef size_t body
    cdef Verdict* verdict = core.journal.verdict
    if old.out.end - old.out.begin - old.at < HEADER_BYTES or data[0] != 0:
        return 0
    body = get_u32(data + 8)
    if get_u32(data + 4) == CMD_STATUS_RES_UNIQUE and verdict.known_count:
        data += HEADER_BYTES
        end = <char*>memchr(data, 0, body)
        if end != NULL and end[1] == c'0' and has_ended(
                verdict.known, verdict.known_count, hash_bytes(core.seed0, core.seed1, data, end - data)):
            end[1] = c'1'
        return 0
    if get_u32(data + 4) != CMD_JOB_CREATED:
        return 0
    number = number_of_handle(core, data + HEADER_BYTES, body)
    winner = winner_of(core, number)
    if winner == 0 or waits_for(core, peer, number):
        return 0
    body = write_handle(core, packet + HEADER_BYTES, winner)
    put_header(packet, True, CMD_JOB_CREATED, <uint32_t>body)
    if buffer_append(&core.pool, &peer.out, packet, HEADER_BYTES + body) < 0:
        return -1
    old.at += size
    old.before -= size
    return 1


cdef void write_anew(Core* core, Peer* peer, Batch* batch) noexcept nogil:
    """What is held back, for a batch that is not stored, or (NULL) one of which the store had more to tell."""
    cdef Old old
    cdef Hold* hold
    cdef size_t size, all, before
    if not peer.flags & PEER_HOLDING:
        return
    hold = &peer.holds.list[peer.holds.first]
    all = peer.out.end - peer.out.begin + peer.referenced
    size = hold[1].before if peer.holds.count > 1 else all - peer.holds.before
    old.out = peer.out
    old.parts = peer.parts
    old.at = 0
    old.part = 0
    old.before = old.parts.list[old.parts.first].before if old.parts != NULL else 0
    memset(&peer.out, 0, sizeof(Buffer))
    peer.parts = NULL
    peer.referenced = 0
    if copy(core, peer, &old, hold.before) < 0 or rewrite(core, peer, &old, size, batch) < 0:
        forget(core, &old)
        peer_fail(core, peer)
        return
    before = peer.out.end - peer.out.begin + peer.referenced - hold.before
    if peer.holds.count > 1:
        peer.holds.before += before - hold[1].before
        hold[1].before = before
    if rewrite(core, peer, &old, all - hold.before - size, batch) < 0:
        peer_fail(core, peer)
    forget(core, &old)


cdef void spell_refusal():
    put_header(REFUSAL, True, CMD_ERROR, REFUSAL_BYTES - HEADER_BYTES)
    memcpy(REFUSAL + HEADER_BYTES, b"QUEUE_ERROR\0The job could not be stored", REFUSAL_BYTES - HEADER_BYTES)


spell_refusal()
