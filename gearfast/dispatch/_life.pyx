# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What befalls workers and clients, and with them their jobs: registration, loss, leaving, time."""

from gearfast.dispatch._absent cimport absence_joined
from gearfast.dispatch._ability cimport ability_add, ability_find, ability_move, ability_remove
from gearfast.dispatch._end cimport drop_failed, end_failed, fail, finish, ignore, leave_worker
from gearfast.dispatch._function cimport function_get, queue_push, queue_remove
from gearfast.dispatch._gate cimport backoff_of, expiry_set, gate_clear, gate_due, gate_opens
from gearfast.dispatch._grab cimport (
    FEW_FUNCTIONS,
    level_of,
    level_of_priority,
    rise,
    rise_again,
    rise_for_all,
    serve_held,
    wake,
    wake_others,
)
from gearfast.dispatch._history cimport history_time
from gearfast.dispatch._job cimport job_add_losses, job_is_absent, job_is_durable, job_losses, job_priority
from gearfast.dispatch._journal cimport journal_change
from gearfast.dispatch._lease cimport queue_by_time, queue_last
from gearfast.dispatch._letter cimport letter_drop, letter_due
from gearfast.dispatch._notices cimport LEVEL_NOTICE, LEVEL_WARNING, note_job
from gearfast.dispatch._peer cimport waiter_remove
from gearfast.dispatch._result cimport result_drop, result_due
from gearfast.dispatch._records cimport (
    HELD,
    IN_LINE,
    JOB_BACKGROUND,
    JOB_DELAYED,
    JOB_IGNORED,
    PEER_ASLEEP,
    PEER_NOTICED,
    PEER_WORKER,
    REASON_EXPIRED,
    REASON_FAILED,
    REASON_LOST,
    REASON_TIMEOUT,
    Ability,
    Core,
    Function,
    Job,
    Letter,
    Peer,
    Result,
)
from gearfast.dispatch._timers cimport timer_clear, timer_due, timer_set
from gearfast.dispatch._turns cimport has_lines

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
        if peer.flags & (PEER_ASLEEP | PEER_NOTICED) == PEER_ASLEEP and has_lines(function):
            ability_move(ability, IN_LINE)
        return 0
    while peer.held and serve_held(core, ability):
        pass
    if peer.flags & (PEER_ASLEEP | PEER_NOTICED) == PEER_ASLEEP and not core.draining:
        wake(core, peer)
    return 0


cdef void withdraw(Core* core, Ability* ability) noexcept nogil:
    """Remove a registration; where not all are woken, it may have been for this one: another is woken."""
    cdef Function* function = ability.function
    cdef int level
    ability_remove(core, ability)
    if core.wakeup or has_lines(function):
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
            requeue(core, job, REASON_LOST)
        job = after


cdef void unregister_all(Core* core, Peer* peer) noexcept nogil:
    """RESET_ABILITIES: all running jobs of the worker are queued again, last grabbed first."""
    while peer.abilities != NULL:
        withdraw(core, peer.abilities)
    while peer.jobs != NULL:
        requeue(core, peer.jobs, REASON_LOST)


# Ends, losses and leaving

cdef void finish_allowed(Core* core, Job* job) noexcept nogil:
    """As `finish`, of a function with a policy, which may then have another one to give."""
    cdef Function* function = job.function
    finish(core, job)
    if gate_opens(function):
        rise_again(core, function)


cdef void fail_allowed(Core* core, Job* job) noexcept nogil:
    """As `finish_allowed`, of a job that its worker has failed for good."""
    cdef Function* function = job.function
    history_time(function.history.running, &function.history.running_ns, core.now - job.since)
    job_add_losses(job, 1)
    end_failed(core, job, REASON_FAILED)
    if gate_opens(function):
        rise_again(core, function)


cdef inline bint was_last(Core* core, Job* job, int losses) noexcept nogil:
    """Whether a job that was lost so often, or failed, is not tried again."""
    cdef Function* function = job.function
    cdef int limit = core.retries_limit if function.policy == NULL else function.policy.tries
    return limit >= 0 and losses >= (limit if limit else 1)


