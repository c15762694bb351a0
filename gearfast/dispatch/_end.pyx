# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How a job ends: finished, failed, cancelled, dropped, or wanted by nobody any more."""

from libc.stdint cimport uint32_t
from libc.string cimport memcpy

from gearfast._codec cimport CMD_WORK_FAIL, Field
from gearfast.dispatch._absent cimport absence_forgets
from gearfast.dispatch._function cimport function_drop, queue_remove
from gearfast.dispatch._history cimport first_letter, first_result, history_time
from gearfast.dispatch._index cimport index_remove
from gearfast.dispatch._gate cimport expiry_clear
from gearfast.dispatch._job cimport (
    HANDLE_ROOM,
    job_free,
    job_in_uniques,
    job_is_absent,
    job_is_durable,
    job_losses,
    job_node,
    job_priority,
    job_slot,
    job_worker,
    write_handle,
)
from gearfast.dispatch._journal cimport journal_bury, journal_end
from gearfast.dispatch._letter cimport letter_add, letter_drop, letter_new, remark_find, remark_forget
from gearfast.dispatch._peer cimport waiter_remove, write_packet
from gearfast.dispatch._records cimport (
    FENCE_LOST,
    JOB_BACKGROUND,
    JOB_CANCELLED,
    JOB_DELAYED,
    JOB_IGNORED,
    JOB_RUNNING,
    OUTCOME_CANCELLED,
    PRIORITIES,
    REASON_FAILED,
    SLOT,
    Core,
    Function,
    Job,
    Letter,
    Peer,
    Policy,
    Remark,
    Waiter,
)
from gearfast.dispatch._result cimport result_drop, result_keep
from gearfast.dispatch._timers cimport timer_clear


cdef void leave_worker(Core* core, Job* job) noexcept nogil:
    """A running job leaves its worker."""
    cdef Peer* worker = job_worker(core, job)
    worker.running -= 1
    if job.prev != NULL:
        job.prev.next = job.next
    else:
        worker.jobs = job.next
    if job.next != NULL:
        job.next.prev = job.prev
    job.worker &= ~<uint32_t>SLOT
    job.flags &= ~<int>JOB_RUNNING
    job.function.running -= 1
    core.running_count -= 1
    if job.timer:
        timer_clear(&core.timeouts, job)


cdef void drop(Core* core, Job* job) noexcept nogil:
    """Forget a job, wherever it is. Its waiters must have been answered."""
    if job_is_durable(job):
        set_fence(core, job)
        journal_end(core, job)
    take_out(core, job)
    remark_forget(core, job)
    job_free(core, job)


cdef inline void set_fence(Core* core, Job* job) noexcept nogil:
    """The batch that gathers tells of the end of a durable job."""
    if job_slot(job) and job_worker(core, job).fence != FENCE_LOST:
        job_worker(core, job).fence = core.journal.gathering.number


cdef void take_out(Core* core, Job* job) noexcept nogil:
    """A job leaves everything but the table of handles."""
    cdef Function* function = job.function
    if job.flags & JOB_RUNNING:
        leave_worker(core, job)
    else:
        if not job.flags & JOB_DELAYED:
            queue_remove(&function.queues[job_priority(job)], job)
            expiry_clear(core, job)
            if job.flags & JOB_IGNORED:
                core.ignored_count -= 1
        else:
            queue_remove(&function.history.delayed, job)
            timer_clear(&core.schedule, job)
            core.delayed_count -= 1
            core.retrying_count -= job_losses(job) != 0
        function.queued[job_priority(job)] -= 1
    function.total -= 1
    if job_in_uniques(job):
        index_remove(&core.uniques, job_node(job))
    while job.waiters != NULL:
        waiter_remove(core, job.waiters)


cdef bint bury(Core* core, Job* job, int reason) noexcept nogil:
    """A job that failed for good becomes a dead letter; False if its function keeps none, or without memory.

    The oldest one makes room; two of them where the limit is new and lower, so that nothing takes long.
    """
    cdef Policy* policy = job.function.policy
    cdef Letter* letter
    cdef int left = 2
    if policy == NULL or policy.keep == 0 or job.flags & JOB_IGNORED:
        return False
    letter = letter_new(core)
    if letter == NULL:
        return False
    while left and job.function.history.letters >= policy.keep:
        letter_drop(core, job.function.history.first_letter)
        left -= 1
    if job_is_durable(job):
        set_fence(core, job)
    take_out(core, job)
    letter_add(core, letter, job, reason, core.wall)
    if job_is_durable(job):
        journal_bury(core, letter)
        if job_is_absent(job):
            absence_forgets(core, job)
    return True


