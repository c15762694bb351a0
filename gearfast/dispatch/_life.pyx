# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The life of a job: submitted, queued, given out, finished, lost and queued again.

Two promises hold between any two calls:
- no ability's level is below what its function has to give (`_ability.pxd`);
- a worker that sleeps and had no NOOP, or has GRABs held, has no runnable job (with `wakeup` N, other workers were
  woken for it instead).
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy

from gearfast._codec cimport (
    CMD_GRAB_JOB,
    CMD_GRAB_JOB_ALL,
    CMD_GRAB_JOB_UNIQ,
    CMD_JOB_ASSIGN,
    CMD_JOB_ASSIGN_ALL,
    CMD_JOB_ASSIGN_UNIQ,
    CMD_JOB_CREATED,
    CMD_NO_JOB,
    CMD_NOOP,
    CMD_WORK_FAIL,
    Field,
)
from gearfast.dispatch._ability cimport (
    ability_add,
    ability_find,
    ability_level,
    ability_move,
    ability_remove,
    ability_rotate,
)
from gearfast.dispatch._function cimport function_drop, function_get, queue_insert, queue_push, queue_remove
from gearfast.dispatch._index cimport hash_bytes, index_head, index_insert, index_remove
from gearfast.dispatch._job cimport (
    HANDLE_ROOM,
    job_by_data,
    job_free,
    job_in_uniques,
    job_is_large,
    job_new,
    job_node,
    job_priority,
    job_reducer,
    job_unique,
    job_workload,
    node_job,
    write_handle,
)
from gearfast.dispatch._notices cimport LEVEL_NOTICE, LEVEL_WARNING, note, note_job
from gearfast.dispatch._peer cimport waiter_add, waiter_remove, write_packet, write_workload
from gearfast.dispatch._records cimport (
    HELD,
    JOB_BACKGROUND,
    JOB_CANCELLED,
    JOB_DELAYED,
    JOB_HAS_REDUCER,
    JOB_IGNORED,
    JOB_RUNNING,
    JOB_STATE,
    ORDER_FUNCTION,
    ORDER_PRIORITY,
    PEER_ALL_YOURS,
    PEER_ASLEEP,
    PEER_CLIENT,
    PEER_NOTICED,
    PEER_WORKER,
    PRIORITIES,
    Ability,
    Core,
    Function,
    Job,
    Node,
    Peer,
    Tally,
    Waiter,
)
from gearfast.dispatch._tally cimport tally_of, tally_time
from gearfast.dispatch._timers cimport timer_clear, timer_due, timer_set

cdef enum:
    TIMERS_A_TICK = 10000       # so that a million jobs that are due at once do not stop everything else
    UNIQUE_LIMIT = 64
    FEW_FUNCTIONS = 32
    MOST_HELD = 65536           # held GRABs of one worker, which PRE_SLEEP answers all at once


cdef float LONGEST_TIMEOUT = 4e12   # ms, 126 years: beyond it there is none


# Submission

cdef int submit(Core* core, Peer* peer, Submission* wanted) noexcept nogil:
    """Queue a job or join the one with the same unique, and answer JOB_CREATED; any other Outcome wants an ERROR."""
    cdef Function* function
    cdef Tally* tally
    cdef Job* job
    cdef uint64_t hash = 0
    if wanted.unique.size > UNIQUE_LIMIT:
        return UNIQUE_TOO_LARGE
    function = function_get(core, wanted.function.data, wanted.function.size)
    tally = tally_of(function) if function != NULL else NULL
    if tally == NULL:
        return NO_MEMORY
    peer.flags |= PEER_CLIENT
    job = find_same(core, function, wanted, &hash)
    if job != NULL:
        return join(core, peer, job, wanted.background)
    if function.limit[wanted.priority] and function.total >= function.limit[wanted.priority] \
            or core.max_queued and no_room(core, wanted):
        tally.refused += 1
        return QUEUE_FULL
    job = job_new(core, wanted.unique, wanted.reducer, wanted.workload)
    if job == NULL:
        return NO_MEMORY
    job.flags |= wanted.priority << 4
    if wanted.background:
        job.flags |= JOB_BACKGROUND
    elif waiter_add(core, peer, job) < 0:
        job_free(core, job)
        return NO_MEMORY
    if wanted.due and timer_set(&core.schedule, job, wanted.due) < 0:
        job_free(core, job)
        return NO_MEMORY
    job.function = function
    function.total += 1
    function.queued[job_priority(job)] += 1
    if hash:
        index_insert(&core.uniques, job_node(job), hash)
    tally.submitted += 1
    core.stats.submitted += 1
    if wanted.due:
        job.flags |= JOB_DELAYED
        queue_push(&function.delayed, job)
        core.delayed_count += 1
    else:
        enqueue(core, job)
    answer_created(core, peer, job.number)
    return SUBMITTED


