# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Which worker gets which job: queueing, waking, grabbing.

Two promises hold between any two calls:
- no ability's level is below what its function has to give (`_ability.pxd`), which is nothing while its gate is closed;
- a worker that sleeps and had no NOOP, or has GRABs held, has no runnable job (with `wakeup` N, and where a function
  has a dispatch, other workers were woken for it instead).
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

from gearfast._codec cimport (
    CMD_GRAB_JOB,
    CMD_GRAB_JOB_ALL,
    CMD_GRAB_JOB_UNIQ,
    CMD_JOB_ASSIGN,
    CMD_JOB_ASSIGN_ALL,
    CMD_JOB_ASSIGN_UNIQ,
    CMD_NOOP,
    CMD_NO_JOB,
)
from gearfast.dispatch._absent cimport head_is_absent, is_blocked
from gearfast.dispatch._ability cimport ability_level, ability_move, ability_rotate
from gearfast.dispatch._end cimport drop_failed
from gearfast.dispatch._function cimport queue_remove
from gearfast.dispatch._gate cimport expiry_clear, expiry_set, gate_closed, gate_pass, policy_timeout
from gearfast.dispatch._history cimport history_time
from gearfast.dispatch._job cimport (
    HANDLE_ROOM,
    job_is_large,
    job_priority,
    job_reducer,
    job_unique,
    job_workload,
    write_handle,
)
from gearfast.dispatch._journal cimport has_next
from gearfast.dispatch._lease cimport queue_last
from gearfast.dispatch._peer cimport write_packet, write_workload
from gearfast.dispatch._records cimport (
    APART,
    CLAIMED,
    HELD,
    IN_LINE,
    JOB_HAS_REDUCER,
    JOB_IGNORED,
    JOB_RUNNING,
    ORDER_FUNCTION,
    PEER_ALL_YOURS,
    PEER_ASLEEP,
    PEER_LINES,
    PEER_NOTICED,
    PRIORITIES,
    Ability,
    Core,
    Function,
    Job,
    Peer,
)
from gearfast.dispatch._timers cimport timer_set
from gearfast.dispatch._turns cimport (
    first_held,
    has_lines,
    has_weights,
    line_first,
    room_for_jobs,
    turn_taken,
    waking_begin,
    waking_due,
    waking_goes_on,
    weighted_priority,
    weights_spend,
)

cdef enum:
    MOST_HELD = 65536           # held GRABs of one worker, which PRE_SLEEP answers all at once

cdef float LONGEST_TIMEOUT = 4e12   # ms, 126 years: beyond it there is none


# Queueing and waking

cdef int level_of(Core* core, Function* function) noexcept nogil:
    """What a function has to give now, which is nothing while its gate is closed."""
    return 0 if gate_closed(function) else level_of_queues(core, function)


cdef int level_of_queues(Core* core, Function* function) noexcept nogil:
    """What it has in its queues; jobs at their heads that nobody wants are dropped on the way.

    Nothing where the job that is next is absent.
    """
    cdef int priority
    if is_blocked(function):
        return 0
    for priority in range(PRIORITIES):
        clean(core, function, priority)
        if has_next(core, function, priority):
            if function.absence != NULL and next_is_absent(core, function, priority):
                return 0
            return level_of_priority(core, priority)
    return 0


cdef bint next_is_absent(Core* core, Function* function, int priority) noexcept nogil:
    """Whether the job that is next, of this priority unless there are weights, cannot be given out yet."""
    if has_weights(function):
        priority = next_priority(core, function)
    return head_is_absent(core, function.queues[priority].head)


cdef inline void clean(Core* core, Function* function, int priority) noexcept nogil:
    """Drop the jobs at the head of a queue that nobody wants."""
    while function.queues[priority].head != NULL and function.queues[priority].head.flags & JOB_IGNORED:
        drop_failed(core, function.queues[priority].head)


cdef void enqueue(Core* core, Job* job) noexcept nogil:
    """To the end of its queue; workers that wait for it are served or woken."""
    job.since = core.now
    queue_last(core, job)
    expiry_set(core, job)
    rise(core, job.function, level_of_priority(core, job_priority(job)))


