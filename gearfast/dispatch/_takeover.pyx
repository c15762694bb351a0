# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A journal whose jobs are this server's for a time only: the lease, which its driver renews.

When it is over without having been renewed, another server may have taken the durable jobs over. Then none is given
out, and none becomes durable; all else goes on. Either the lease is renewed after all, and everything is as before. Or
the driver learns that it is lost: then the durable jobs, which are another server's, leave.
"""

from libc.stdint cimport int64_t, uint64_t

from gearfast.dispatch._bytes cimport bytes_number, bytes_numbers
from gearfast.dispatch._end cimport abandon, drop_failed
from gearfast.dispatch._grab cimport rise_again
from gearfast.dispatch._history cimport first_letter, first_result
from gearfast.dispatch._job cimport job_is_durable
from gearfast.dispatch._journal cimport batch_clear, journal_take
from gearfast.dispatch._lease cimport queues_part
from gearfast.dispatch._letter cimport letter_drop
from gearfast.dispatch._peer cimport peer_by_id, peer_cut
from gearfast.dispatch._records cimport (
    FENCE_LOST,
    MOST_LOSSES,
    PRIORITIES,
    RESULT_DURABLE,
    Batch,
    Core,
    Function,
    Job,
    Letter,
    Peer,
    Result,
)
from gearfast.dispatch._result cimport result_drop
from gearfast.dispatch._settle cimport journal_settle


cdef void lapse(Core* core) noexcept nogil:
    """The lease is over: no durable job is given out from now on."""
    cdef Function* function = core.first_function
    core.journal.lapsed = True
    while function != NULL:
        queues_part(function)
        if function.absence != NULL:
            rise_again(core, function)  # what was behind an absent job may be next now
        function = function.next


cdef void lease_set(Core* core, int64_t until) noexcept nogil:
    """Durable jobs are this server's until then; `until`: monotonic ns, 0 for ever."""
    cdef Function* function = core.first_function
    core.journal.lease_until = until
    if not core.journal.lapsed or until and until <= core.now:
        return
    core.journal.lapsed = False
    while function != NULL:
        rise_again(core, function)
        function = function.next


cdef void lease_lost(Core* core, uint64_t number, uint64_t batch) noexcept nogil:
    """All durable jobs are another server's: they leave, and what was to be told of them is told to nobody.

    The batch that was committed last is settled. What gathers is refused. New jobs have numbers from `number` on, new
    batches from `batch` on.
    """
    cdef Function* function
    cdef size_t i
    if journal_take(core) != NULL:
        journal_settle(core, False)
    cut_those_who_wait(core)
    batch_clear(core.journal.gathering, batch)
    for i in range(core.slot_count):
        if core.slots[i].peer != NULL:
            let_run_out(core, core.slots[i].peer)
    function = core.first_function
    while function != NULL:
        forget_durable(core, function)
        function = function.next
    core.journal.jobs = 0
    if core.far != NULL:
        core.far.letters.size = 0
    core.next_number = max(core.next_number, number)


cdef void cut_those_who_wait(Core* core) noexcept nogil:
    """A worker that asked whether the ends of its jobs are stored: they never will be, and no answer tells of that."""
    cdef Batch* batch = core.journal.gathering
    cdef size_t i
    cdef Peer* peer
    for i in range(bytes_numbers(&batch.holders)):
        peer = peer_by_id(core, bytes_number(&batch.holders, i))
        if peer != NULL:
            peer_cut(core, peer)
    for i in range(core.slot_count):
        peer = core.slots[i].peer
        if peer != NULL and peer.fence == batch.number:
            peer.fence = FENCE_LOST


cdef void let_run_out(Core* core, Peer* peer) noexcept nogil:
    """What this worker sends of its durable jobs is swallowed, without an ERROR that would confuse it."""
    cdef Job* job = peer.jobs
    while job != NULL:
        if job_is_durable(job):
            job.losses &= MOST_LOSSES
            abandon(core, job)
            peer.fence = FENCE_LOST
        job = job.next


cdef void forget_durable(Core* core, Function* function) noexcept nogil:
    """Queued jobs and those that wait for their time; who waits for one gets WORK_FAIL. Letters and results too."""
    cdef int priority
    cdef Letter* letter = first_letter(function)
    cdef Letter* newer
    cdef Result* result = first_result(function)
    cdef Result* later
    for priority in range(PRIORITIES):
        forget_jobs(core, function.queues[priority].head)
    if function.history != NULL:
        forget_jobs(core, function.history.delayed.head)
    while letter != NULL:
        newer = letter.next
        if job_is_durable(letter.job):
            letter.job.losses &= MOST_LOSSES
            letter_drop(core, letter)
        letter = newer
    while result != NULL:
        later = result.next
        if result.flags & RESULT_DURABLE:
            result.flags &= ~<int>RESULT_DURABLE
            result_drop(core, result)
        result = later


cdef void forget_jobs(Core* core, Job* job) noexcept nogil:
    cdef Job* after
    while job != NULL:
        after = job.next
        if job_is_durable(job):
            job.losses &= MOST_LOSSES
            drop_failed(core, job)
        job = after
