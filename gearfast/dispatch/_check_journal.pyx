# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The journal: what gathers agrees with the jobs, and who waits for a commit is known to the batch it waits for."""

from libc.stdint cimport uint64_t

from gearfast.dispatch._bytes cimport bytes_number, bytes_numbers
from gearfast.dispatch._check_tables cimport equal, fail, wrong_job, wrong_peer
from gearfast.dispatch._job cimport Walk, handles_get, job_is_durable, walk_begin, walk_next
from gearfast.dispatch._peer cimport peer_unsent
from gearfast.dispatch._record cimport RECORD_DEAD, Head, Record, record_read
from gearfast.dispatch._records cimport (
    JOB_BACKGROUND,
    JOB_CANCELLED,
    PEER_HOLDING,
    Added,
    Batch,
    Core,
    Hold,
    Job,
    Peer,
)


cdef int check_journal(Core* core) except -1:
    cdef size_t i
    cdef Walk walk
    cdef Job* job
    cdef size_t durable = 0
    for i in range(core.slot_count):
        if core.slots[i].peer != NULL:
            check_holds(core, core.slots[i].peer)
    walk_begin(&walk)
    while True:
        job = walk_next(&core.handles, &walk)
        if job == NULL:
            break
        durable += job_is_durable(job)
        if job_is_durable(job) and (not job.flags & JOB_BACKGROUND or job.flags & JOB_CANCELLED):
            wrong_job(job, "durable, but nobody wants it in the background")
    if core.journal == NULL:
        return equal(durable, 0, "durable jobs", "without a journal")
    equal(durable, core.journal.jobs, "durable jobs", "in the journal's count")
    if core.journal.committing == NULL and core.journal.spare == NULL:
        fail("the journal has no batch to go on with")
    if core.journal.committing != NULL:
        if core.journal.committing.number >= core.journal.gathering.number:
            fail("the batch that is committed is not older than the one that gathers")
        check_batch(core, core.journal.committing, False)
    return check_batch(core, core.journal.gathering, True)


cdef int check_batch(Core* core, Batch* batch, bint gathers) except -1:
    """`gathers`: its records that are not dead are of jobs that live."""
    cdef size_t at = 0
    cdef size_t dead = 0
    cdef size_t dead_bytes = 0
    cdef size_t records = 0
    cdef size_t step
    cdef Record record
    cdef Job* job
    while at < batch.records.size:
        step = record_read(batch.records.data + at, batch.records.size - at, &record)
        if step == 0:
            fail(f"batch {batch.number}: no record at byte {at}")
        records += 1
        if record.head.flags & RECORD_DEAD:
            dead += 1
            dead_bytes += step
        elif gathers and not is_late(batch, record.head.number):    # late ones are stored even if they end meanwhile
            job = handles_get(&core.handles, record.head.number)
            if job == NULL or not job_is_durable(job):
                fail(f"batch {batch.number}: the record of job {record.head.number}, which is not durable")
        at += step
    equal(dead, batch.dead, "records of jobs that have ended", "in dead")
    equal(dead_bytes, batch.dead_bytes, "bytes of them", "in dead_bytes")
    equal((batch.index.size + batch.late.size) // sizeof(Added), records, "places of records", "records")
    return check_index_of(batch)


cdef bint is_late(Batch* batch, uint64_t number) noexcept:
    cdef Added* late = <Added*>batch.late.data
    cdef size_t i
    for i in range(batch.late.size // sizeof(Added)):
        if late[i].number == number:
            return True
    return False


cdef int check_index_of(Batch* batch) except -1:
    cdef Added* index = <Added*>batch.index.data
    cdef size_t i
    for i in range(batch.index.size // sizeof(Added)):
        if i and index[i - 1].number >= index[i].number:
            fail(f"batch {batch.number}: its index does not rise")
        # Places mean nothing any more once dead records were taken out.
        if batch.dead and (<Head*>(batch.records.data + index[i].at)).number != index[i].number:
            fail(f"batch {batch.number}: the record of job {index[i].number} is not at its place")
    return 0


cdef bint waits_for(Batch* batch, uint64_t peer) noexcept:
    cdef size_t i
    for i in range(bytes_numbers(&batch.holders)):
        if bytes_number(&batch.holders, i) == peer:
            return True
    return False


cdef int check_holds(Core* core, Peer* peer) except -1:
    cdef size_t i
    cdef size_t before = 0
    cdef size_t count = peer.holds.count if peer.holds != NULL else 0
    cdef uint64_t last = 0
    cdef Hold* hold
    cdef Batch* batch
    if (peer.flags & PEER_HOLDING != 0) != (count != 0):
        wrong_peer(peer, f"{count} holds, but it is {'' if peer.flags & PEER_HOLDING else 'not '}marked as having some")
    for i in range(count):
        hold = &peer.holds.list[peer.holds.first + i]
        if hold.batch <= last:
            wrong_peer(peer, "its holds are not in the order of their batches")
        last = hold.batch
        before += hold.before
        batch = core.journal.gathering
        if hold.batch != batch.number:
            batch = core.journal.committing
        if batch == NULL or batch.number != hold.batch:
            wrong_peer(peer, f"it waits for batch {hold.batch}, which is settled")
        if not waits_for(batch, peer.id):
            wrong_peer(peer, f"it waits for batch {hold.batch}, which does not know of it")
    if count:
        equal(before, peer.holds.before, "bytes before a peer's holds", "in their sum")
    if before > peer_unsent(peer):
        wrong_peer(peer, "a hold lies behind its output")
    return 0