cdef void rise(Core* core, Function* function, int level) noexcept nogil:
    """Bring every ability of a function up to `level`, and wake whoever sleeps on one, or who is next in line."""
    cdef Ability* ability
    cdef Ability* after
    cdef int below
    cdef uint32_t woken = 0
    if core.draining or gate_closed(function) or function.absence != NULL and level_of_queues(core, function) == 0:
        return
    if core.wakeup or has_lines(function):
        level = max(level, level_of(core, function))    # those that slept on were not brought up before
    for below in range(1, level):
        while function.able[below] != NULL:
            ability_move(function.able[below], level)
    while function.able[HELD] != NULL:
        ability = first_held(function)
        if not ability.peer.held:
            ability_move(ability, level)
        elif not serve_held(core, ability) or level_of(core, function) == 0:
            return
    ability = function.able[0]
    while ability != NULL:
        after = ability.able_next
        core.effort += 1
        if ability.peer.held:
            if not serve_held(core, ability) or level_of(core, function) == 0:
                return
        elif ability.peer.flags & (PEER_ASLEEP | PEER_NOTICED) != PEER_ASLEEP:
            ability_move(ability, level)
        elif core.wakeup == 0 or woken < core.wakeup:
            wake(core, ability.peer)
            woken += 1
            ability_move(ability, level)
        ability = after
    if function.able[IN_LINE] != NULL:
        wake_next(core, function, level, 1)


cdef void wake_next(Core* core, Function* function, int level, uint32_t most) noexcept nogil:
    """Wake so many of those in line; if they do not come in time, others are woken."""
    cdef Ability* ability = line_first(function, IN_LINE)
    if waking_begin(core, function.rota) < 0:
        most = function.workers
    while most and ability != NULL:
        core.effort += 1
        wake(core, ability.peer)
        ability_move(ability, level)
        most -= 1
        ability = line_first(function, IN_LINE)


cdef void rise_again(Core* core, Function* function) noexcept nogil:
    """The same, to what the function has to give now: its gate has opened, or another one may be needed."""
    cdef int level = level_of(core, function)
    if level:
        rise(core, function, level)


cdef void rise_for_all(Core* core, Function* function) noexcept nogil:
    """The same for all its jobs, for which nobody in line was woken yet, or who was woken has not come."""
    cdef int level = level_of(core, function)
    if level == 0:
        return
    rise(core, function, level)
    if function.able[IN_LINE] != NULL and not core.draining and level_of(core, function):
        wake_next(core, function, level, room_for_jobs(core, function) - 1)


cdef bint wake_others(Core* core) noexcept nogil:
    """Where jobs have waited for too long for those who were woken, wake others; False if none are due."""
    cdef Function* function = waking_due(core)
    if function == NULL:
        return False
    if function.able[IN_LINE] != NULL and level_of(core, function) and not waking_goes_on(core, function):
        rise_for_all(core, function)
    return True


cdef void wake(Core* core, Peer* peer) noexcept nogil:
    cdef Ability* ability = peer.abilities if peer.flags & PEER_LINES else NULL
    peer.flags |= PEER_NOTICED
    while ability != NULL:
        if ability_level(ability) == IN_LINE:
            ability_move(ability, 0)
        ability = ability.peer_next
    write_packet(core, peer, CMD_NOOP, 0)


cdef inline void stand_in_line(Peer* peer) noexcept nogil:
    """It has fallen asleep."""
    cdef Ability* ability = peer.abilities if peer.flags & PEER_LINES else NULL
    while ability != NULL:
        if ability_level(ability) == 0 and has_lines(ability.function):
            ability_move(ability, IN_LINE)
        ability = ability.peer_next


cdef void wake_for_the_rest(Core* core, Ability* ability) noexcept nogil:
    """A worker that was woken took this function's job: it may have been woken for one of another function."""
    cdef Ability* each = ability.peer.abilities
    cdef int level
    while each != NULL:
        if each != ability and each.function.able[IN_LINE] != NULL:
            level = level_of(core, each.function)
            if level:
                wake_next(core, each.function, level, 1)
        each = each.peer_next


