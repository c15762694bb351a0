# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What befalls workers and clients, and with them their jobs: registration, loss, leaving, time."""

from gearfast.dispatch._ability cimport ability_add, ability_find, ability_remove
from gearfast.dispatch._end cimport drop_failed, ignore, leave_worker
from gearfast.dispatch._function cimport function_get, queue_insert, queue_push, queue_remove
from gearfast.dispatch._grab cimport FEW_FUNCTIONS, level_of, level_of_priority, rise, serve_held, wake
from gearfast.dispatch._job cimport job_add_losses, job_is_durable, job_losses, job_priority
from gearfast.dispatch._journal cimport journal_change
from gearfast.dispatch._notices cimport LEVEL_NOTICE, LEVEL_WARNING, note_job
from gearfast.dispatch._peer cimport waiter_remove
from gearfast.dispatch._records cimport (
    HELD,
    JOB_BACKGROUND,
    JOB_DELAYED,
    JOB_IGNORED,
    PEER_ASLEEP,
    PEER_NOTICED,
    PEER_WORKER,
    Ability,
    Core,
    Function,
    Job,
    Peer,
)
from gearfast.dispatch._timers cimport timer_clear, timer_due

cdef enum:
    TIMERS_A_TICK = 10000       # so that a million jobs that are due at once do not stop everything else


# Registration

cdef int register(Core* core, Peer* peer, const char* name, size_t size, float timeout) noexcept nogil:
    """CAN_DO and CAN_DO_TIMEOUT (`timeout` in ms, 0 none). Registering again only renews the time-out.

    0, or -1 if there is no memory for it, or functions take too much of it already.
    """
    cdef Function* function = function_get(core, name, size)
    cdef Ability* ability
    cdef int level
    if function == NULL:
        return -1
    peer.flags |= PEER_WORKER
    ability = ability_find(core, peer, function)
    if ability != NULL:
        ability.timeout = timeout
        return 0
    level = level_of(core, function)
    if peer.held:
        ability = ability_add(core, peer, function, timeout, HELD if peer.ability_count < FEW_FUNCTIONS else 0)
    else:
        ability = ability_add(core, peer, function, timeout, level)
    if ability == NULL:
        return -1
    if level == 0:
        return 0
    while peer.held and serve_held(core, ability):
        pass
    if peer.flags & (PEER_ASLEEP | PEER_NOTICED) == PEER_ASLEEP and not core.draining:
        wake(core, peer)
    return 0


cdef void withdraw(Core* core, Ability* ability) noexcept nogil:
    """Remove a registration; where one worker is woken for all, it may have been this one: another is woken."""
    cdef Function* function = ability.function
    cdef int level
    ability_remove(core, ability)
    if core.wakeup:
        level = level_of(core, function)
        if level:
            rise(core, function, level)


cdef void unregister(Core* core, Peer* peer, Function* function) noexcept nogil:
    """CANT_DO: the worker's running jobs of this function are queued again."""
    cdef Ability* ability = ability_find(core, peer, function)
    cdef Job* job
    cdef Job* after
    if ability == NULL:
        return
    withdraw(core, ability)
    job = peer.jobs if function.running else NULL
    while job != NULL:
        after = job.next
        core.effort += 1
        if job.function == function:
            requeue(core, job)
        job = after


cdef void unregister_all(Core* core, Peer* peer) noexcept nogil:
    """RESET_ABILITIES: all running jobs of the worker are queued again, last grabbed first."""
    while peer.abilities != NULL:
        withdraw(core, peer.abilities)
    while peer.jobs != NULL:
        requeue(core, peer.jobs)


# Loss and leaving

cdef void requeue(Core* core, Job* job) noexcept nogil:
    """A running job was lost with its worker: to the end of its queue, or failed if that happened too often."""
    cdef int limit = core.retries_limit
    if job.flags & JOB_IGNORED:
        drop_failed(core, job)
        return
    leave_worker(core, job)
    job.since = core.now
    job.function.queued[job_priority(job)] += 1
    queue_push(&job.function.queues[job_priority(job)], job)
    job_add_losses(job, 1)
    if limit >= 0 and <int>job_losses(job) >= (limit if limit else 1):
        note_job(core, LEVEL_NOTICE, "Dropped job due to max retry count: ", job)
        drop_failed(core, job)
        return
    if job_is_durable(job):
        journal_change(core, job)
    job.numerator = 0
    job.denominator = 0
    core.stats.requeued += 1
    job.function.tally.requeued += 1
    rise(core, job.function, level_of_priority(core, job_priority(job)))


cdef void leave(Core* core, Peer* peer) noexcept nogil:
    """A connection has ended: its jobs are queued again, and jobs that only it waited for are ignored."""
    cdef Job* job
    peer.held = 0
    # As a client first: a job that it both waited for and has is then nobody's, and wakes nobody.
    while peer.waiters != NULL:
        job = peer.waiters.job
        waiter_remove(core, peer.waiters)
        if job.waiters == NULL and not job.flags & JOB_BACKGROUND:
            ignore(core, job)
    unregister_all(core, peer)


# Time

cdef bint run_timers(Core* core) noexcept nogil:
    """Do what is due by `core.now` and `core.wall`; True if there is more than one call should do."""
    cdef Job* job
    cdef int left = TIMERS_A_TICK
    while left:
        job = timer_due(&core.timeouts, core.now)
        if job == NULL:
            break
        note_job(core, LEVEL_WARNING, "Worker timeout reached on job, requeueing: ", job)
        job.function.tally.timeouts += 1
        requeue(core, job)
        left -= 1
    while left:
        job = timer_due(&core.schedule, core.wall)
        if job == NULL:
            break
        timer_clear(&core.schedule, job)
        queue_remove(&job.function.delayed, job)
        core.delayed_count -= 1
        job.flags &= ~<int>JOB_DELAYED
        job.since = core.now
        queue_insert(&job.function.queues[job_priority(job)], job)
        rise(core, job.function, level_of_priority(core, job_priority(job)))
        left -= 1
    return left == 0
