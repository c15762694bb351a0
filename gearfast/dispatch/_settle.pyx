# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How a batch ends: all that it told is in the store, or nothing of it.

If it is not stored, its jobs that are queued are dropped, and their JOB_CREATED becomes ERROR; those that run are no
longer durable and run out, once: the store may have them after all, and another server by now; those that have ended
have ended. What the batch told of jobs that are in the store already, dead letters and results included, is told again
with the next one, for which those wait who asked about it. With a relaxed journal so are its jobs, which were
acknowledged, unless other servers share the store.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove

from gearfast.dispatch._absent cimport absence_joined, sweep
from gearfast.dispatch._bytes cimport bytes_add_number, bytes_number, bytes_numbers, bytes_space
from gearfast.dispatch._end cimport drop, drop_failed, ignore
from gearfast.dispatch._function cimport queue_remove
from gearfast.dispatch._grab cimport enqueue, level_of_priority, rise
from gearfast.dispatch._holds cimport hold_postpone, hold_release
from gearfast.dispatch._job cimport handles_get, job_is_absent, job_is_durable, job_losses, job_priority
from gearfast.dispatch._journal cimport (
    batch_clear,
    batch_has,
    has_lapsed,
    journal_add,
    journal_rewrite,
    journal_rewrite_result,
    late_has,
    numbers_have,
    sort_late,
)
from gearfast.dispatch._lease cimport queue_last
from gearfast.dispatch._letter cimport letter_find
from gearfast.dispatch._peer cimport peer_by_id, peer_cut
from gearfast.dispatch._record cimport RECORD_CLAIM, RECORD_LETTER, RECORD_RESULT, RECORD_REWRITE, Head
from gearfast.dispatch._records cimport (
    CLAIMED,
    JOB_BACKGROUND,
    JOB_DELAYED,
    JOB_RUNNING,
    JOB_STATE,
    MOST_LOSSES,
    Batch,
    Bytes,
    Core,
    Job,
    Journal,
    Letter,
    Peer,
    Result,
)
from gearfast.dispatch._result cimport result_find
from gearfast.dispatch._refusal cimport amend_held, refuse_held, winner_of
from gearfast.dispatch._timers cimport NEVER, timer_clear, timer_set, timer_when

cdef enum:
    SMALLEST = 128              # bytes of a record of whose job the workload may leave memory
    LEAST_SWEEP = 2000          # jobs that are looked at for that


cdef void journal_settle(Core* core, bint stored) noexcept nogil:
    """The batch that was taken is in the store, or it is known not to be."""
    cdef Journal* journal = core.journal
    cdef Batch* batch = journal.committing
    cdef size_t i
    cdef size_t left
    cdef Peer* peer
    if batch == NULL:
        return
    for i in range(bytes_numbers(&batch.holders)):
        peer = peer_by_id(core, bytes_number(&batch.holders, i))
        if peer == NULL:
            continue
        if stored and has_lapsed(core) and has_durable(peer):
            peer_cut(core, peer)    # what waited may give out a job that is another server's by now
            continue
        if core.journal.verdict != NULL:
            amend_held(core, peer)
        if not stored:
            refuse_held(core, peer, batch)
            if peer.fence == batch.number:
                wait_on(core, peer, batch.number)
        hold_release(core, peer, batch.number)
    if not stored or core.journal.verdict != NULL:
        tell_those_who_joined(core, batch, stored)
    journal.committing = NULL
    if not stored:
        give_up(core, batch)
        forget_ends(core, batch)
        tell_again(core, batch)
    elif batch.claims:
        if core.journal.verdict != NULL:
            forget_taken(core)
        end_claims(core, batch)
    left = batch.records.size // SMALLEST
    batch_clear(batch, 0)
    journal.spare = batch
    if core.far != NULL:
        sweep(core, LEAST_SWEEP + 2 * left)


cdef bint has_durable(Peer* peer) noexcept nogil:
    """Whether a durable job was given to it."""
    cdef Job* job = peer.jobs
    while job != NULL:
        if job_is_durable(job):
            return True
        job = job.next
    return False


cdef void wait_on(Core* core, Peer* peer, uint64_t number) noexcept nogil:
    """A worker that asked whether the ends of its jobs are stored: they go with the next batch, and so does the answer.

    Without memory for that it is told what is not so yet.
    """
    cdef Batch* next = core.journal.gathering
    if bytes_space(&next.holders, sizeof(uint64_t)) != NULL and hold_postpone(peer, number, next.number):
        bytes_add_number(&next.holders, peer.id)


cdef void tell_those_who_joined(Core* core, Batch* batch, bint stored) noexcept nogil:
    """Requests that joined a job of this batch and wait for the one that gathers."""
    cdef Bytes* holders = &core.journal.gathering.holders
    cdef size_t i
    cdef Peer* peer
    for i in range(bytes_numbers(holders)):
        peer = peer_by_id(core, bytes_number(holders, i))
        if peer != NULL and stored:
            amend_held(core, peer)
        elif peer != NULL:
            refuse_held(core, peer, batch)