cdef void hold_grab(Peer* peer, int kind) noexcept nogil:
    """Keep a GRAB for the next job, and in which form that is to be given.

    Who asked first is served first; workers of very many functions keep their old place, since moving them all would
    make each of their grabs dear.
    """
    cdef Ability* ability = peer.abilities
    if peer.held == 0 and peer.ability_count <= FEW_FUNCTIONS:
        while ability != NULL:
            ability_move(ability, HELD)
            ability = ability.peer_next
    peer.held_kind = 1 if kind == CMD_GRAB_JOB_UNIQ else 2 if kind == CMD_GRAB_JOB_ALL else 0
    if peer.held < 32:
        peer.held_kinds |= <uint64_t>peer.held_kind << (2 * peer.held)
    peer.held += 1


cdef int release_grab(Peer* peer) noexcept nogil:
    """Take the oldest held GRAB; returns its command."""
    cdef int form = peer.held_kinds & 3
    peer.held_kinds >>= 2
    peer.held -= 1
    if peer.held >= 32:
        peer.held_kinds |= <uint64_t>peer.held_kind << 62
    return CMD_GRAB_JOB_UNIQ if form == 1 else CMD_GRAB_JOB_ALL if form == 2 else CMD_GRAB_JOB


cdef bint serve_held(Core* core, Ability* ability) noexcept nogil:
    """Answer a held GRAB with this function's next job; False if there is none."""
    cdef Peer* peer = ability.peer
    cdef Function* function = ability.function
    cdef Job* job
    cdef int kind
    if core.draining or level_of(core, function) == 0:
        return False
    job = pop(core, function)
    kind = release_grab(peer)
    ability_move(ability, ability_level(ability) if peer.held else level_of(core, function))
    assign(core, ability, job, kind)
    if core.order != ORDER_FUNCTION:
        ability_rotate(ability)
    return True


# Grabbing

cdef Ability* next_ability(Core* core, Peer* peer) noexcept nogil:
    """The ability whose function gives this worker its next job, or NULL. Levels that are too high fall."""
    cdef Ability* ability
    cdef int level
    cdef int really
    if peer.ability_count == 1:
        return only_ability(core, peer.abilities)
    for level in range(PRIORITIES, 0, -1):
        while peer.ready[level].count:
            ability = <Ability*>peer.ready[level].entries[0].item
            really = 0 if gate_closed(ability.function) else level_of_queues(core, ability.function)
            if really == level:
                return ability
            ability_move(ability, really)
    return NULL


cdef inline Ability* only_ability(Core* core, Ability* ability) noexcept nogil:
    """As next_ability, of a worker with one function, which is in no heap."""
    cdef int level = ability_level(ability)
    cdef int really
    if level == 0 or level >= HELD:
        return NULL
    really = 0 if gate_closed(ability.function) else level_of_queues(core, ability.function)
    if really != level:
        ability_move(ability, really)
    return ability if really else NULL


cdef Ability* find_work(Core* core, Peer* peer) noexcept nogil:
    """As next_ability; a worker that was left asleep for others' sake first looks at all its functions again."""
    cdef Ability* each = NULL
    cdef int level
    if core.draining:
        return NULL
    if peer.flags & PEER_ASLEEP and (core.wakeup or peer.flags & PEER_LINES):
        each = peer.abilities
    while each != NULL:
        level = level_of(core, each.function)
        if level > ability_level(each) or ability_level(each) == IN_LINE:
            ability_move(each, level)
        each = each.peer_next
    return next_ability(core, peer)


cdef Job* pop(Core* core, Function* function) noexcept nogil:
    """Take the next job, of which level_of has found that there is one."""
    cdef int priority = next_priority(core, function)
    cdef Job* job = function.queues[priority].head
    if has_weights(function):
        weights_spend(core, function, priority)
    queue_remove(&function.queues[priority], job)
    expiry_clear(core, job)
    return job


cdef int next_priority(Core* core, Function* function) noexcept nogil:
    """Of which queue the next job is, of which level_of has found that there is one: the most urgent, or by weights."""
    cdef int priority = 0
    if has_weights(function):
        for priority in range(PRIORITIES):
            clean(core, function, priority)
        return weighted_priority(core, function)
    while not has_next(core, function, priority):
        priority += 1
    return priority


