# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Blobs: each has as many references as there are jobs, results, parts of output and unfinished frames that hold it.

Everything that may hold one is walked; what is reached has to be all that the dispatcher counts, so none can leak.
"""

from gearfast.dispatch._blob cimport LARGE
from gearfast.dispatch._check_tables cimport equal, fail, wrong_job, wrong_peer
from gearfast.dispatch._history cimport first_letter, first_result
from gearfast.dispatch._job cimport Walk, job_is_absent, job_is_large, job_large, walk_begin, walk_next
from gearfast.dispatch._records cimport PEER_GONE, Blob, Core, Function, Job, Letter, Part, Peer, Result


cdef int check_blobs(Core* core) except -1:
    cdef dict holders = {}
    cdef size_t i
    cdef size_t room = 0
    cdef Peer* peer
    cdef Blob* blob
    for i in range(core.slot_count):
        if core.slots[i].peer != NULL:
            check_input(core.slots[i].peer)
            check_holders(core.slots[i].peer, holders)
    for i in range(core.dirty_count):
        peer = core.dirty[(core.dirty_first + i) & (core.dirty_room - 1)]
        if peer.flags & PEER_GONE:
            check_holders(peer, holders)
    check_workloads(core, holders)
    check_dead_workloads(core, holders)
    check_results(core, holders)
    for address, count in holders.items():
        blob = <Blob*><size_t>address
        equal(count, blob.references, "jobs, parts and frames that hold a blob", "is its number of references")
        room += blob.room
    equal(len(holders), core.blob_count, "blobs that something holds", "blob_count")
    equal(room, core.blob_bytes, "bytes of room in them", "blob_bytes")
    if core.input != NULL or core.last_large:
        fail("something is left of the dispatching of a large frame")
    return check_spare(core)


cdef int hold(dict holders, Blob* blob) except -1:
    holders[<size_t>blob] = holders.get(<size_t>blob, 0) + 1
    return 0


cdef bint lies_in(Blob* blob, const char* data, size_t size) noexcept:
    return blob.data <= data and data + size <= blob.data + blob.room


cdef int check_workloads(Core* core, dict holders) except -1:
    cdef Walk walk
    cdef Job* job
    walk_begin(&walk)
    while True:
        job = walk_next(&core.handles, &walk)
        if job == NULL:
            return 0
        check_workload(job, holders)


cdef int check_workload(Job* job, dict holders) except -1:
    if job_is_large(job) and not job_is_absent(job):
        if not lies_in(job_large(job).blob, job_large(job).data, job.size):
            wrong_job(job, "its workload does not lie in its blob")
        hold(holders, job_large(job).blob)
    return 0


cdef int check_dead_workloads(Core* core, dict holders) except -1:
    cdef Function* function = core.first_function
    cdef Letter* letter
    while function != NULL:
        letter = first_letter(function)
        while letter != NULL:
            check_workload(letter.job, holders)
            letter = letter.next
        function = function.next
    return 0


cdef int check_results(Core* core, dict holders) except -1:
    cdef Function* function = core.first_function
    cdef Result* result
    while function != NULL:
        result = first_result(function)
        while result != NULL:
            if result.blob != NULL:
                if not lies_in(result.blob, result.data, result.size):
                    fail(f"the result of job {result.number} does not lie in its blob")
                hold(holders, result.blob)
            result = result.next
        function = function.next
    return 0


cdef int check_holders(Peer* peer, dict holders) except -1:
    cdef size_t i
    cdef size_t before = 0
    cdef size_t referenced = 0
    cdef Part* part
    if peer.large != NULL:
        hold(holders, peer.large)
    if peer.parts != NULL:
        if peer.parts.count == 0 or peer.parts.first + peer.parts.count > peer.parts.room:
            wrong_peer(peer, f"{peer.parts.count} parts from {peer.parts.first} on in room for {peer.parts.room}")
        for i in range(peer.parts.count):
            part = &peer.parts.list[peer.parts.first + i]
            if part.size == 0 or not lies_in(part.blob, part.data, part.size):
                wrong_peer(peer, "a part of its output is empty, or does not lie in its blob")
            before += part.before
            referenced += part.size
            hold(holders, part.blob)
        equal(before, peer.parts.before, "bytes before the parts of a peer's output", "in their sum")
    if before > peer.out.end - peer.out.begin:
        wrong_peer(peer, "more bytes before the parts of its output than there are")
    return equal(referenced, peer.referenced, "bytes in the parts of a peer's output", "referenced")


cdef int check_input(Peer* peer) except -1:
    """An unfinished large frame lies in one place, which has not much more room than there are bytes."""
    cdef Blob* blob = peer.large
    cdef size_t held = peer.partial.end - peer.partial.begin
    if blob != NULL:
        if held or not blob.begin < blob.end <= blob.room or blob.references != 1:
            wrong_peer(peer, f"an unfinished frame of {held} bytes, and another in bytes {blob.begin} to {blob.end}")
        held = blob.end - blob.begin
        if not peer.whole or held >= peer.wanted:
            wrong_peer(peer, f"wants {peer.wanted} bytes of {peer.whole}, and holds {held}")
        if blob.room > (max(2 * held, <size_t>65536) + blob.begin) * 5 // 4 + 16384:
            wrong_peer(peer, f"room for {blob.room} bytes of a frame of which {held} have come")
    if peer.whole and (peer.whole < LARGE or peer.whole <= held or not peer.expected):
        wrong_peer(peer, f"an unfinished frame of {peer.whole} bytes, {held} of which have come")
    return 0


cdef int check_spare(Core* core) except -1:
    cdef Blob* blob = core.spare_blobs
    cdef size_t room = 0
    while blob != NULL and room <= core.spare_bytes:
        if blob.references:
            fail("a spare blob that something holds")
        room += blob.room
        blob = blob.next
    return equal(room, core.spare_bytes, "bytes of room in spare blobs", "spare_bytes")