cdef bint try_again(Core* core, Job* job) noexcept nogil:
    """A running job was ended by its worker as failed: True if it is queued again by its policy, which nobody hears."""
    if job.function.policy == NULL or not job.function.policy.retry_on_fail or job.flags & JOB_IGNORED \
            or was_last(core, job, <int>job_losses(job) + 1):
        return False
    requeue(core, job, REASON_FAILED)
    return True


cdef void requeue(Core* core, Job* job, int reason) noexcept nogil:
    """A running job was lost with its worker: to the end of its queue, or failed if that happened too often.

    `reason`: what it is a dead letter for then.
    """
    cdef Function* function = job.function
    if job.flags & JOB_IGNORED:
        drop_failed(core, job)
        if gate_opens(function):
            rise_again(core, function)
        return
    leave_worker(core, job)
    job.since = core.now
    function.queued[job_priority(job)] += 1
    queue_last(core, job)
    job_add_losses(job, 1)
    if was_last(core, job, <int>job_losses(job)):
        note_job(core, LEVEL_NOTICE, "Dropped job due to max retry count: ", job)
        fail(core, job, reason)
        if gate_opens(function):
            rise_again(core, function)
        return
    if job_is_durable(job):
        journal_change(core, job)
    job.numerator = 0
    job.denominator = 0
    core.stats.requeued += 1
    function.history.requeued += 1
    if function.policy == NULL:
        rise(core, function, level_of_priority(core, job_priority(job)))
        return
    if not put_off(core, job):
        expiry_set(core, job)
    elif not gate_opens(function):
        return
    rise_again(core, function)


cdef bint put_off(Core* core, Job* job) noexcept nogil:
    """A job that was queued again waits, by its policy, for its next try; False if it need not, or without memory."""
    cdef Function* function = job.function
    if function.policy.backoff == 0 or timer_set(
            &core.schedule, job, core.wall + backoff_of(core, function.policy, job_losses(job))) < 0:
        return False
    queue_remove(&function.queues[job_priority(job)], job)
    queue_push(&function.history.delayed, job)
    job.flags |= JOB_DELAYED
    core.delayed_count += 1
    core.retrying_count += 1
    return True


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

cdef void come_due(Core* core, Job* job) noexcept nogil:
    """The time for which a job has waited has come: into its queue with it."""
    timer_clear(&core.schedule, job)
    queue_remove(&job.function.history.delayed, job)
    core.delayed_count -= 1
    core.retrying_count -= job_losses(job) != 0
    job.flags &= ~<int>JOB_DELAYED
    job.since = core.now
    queue_by_time(core, job)
    if job_is_absent(job):
        absence_joined(job)
    expiry_set(core, job)
    rise(core, job.function, level_of_priority(core, job_priority(job)))


cdef bint run_timers(Core* core) noexcept nogil:
    """Do what is due by `core.now` and `core.wall`; True if there is more than one call should do."""
    cdef Job* job
    cdef Function* function
    cdef Letter* letter
    cdef Result* result
    cdef int left = TIMERS_A_TICK
    while left:
        job = timer_due(&core.timeouts, core.now)
        if job == NULL:
            break
        note_job(core, LEVEL_WARNING, "Worker timeout reached on job, requeueing: ", job)
        job.function.history.timeouts += 1
        requeue(core, job, REASON_TIMEOUT)
        left -= 1
    while left:
        job = timer_due(&core.schedule, core.wall)
        if job == NULL:
            break
        come_due(core, job)
        left -= 1
    while left:
        job = timer_due(&core.expiries, core.now)
        if job == NULL:
            break
        if not job.flags & JOB_IGNORED:
            note_job(core, LEVEL_NOTICE, "Dropped job that was in its queue for too long: ", job)
        fail(core, job, REASON_EXPIRED)
        left -= 1
    while left:
        function = gate_due(core)
        if function == NULL:
            break
        gate_clear(core, function)
        rise_for_all(core, function)
        left -= 1
    while left and wake_others(core):
        left -= 1
    while left:
        letter = letter_due(core)
        if letter == NULL:
            break
        letter_drop(core, letter)
        left -= 1
    while left:
        result = result_due(core)
        if result == NULL:
            break
        result_drop(core, result)
        left -= 1
    return left == 0