cdef void end_failed(Core* core, Job* job, int reason) noexcept nogil:
    """A job has failed for good and its waiters were told. A dead letter is its result too."""
    if bury(core, job, reason):
        return
    if job.function.policy != NULL and job.function.policy.results:
        keep_failure(core, job, reason)
    drop(core, job)


cdef void keep_failure(Core* core, Job* job, int reason) noexcept nogil:
    """The result of a job that failed: why, with the last exception if its worker has ended it."""
    cdef Remark* remark = NULL
    cdef Field data
    if reason == REASON_FAILED and core.remarks.count:
        remark = remark_find(core, job.number)
    if remark == NULL:
        result_keep(core, job, reason, NULL, False)
        return
    data.data = remark.data
    data.size = remark.size
    result_keep(core, job, reason, &data, False)


cdef void fail(Core* core, Job* job, int reason) noexcept nogil:
    """As `drop_failed`, of a job that may become a dead letter."""
    core.stats.dropped += 1
    job.function.history.dropped += 1
    fail_waiters(core, job)
    end_failed(core, job, reason)


cdef void finish(Core* core, Job* job) noexcept nogil:
    """A running job has ended and its waiters were told."""
    history_time(job.function.history.running, &job.function.history.running_ns, core.now - job.since)
    drop(core, job)


cdef void fail_waiters(Core* core, Job* job) noexcept nogil:
    """WORK_FAIL to everybody who waits for a job. Its handle never ends in a NUL: libgearman would ignore it."""
    cdef char handle[HANDLE_ROOM]
    cdef size_t size = write_handle(core, handle, job.number)
    cdef Waiter* waiter = job.waiters
    cdef char* at
    while waiter != NULL:
        at = write_packet(core, waiter.peer, CMD_WORK_FAIL, size)
        if at != NULL:
            memcpy(at, handle, size)
        waiter = waiter.job_next


cdef void cancel(Core* core, Job* job) noexcept nogil:
    """`cancel job`: its clients get WORK_FAIL; a queued job stays until it is met, a running one until it ends."""
    result_keep(core, job, OUTCOME_CANCELLED, NULL, False)
    abandon(core, job)


cdef void abandon(Core* core, Job* job) noexcept nogil:
    """The same of a job that goes on elsewhere, so that this is not what becomes of it."""
    fail_waiters(core, job)
    while job.waiters != NULL:
        waiter_remove(core, job.waiters)
    job.flags = (job.flags & ~<int>JOB_BACKGROUND) | JOB_CANCELLED
    if job_is_durable(job):
        journal_end(core, job)
    ignore(core, job)


cdef void ignore(Core* core, Job* job) noexcept nogil:
    """Nobody wants this job any more: it coalesces with nothing, and is dropped when it is met.

    One that waits for its time is dropped at once.
    """
    if job.flags & JOB_IGNORED:
        return
    if job_in_uniques(job):
        index_remove(&core.uniques, job_node(job))
    job.flags |= JOB_IGNORED
    if job.flags & JOB_DELAYED:
        drop_failed(core, job)
    elif not job.flags & JOB_RUNNING:
        core.ignored_count += 1


cdef void drop_function(Core* core, Function* function) noexcept nogil:
    """`drop function`: one without workers and running jobs; who waits for its queued jobs gets WORK_FAIL.

    Its dead letters and results go too.
    """
    cdef int priority
    for priority in range(PRIORITIES):
        while function.queues[priority].head != NULL:
            drop_failed(core, function.queues[priority].head)
    while function.history != NULL and function.history.delayed.head != NULL:
        drop_failed(core, function.history.delayed.head)
    while first_letter(function) != NULL:
        letter_drop(core, first_letter(function))
    while first_result(function) != NULL:
        result_drop(core, first_result(function))
    function_drop(core, function)


cdef void drop_failed(Core* core, Job* job) noexcept nogil:
    """Drop a job that does not end by its worker; who still waits for it gets WORK_FAIL."""
    core.stats.dropped += 1
    job.function.history.dropped += 1
    fail_waiters(core, job)
    drop(core, job)