cdef bint no_room(Core* core, Submission* wanted) noexcept nogil:
    """Whether this job would take all jobs above the ceiling. A log is told once, until a tenth is free again."""
    cdef char line[190]
    if core.queued_bytes + sizeof(Job) + wanted.unique.size + wanted.workload.size <= core.max_queued:
        if core.over_ceiling and core.queued_bytes < core.max_queued - core.max_queued // 10:
            core.over_ceiling = False
        return False
    if not core.over_ceiling:
        core.over_ceiling = True
        note(core, LEVEL_WARNING, line, <size_t>snprintf(
            line, sizeof(line), "queued jobs take %zu bytes of at most %zu: further ones are refused",
            core.queued_bytes, core.max_queued))
    return True


cdef int join(Core* core, Peer* peer, Job* job, bint background) noexcept nogil:
    """Attach a request to a job that is there already."""
    if background:
        job.flags |= JOB_BACKGROUND
    elif waiter_add(core, peer, job) < 0:
        return NO_MEMORY
    job.function.tally.coalesced += 1
    core.stats.coalesced += 1
    answer_created(core, peer, job.number)
    return SUBMITTED


cdef void answer_created(Core* core, Peer* peer, uint64_t number) noexcept nogil:
    cdef char handle[HANDLE_ROOM]
    cdef size_t size = write_handle(core, handle, number)
    cdef char* body = write_packet(core, peer, CMD_JOB_CREATED, size)
    if body != NULL:
        memcpy(body, handle, size)


cdef inline uint64_t unique_hash(Core* core, Function* function, const char* key, size_t size) noexcept nogil:
    """Never 0. The function takes part: many functions may well use the same uniques."""
    return hash_bytes(core.seed0 ^ function.node.hash, core.seed1, key, size) | 1


cdef inline bint is_dash(const char* unique, size_t size) noexcept nogil:
    return size == 1 and unique[0] == c'-'


cdef Job* find_same(Core* core, Function* function, Submission* wanted, uint64_t* hash) noexcept nogil:
    """The job that this submission coalesces with, or NULL; and its hash among the uniques, 0 if it takes no part."""
    cdef Node* node
    cdef Job* job
    cdef bint by_data = is_dash(wanted.unique.data, wanted.unique.size)
    cdef Field* key = &wanted.workload if by_data else &wanted.unique
    if wanted.unique.size == 0 or key.size == 0:
        return NULL
    hash[0] = unique_hash(core, function, key.data, key.size)
    node = index_head(&core.uniques, hash[0])[0]
    while node != NULL:
        job = node_job(node)
        if node.hash == hash[0] and job.function == function and job_by_data(job) == by_data:
            if by_data:
                if job.size == key.size and memcmp(job_workload(job), key.data, key.size) == 0:
                    return job
            elif job.unique_size == key.size and memcmp(job_unique(job), key.data, key.size) == 0:
                return job
        node = node.next
    return NULL


cdef Job* job_by_unique(Core* core, const char* unique, size_t size) noexcept nogil:
    """The newest job with this unique, of any function; NULL if there is none."""
    cdef Function* function = core.first_function
    cdef Job* job
    cdef Job* newest = NULL
    if size == 0 or is_dash(unique, size):
        return NULL
    while function != NULL:
        core.effort += 1
        job = job_of_function(core, function, unique, size) if function.total else NULL
        if job != NULL and (newest == NULL or job.number > newest.number):
            newest = job
        function = function.next
    return newest


cdef Job* job_of_function(Core* core, Function* function, const char* unique, size_t size) noexcept nogil:
    cdef uint64_t hash = unique_hash(core, function, unique, size)
    cdef Node* node = index_head(&core.uniques, hash)[0]
    cdef Job* job
    while node != NULL:
        job = node_job(node)
        if node.hash == hash and job.function == function and not job_by_data(job) \
                and job.unique_size == size and memcmp(job_unique(job), unique, size) == 0:
            return job
        node = node.next
    return NULL


# Queueing and waking

cdef inline int level_of_priority(Core* core, int priority) noexcept nogil:
    return PRIORITIES - priority if core.order == ORDER_PRIORITY else 1