cdef void give_up(Core* core, Batch* batch) noexcept nogil:
    """The jobs of a batch that is not stored: the queued ones are dropped, the others are not durable.

    Those of a relaxed journal go with the next one.
    """
    cdef size_t at = 0
    cdef Head* head
    cdef Job* job
    cdef Bytes rewritten        # since then
    sort_late(&core.journal.gathering.late)
    rewritten = core.journal.gathering.late
    while at < batch.records.size:
        head = <Head*>(batch.records.data + at)
        at += head.size
        rewritten.data = core.journal.gathering.late.data
        if late_has(&rewritten, head.number):
            continue
        if head.flags & (RECORD_LETTER | RECORD_RESULT | RECORD_REWRITE):
            rewrite_again(core, head.number)
            continue
        job = handles_get(&core.handles, head.number)
        if job == NULL or not job_is_durable(job):
            continue
        job.losses &= MOST_LOSSES
        core.journal.jobs -= 1
        if core.journal.relaxed and not core.journal.claims and journal_add(core, job, head.due) == 0:
            continue        # it was acknowledged
        if job.waiters != NULL:
            job.flags &= ~<int>JOB_BACKGROUND       # who waits for it keeps it
            if job.worker & CLAIMED:
                job.worker &= ~<uint32_t>CLAIMED
                let_go(core, job, head.due)
            elif has_lapsed(core) and not job.flags & JOB_STATE:
                go_ahead(core, job)
        elif job.flags & JOB_RUNNING:
            job.flags &= ~<int>JOB_BACKGROUND
            ignore(core, job)
        else:
            drop_failed(core, job)


cdef void go_ahead(Core* core, Job* job) noexcept nogil:
    """A queued job is not durable any more: while the lease has lapsed it is given out before those that are."""
    queue_remove(&job.function.queues[job_priority(job)], job)
    queue_last(core, job)
    rise(core, job.function, level_of_priority(core, job_priority(job)))


cdef void end_claims(Core* core, Batch* batch) noexcept nogil:
    """The claims of a batch that is stored are decided: jobs that have one may be given out, the others go.

    Who waits for one of those keeps it, as a job that is not durable.
    """
    cdef size_t at = 0
    cdef Head* head
    cdef Job* job
    while at < batch.records.size:
        head = <Head*>(batch.records.data + at)
        at += head.size
        if not head.flags & RECORD_CLAIM:
            continue
        job = handles_get(&core.handles, head.number)
        if job == NULL or not job_is_durable(job):
            continue
        if winner_of(core, head.number):
            job.worker &= ~<uint32_t>CLAIMED
            job.losses &= MOST_LOSSES
            core.journal.jobs -= 1
            core.stats.coalesced += 1
            job.function.history.coalesced += 1
            if job.waiters == NULL:
                drop(core, job)
                continue
            job.flags &= ~<int>JOB_BACKGROUND
        let_go(core, job, head.due)


cdef void let_go(Core* core, Job* job, int64_t due) noexcept nogil:
    """Nothing but its time, wall ns, has to come any more until this job is given out."""
    if not job.flags & JOB_DELAYED or timer_when(&core.schedule, job) != NEVER:
        return
    timer_clear(&core.schedule, job)
    if due > core.wall and timer_set(&core.schedule, job, due) == 0:
        return
    queue_remove(&job.function.history.delayed, job)
    core.delayed_count -= 1
    core.retrying_count -= job_losses(job) != 0
    job.flags &= ~<int>JOB_DELAYED
    if job_is_absent(job):
        absence_joined(job)
    enqueue(core, job)


cdef void forget_taken(Core* core) noexcept nogil:
    """What gathers tells nothing of jobs that the store does not have, as their uniques are others'."""
    keep_others(core, &core.journal.gathering.done)
    keep_others(core, &core.journal.gathering.replaced)


cdef void keep_others(Core* core, Bytes* told) noexcept nogil:
    cdef uint64_t* numbers = <uint64_t*>told.data
    cdef size_t kept = 0
    cdef size_t i
    for i in range(bytes_numbers(told)):
        if winner_of(core, numbers[i]) == 0:
            numbers[kept] = numbers[i]
            kept += 1
    told.size = kept * sizeof(uint64_t)


cdef void rewrite_again(Core* core, uint64_t number) noexcept nogil:
    """What the store was to know of a dead letter, of a job that was one, or of a result, goes with the next batch."""
    cdef Letter* letter = letter_find(core, number)
    cdef Job* job = letter.job if letter != NULL else handles_get(&core.handles, number)
    cdef Result* result = result_find(core, number)
    if result != NULL:
        if journal_rewrite_result(core, result) < 0:
            core.journal.unkept += 1
        return
    if job != NULL and job_is_durable(job) and journal_rewrite(core, job, letter) < 0:
        core.journal.unkept += 1


cdef void forget_ends(Core* core, Batch* batch) noexcept nogil:
    """Jobs of this batch that have ended since: the store never had them, unless an earlier batch brought them."""
    cdef Bytes* done = &core.journal.gathering.done
    cdef uint64_t* numbers = <uint64_t*>done.data
    cdef size_t count = bytes_numbers(done)
    cdef size_t kept = 0
    cdef size_t i
    for i in range(count):
        if not batch_has(batch, numbers[i]) or numbers_have(&batch.replaced, numbers[i]):
            numbers[kept] = numbers[i]
            kept += 1
    done.size = kept * sizeof(uint64_t)


cdef void tell_again(Core* core, Batch* batch) noexcept nogil:
    """What a batch that is not stored told of earlier jobs goes with the next one, before what that has itself."""
    cdef uint64_t next = core.journal.gathering.number
    cdef size_t i
    put_before(core, &core.journal.gathering.done, &batch.done)
    put_before(core, &core.journal.gathering.changes, &batch.changes)
    put_before(core, &core.journal.gathering.freed, &batch.freed)
    for i in range(core.slot_count):
        if core.slots[i].peer != NULL and core.slots[i].peer.fence == batch.number:
            core.slots[i].peer.fence = next


cdef void put_before(Core* core, Bytes* to, Bytes* what) noexcept nogil:
    if what.size == 0:
        return
    if bytes_space(to, what.size) == NULL:
        core.journal.unkept += what.size // sizeof(uint64_t)
        return
    memmove(to.data + what.size, to.data, to.size)
    memcpy(to.data, what.data, what.size)
    to.size += what.size