cdef void grab(Core* core, Peer* peer, int kind) noexcept nogil:
    """GRAB_JOB, GRAB_JOB_UNIQ or GRAB_JOB_ALL (`kind`)."""
    cdef Ability* ability = find_work(core, peer)
    cdef bint was_woken = peer.flags & PEER_LINES and peer.flags & PEER_ASLEEP and peer.flags & PEER_NOTICED
    peer.flags &= ~<uint32_t>(PEER_ASLEEP | PEER_NOTICED)
    if ability != NULL:
        assign(core, ability, pop(core, ability.function), kind)
        if core.order != ORDER_FUNCTION:
            ability_rotate(ability)
        if was_woken and peer.ability_count > 1:
            wake_for_the_rest(core, ability)
    elif peer.flags & PEER_ALL_YOURS and peer.held < MOST_HELD:
        hold_grab(peer, kind)
    else:
        write_packet(core, peer, CMD_NO_JOB, 0)


cdef void sleep_or_wake(Core* core, Peer* peer) noexcept nogil:
    """PRE_SLEEP: held GRABs end without a job; then asleep, or a NOOP if there is work."""
    cdef Ability* ability = peer.abilities if peer.flags & PEER_ALL_YOURS else NULL
    while peer.held:
        release_grab(peer)
        write_packet(core, peer, CMD_NO_JOB, 0)
    while ability != NULL:
        if ability_level(ability) == HELD:
            ability_move(ability, 0)
        ability = ability.peer_next
    if find_work(core, peer) != NULL:
        peer.flags &= ~<uint32_t>PEER_ASLEEP
        wake(core, peer)
    else:
        peer.flags = (peer.flags | PEER_ASLEEP) & ~<uint32_t>PEER_NOTICED
        stand_in_line(peer)


cdef void assign(Core* core, Ability* ability, Job* job, int kind) noexcept nogil:
    """A queued job becomes this worker's."""
    cdef Peer* peer = ability.peer
    cdef Function* function = job.function
    cdef int64_t timeout = 0
    history_time(function.history.waiting, &function.history.waiting_ns, core.now - job.since)
    job.flags |= JOB_RUNNING
    job.since = core.now
    job.worker = job.worker & (APART | CLAIMED) | (<uint32_t>peer.id + 1)
    job.prev = NULL
    job.next = peer.jobs
    if peer.jobs != NULL:
        peer.jobs.prev = job
    peer.jobs = job
    peer.running += 1
    function.queued[job_priority(job)] -= 1
    function.running += 1
    core.running_count += 1
    if 0 < ability.timeout < LONGEST_TIMEOUT:
        timeout = <int64_t>(<double>ability.timeout * 1e6)
    if function.policy != NULL:
        gate_pass(core, function)
        if has_lines(function):
            turn_taken(ability)
        timeout = policy_timeout(function.policy, timeout)
    if timeout:
        timer_set(&core.timeouts, job, core.now + timeout)
    write_assign(core, peer, job, kind)


cdef void write_assign(Core* core, Peer* peer, Job* job, int kind) noexcept nogil:
    """JOB_ASSIGN: handle, function, workload; _UNIQ: the unique before the workload; _ALL: and the reducer."""
    cdef char handle[HANDLE_ROOM]
    cdef size_t size = write_handle(core, handle, job.number)
    cdef Function* function = job.function
    cdef size_t head = size + 1 + function.size + 1
    cdef int command = CMD_JOB_ASSIGN
    cdef char* at
    if kind == CMD_GRAB_JOB_ALL and job.flags & JOB_HAS_REDUCER:
        command = CMD_JOB_ASSIGN_ALL
        head += job_reducer(job).size + 1 + job.unique_size + 1
    elif kind != CMD_GRAB_JOB:
        command = CMD_JOB_ASSIGN_UNIQ
        head += job.unique_size + 1
    if job_is_large(job):
        at = write_workload(core, peer, command, head, job)
    else:
        at = write_packet(core, peer, command, head + job.size)
    if at == NULL:
        return
    at = put_field(at, handle, size)
    at = put_field(at, function.name, function.size)
    if command != CMD_JOB_ASSIGN:
        at = put_field(at, job_unique(job), job.unique_size)
    if command == CMD_JOB_ASSIGN_ALL:
        at = put_field(at, job_reducer(job).data, job_reducer(job).size)
    if not job_is_large(job):
        memcpy(at, job_workload(job), job.size)


cdef inline char* put_field(char* at, const char* data, size_t size) noexcept nogil:
    memcpy(at, data, size)
    at[size] = 0
    return at + size + 1