cdef int level_of(Core* core, Function* function) noexcept nogil:
    """What a function has to give; jobs at the head of its queues that nobody wants are dropped on the way."""
    cdef int priority
    for priority in range(PRIORITIES):
        while function.queues[priority].head != NULL and function.queues[priority].head.flags & JOB_IGNORED:
            drop(core, function.queues[priority].head)
        if function.queues[priority].head != NULL:
            return level_of_priority(core, priority)
    return 0


cdef void enqueue(Core* core, Job* job) noexcept nogil:
    """To the end of its queue; workers that wait for it are served or woken."""
    job.since = core.now
    queue_push(&job.function.queues[job_priority(job)], job)
    rise(core, job.function, level_of_priority(core, job_priority(job)))


cdef void rise(Core* core, Function* function, int level) noexcept nogil:
    """Bring every ability of a function up to `level`, and wake whoever sleeps on one."""
    cdef Ability* ability
    cdef Ability* after
    cdef int below
    cdef uint32_t woken = 0
    if core.draining:
        return
    if core.wakeup:
        level = max(level, level_of(core, function))    # those that slept on were not brought up before
    for below in range(1, level):
        while function.able[below] != NULL:
            ability_move(function.able[below], level)
    while function.able[HELD] != NULL:
        ability = function.able[HELD]
        if not ability.peer.held:
            ability_move(ability, level)
        elif not serve_held(core, ability) or level_of(core, function) == 0:
            return
    ability = function.able[0]
    while ability != NULL:
        after = ability.able_next
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


cdef void wake(Core* core, Peer* peer) noexcept nogil:
    peer.flags |= PEER_NOTICED
    write_packet(core, peer, CMD_NOOP, 0)


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
    for level in range(PRIORITIES, 0, -1):
        while peer.ready[level].count:
            ability = <Ability*>peer.ready[level].entries[0].item
            really = level_of(core, ability.function)
            if really == level:
                return ability
            ability_move(ability, really)
    return NULL


cdef Ability* find_work(Core* core, Peer* peer) noexcept nogil:
    """As next_ability; a worker that was left asleep for others' sake first looks at all its functions again."""
    cdef Ability* each = peer.abilities if core.wakeup and peer.flags & PEER_ASLEEP else NULL
    cdef int level
    if core.draining:
        return NULL
    while each != NULL:
        level = level_of(core, each.function)
        if level > ability_level(each):
            ability_move(each, level)
        each = each.peer_next
    return next_ability(core, peer)


cdef Job* pop(Core* core, Function* function) noexcept nogil:
    """Take the first job of the most urgent queue that has one; level_of has cleaned the heads."""
    cdef int priority
    cdef Job* job
    for priority in range(PRIORITIES):
        job = function.queues[priority].head
        if job != NULL:
            queue_remove(&function.queues[priority], job)
            return job
    return NULL


cdef void grab(Core* core, Peer* peer, int kind) noexcept nogil:
    """GRAB_JOB, GRAB_JOB_UNIQ or GRAB_JOB_ALL (`kind`)."""
    cdef Ability* ability = find_work(core, peer)
    peer.flags &= ~<uint32_t>(PEER_ASLEEP | PEER_NOTICED)
    if ability != NULL:
        assign(core, ability, pop(core, ability.function), kind)
        if core.order != ORDER_FUNCTION:
            ability_rotate(ability)
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


cdef void assign(Core* core, Ability* ability, Job* job, int kind) noexcept nogil:
    """A queued job becomes this worker's."""
    cdef Peer* peer = ability.peer
    cdef Function* function = job.function
    tally_time(function.tally.waiting, &function.tally.waiting_ns, core.now - job.since)
    job.flags |= JOB_RUNNING
    job.since = core.now
    job.worker = peer
    job.prev = NULL
    job.next = peer.jobs
    if peer.jobs != NULL:
        peer.jobs.prev = job
    peer.jobs = job
    function.queued[job_priority(job)] -= 1
    function.running += 1
    core.running_count += 1
    if 0 < ability.timeout < LONGEST_TIMEOUT:
        timer_set(&core.timeouts, job, core.now + <int64_t>(<double>ability.timeout * 1e6))
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


# Registration

cdef void register(Core* core, Peer* peer, const char* name, size_t size, float timeout) noexcept nogil:
    """CAN_DO and CAN_DO_TIMEOUT (`timeout` in ms, 0 none). Registering again only renews the time-out."""
    cdef Function* function = function_get(core, name, size)
    cdef Ability* ability
    cdef int level
    if function == NULL:
        return
    peer.flags |= PEER_WORKER
    ability = ability_find(core, peer, function)
    if ability != NULL:
        ability.timeout = timeout
        return
    level = level_of(core, function)
    if peer.held:
        ability = ability_add(core, peer, function, timeout, HELD if peer.ability_count < FEW_FUNCTIONS else 0)
    else:
        ability = ability_add(core, peer, function, timeout, level)
    if ability == NULL or level == 0:
        return
    while peer.held and serve_held(core, ability):
        pass
    if peer.flags & (PEER_ASLEEP | PEER_NOTICED) == PEER_ASLEEP and not core.draining:
        wake(core, peer)


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
        if job.function == function:
            requeue(core, job)
        job = after


cdef void unregister_all(Core* core, Peer* peer) noexcept nogil:
    """RESET_ABILITIES: all running jobs of the worker are queued again, last grabbed first."""
    while peer.abilities != NULL:
        withdraw(core, peer.abilities)
    while peer.jobs != NULL:
        requeue(core, peer.jobs)


# Leaving and ending

cdef void leave_worker(Core* core, Job* job) noexcept nogil:
    """A running job leaves its worker."""
    if job.prev != NULL:
        job.prev.next = job.next
    else:
        job.worker.jobs = job.next
    if job.next != NULL:
        job.next.prev = job.prev
    job.worker = NULL
    job.flags &= ~<int>JOB_RUNNING
    job.function.running -= 1
    core.running_count -= 1
    if job.timer:
        timer_clear(&core.timeouts, job)


cdef void requeue(Core* core, Job* job) noexcept nogil:
    """A running job was lost with its worker: to the end of its queue, or failed if that happened too often."""
    cdef int limit = core.retries_limit
    if job.flags & JOB_IGNORED:
        drop(core, job)
        return
    leave_worker(core, job)
    job.since = core.now
    job.function.queued[job_priority(job)] += 1
    queue_push(&job.function.queues[job_priority(job)], job)
    if job.retries < 65535:
        job.retries += 1
    if limit >= 0 and job.retries >= (limit if limit else 1):
        note_job(core, LEVEL_NOTICE, "Dropped job due to max retry count: ", job)
        drop_failed(core, job)
        return
    job.numerator = 0
    job.denominator = 0
    core.stats.requeued += 1
    job.function.tally.requeued += 1
    rise(core, job.function, level_of_priority(core, job_priority(job)))


cdef void drop(Core* core, Job* job) noexcept nogil:
    """Forget a job, wherever it is. Its waiters must have been answered."""
    cdef Function* function = job.function
    if job.flags & JOB_RUNNING:
        leave_worker(core, job)
    else:
        if not job.flags & JOB_DELAYED:
            queue_remove(&function.queues[job_priority(job)], job)
            if job.flags & JOB_IGNORED:
                core.ignored_count -= 1
        else:
            queue_remove(&function.delayed, job)
            timer_clear(&core.schedule, job)
            core.delayed_count -= 1
        function.queued[job_priority(job)] -= 1
    function.total -= 1
    if job_in_uniques(job):
        index_remove(&core.uniques, job_node(job))
    while job.waiters != NULL:
        waiter_remove(core, job.waiters)
    job_free(core, job)


cdef void finish(Core* core, Job* job) noexcept nogil:
    """A running job has ended and its waiters were told."""
    tally_time(job.function.tally.running, &job.function.tally.running_ns, core.now - job.since)
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
    fail_waiters(core, job)
    while job.waiters != NULL:
        waiter_remove(core, job.waiters)
    job.flags = (job.flags & ~<int>JOB_BACKGROUND) | JOB_CANCELLED
    ignore(core, job)
    if job.flags & JOB_DELAYED:
        drop(core, job)


cdef void ignore(Core* core, Job* job) noexcept nogil:
    """Nobody wants this job any more: it coalesces with nothing, and is dropped when it is met."""
    if job.flags & JOB_IGNORED:
        return
    if job_in_uniques(job):
        index_remove(&core.uniques, job_node(job))
    job.flags |= JOB_IGNORED
    if not job.flags & JOB_STATE:
        core.ignored_count += 1


cdef void drop_function(Core* core, Function* function) noexcept nogil:
    """`drop function`: one without workers and running jobs; who waits for its queued jobs gets WORK_FAIL."""
    cdef int priority
    for priority in range(PRIORITIES):
        while function.queues[priority].head != NULL:
            drop_failed(core, function.queues[priority].head)
    while function.delayed.head != NULL:
        drop_failed(core, function.delayed.head)
    function_drop(core, function)


cdef void drop_failed(Core* core, Job* job) noexcept nogil:
    core.stats.dropped += 1
    job.function.tally.dropped += 1
    fail_waiters(core, job)
    drop(core, job)


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
