# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Every promise of `_records.pxd` and `_grab.pyx`, checked on the live records. For tests and fuzzers.

A check walks everything once: what is reached over one list has to be known to the tables too, links have to agree in
both directions, and the numbers have to add up, so that nothing can be in two places or in none. The first thing that
is wrong raises AssertionError and is named in it.
"""

from libc.stdint cimport uint32_t, uint64_t

from gearfast.dispatch._ability cimport ability_find, ability_level
from gearfast.dispatch._absent cimport is_blocked
from gearfast.dispatch._check_absent cimport check_absent
from gearfast.dispatch._check_blobs cimport check_blobs
from gearfast.dispatch._check_journal cimport check_journal
from gearfast.dispatch._check_letters cimport check_letters
from gearfast.dispatch._check_results cimport check_results
from gearfast.dispatch._check_policies cimport check_expiry, check_policies, is_closed
from gearfast.dispatch._check_tables cimport (
    check_buffer,
    check_index,
    check_pages,
    check_ready,
    check_rest,
    check_slabs,
    check_slots,
    check_timers,
    equal,
    fail,
    is_known,
    name_function,
    timer_is_in,
    wrong_ability,
    wrong_function,
    wrong_job,
    wrong_peer,
)
from gearfast.dispatch._core cimport watch_with
from gearfast.dispatch._dispatcher cimport Dispatcher
from gearfast.dispatch._function cimport function_find
from gearfast.dispatch._index cimport index_first, index_next
from gearfast.dispatch._job cimport (
    Walk,
    hash_of_job,
    job_by_data,
    job_bytes,
    job_in_uniques,
    job_is_of,
    job_losses,
    job_node,
    job_priority,
    job_slot,
    job_unique,
    job_waiting,
    job_workload,
    node_job,
    unique_hash,
    walk_begin,
    walk_next,
)
from gearfast.dispatch._journal cimport may_be_given
from gearfast.dispatch._records cimport (
    CLAIMED,
    HELD,
    IN_LINE,
    JOB_BACKGROUND,
    JOB_CANCELLED,
    JOB_DELAYED,
    JOB_IGNORED,
    JOB_RUNNING,
    JOB_STATE,
    LEVELS,
    ORDER_PRIORITY,
    PEER_ALL_YOURS,
    PEER_ASLEEP,
    PEER_CLOSING,
    PEER_DIRTY,
    PEER_FULL,
    PEER_GONE,
    PEER_LINES,
    PEER_NOTICED,
    PEER_PENDING,
    PRIORITIES,
    Ability,
    Core,
    Function,
    Job,
    Node,
    Peer,
    Queue,
    Waiter,
)
from gearfast.dispatch._turns cimport has_lines

__all__ = ["check"]

cdef struct Sums:               # of one walk, to be compared with those of another
    size_t functions
    size_t jobs                 # in queues and workers' lists
    size_t delayed
    size_t running
    size_t waiters
    size_t abilities
    size_t dirty


def check(Dispatcher dispatcher not None):
    """Raise AssertionError, naming what is wrong, unless every record of the dispatcher is as it has to be.

    Between two calls of a dispatcher nothing may ever be wrong. Costs time in proportion to all that it holds.
    """
    check_core(&dispatcher.core)


cdef extern from "<assert.h>":
    void c_assert "assert"(bint all_records_agree) nogil


cdef bint agree(Core* core) noexcept with gil:
    """False after what is wrong was told as an exception that nobody catches."""
    check_core(core)
    return True


cdef void assert_core(Core* core) noexcept nogil:
    """What a debug build calls after each call of a dispatcher: the process ends where something is wrong."""
    cdef bint all_records_agree = agree(core)
    c_assert(all_records_agree)


watch_with(assert_core)     # without effect but in a debug build


cdef int check_core(Core* core) except -1:
    cdef Sums by_function
    cdef Sums by_peer
    cdef dict running = {}
    check_index(&core.functions, "functions")
    check_index(&core.uniques, "uniques")
    check_index(&core.abilities, "abilities")
    check_index(&core.letters, "dead letters")
    check_index(&core.remarks, "remarks")
    check_index(&core.results, "results")
    check_index(&core.result_keys, "uniques of results")
    check_index(&core.handles.pages, "pages of handles")
    check_timers(&core.timeouts, JOB_RUNNING, "time-outs")
    check_timers(&core.schedule, JOB_DELAYED, "schedule")
    by_peer = check_peers(core, running)
    by_function = check_functions(core, running)
    check_pages(core)
    check_jobs(core, by_peer.waiters, check_letters(core) + check_results(core))
    check_dirty(core, by_peer.dirty)
    check_slabs(core)
    check_slots(core)
    check_rest(core)
    check_blobs(core)
    check_journal(core)
    check_policies(core)
    check_absent(core)
    equal(by_function.functions, core.function_count, "functions in their list", "function_count")
    equal(by_function.functions, core.functions.count, "functions in their list", "functions in the index")
    equal(by_function.jobs + by_peer.running, core.job_count, "jobs in queues and workers' lists", "job_count")
    equal(by_function.delayed, core.delayed_count, "delayed jobs in their lists", "delayed_count")
    equal(by_function.delayed, core.schedule.count, "delayed jobs in their lists", "timers of the schedule")
    equal(by_peer.running, core.running_count, "jobs in workers' lists", "running_count")
    equal(by_function.abilities, by_peer.abilities, "abilities of functions", "abilities of workers")
    equal(by_peer.waiters, core.waiter_count, "requests that wait for jobs", "in waiter_count")
    equal(by_peer.abilities, core.abilities.count, "abilities of workers", "abilities in the index")
    return 0


# Functions

cdef Sums check_functions(Core* core, dict running) except *:
    """`running`: jobs in workers' lists by address of their function."""
    cdef Sums sums
    cdef Function* function = core.first_function
    cdef Function* before = NULL
    sums.functions = sums.jobs = sums.delayed = sums.abilities = 0
    while function != NULL:
        if function.prev != before:
            wrong_function(function, "its link back in the list of functions is wrong")
        sums.functions += 1
        if sums.functions > core.function_count:
            wrong_function(function, "more functions than function_count, or a list that never ends")
        if function_find(core, function.name, function.size) != function:
            wrong_function(function, "its name does not find it")
        check_counts(core, function, running.pop(<size_t>function, 0), &sums)
        sums.abilities += check_able(core, function, runnable_level(core, function))
        before = function
        function = function.next
    if core.last_function != before:
        fail("last_function is not the last of the functions")
    if running:
        fail("a worker has a job of a function that is in no list")
    return sums


cdef int check_counts(Core* core, Function* function, size_t running, Sums* sums) except -1:
    cdef size_t in_queue[PRIORITIES]
    cdef size_t delayed = 0
    cdef size_t total = running
    cdef int priority
    cdef Job* job
    for priority in range(PRIORITIES):
        in_queue[priority] = check_queue(core, function, &function.queues[priority], 0)
        sums.jobs += in_queue[priority]
        job = function.queues[priority].head
        while job != NULL:
            if job_priority(job) != priority:
                wrong_job(job, f"priority {job_priority(job)} in the queue of priority {priority}")
            job = job.next
    if function.history != NULL:
        if function.history.function != function:
            wrong_function(function, "its history is another's")
        delayed = check_queue(core, function, &function.history.delayed, JOB_DELAYED)
    sums.jobs += delayed
    sums.delayed += delayed
    job = function.history.delayed.head if function.history != NULL else NULL
    while job != NULL:
        if job_priority(job) >= PRIORITIES:
            wrong_job(job, f"priority {job_priority(job)}")
        in_queue[job_priority(job)] += 1
        job = job.next
    for priority in range(PRIORITIES):
        total += in_queue[priority]
        if function.queued[priority] != in_queue[priority]:
            wrong_function(function, f"queued[{priority}] is {function.queued[priority]}, not {in_queue[priority]}")
    if function.running != running:
        wrong_function(function, f"running is {function.running}, but workers have {running} of its jobs")
    if function.total != total:
        wrong_function(function, f"total is {function.total}, not {total}")
    return 0


cdef Py_ssize_t check_queue(Core* core, Function* function, Queue* queue, int state) except -1:
    """Links, owner and state of the jobs in a queue; returns how many there are."""
    cdef size_t count = 0
    cdef Job* job = queue.head
    cdef Job* before = NULL
    while job != NULL:
        count += 1
        if count > core.job_count:
            wrong_function(function, "a queue with more jobs than there are, or one that never ends")
        if job.prev != before:
            wrong_job(job, "its link back in its queue is wrong")
        if job.function != function:
            wrong_job(job, f"it lies in a queue of {name_function(function)}, which is not its function")
        if job.flags & JOB_STATE != state:
            wrong_job(job, f"state {job.flags & JOB_STATE} in a queue for state {state}")
        if not is_known(core, job):
            wrong_job(job, "it lies in a queue, but its handle does not find it")
        before = job
        job = job.next
    if queue.tail != before:
        wrong_function(function, "the tail of a queue is not its last job")
    return count


cdef int runnable_level(Core* core, Function* function) noexcept:
    """As `level_of` in _grab.pyx, without dropping anything."""
    cdef int priority
    cdef Job* job
    if is_closed(core, function) or is_blocked(function):
        return 0
    for priority in range(PRIORITIES):
        job = function.queues[priority].head
        while job != NULL:
            if not job.flags & JOB_IGNORED and may_be_given(core, job):
                return PRIORITIES - priority if core.order == ORDER_PRIORITY else 1
            job = job.next
    return 0


cdef inline bint sleeps(Peer* peer) noexcept:
    return peer.flags & (PEER_ASLEEP | PEER_NOTICED) == PEER_ASLEEP


cdef Py_ssize_t check_able(Core* core, Function* function, int least) except -1:
    """A function's lists of registrations, with the two promises of _grab.pyx; returns how many there are."""
    cdef size_t count = 0
    cdef size_t sleeping = 0
    cdef int level
    cdef Ability* ability
    cdef Ability* before
    for level in range(LEVELS):
        before = NULL
        ability = function.able[level]
        while ability != NULL:
            count += 1
            if count > function.workers:
                wrong_function(function, "more registrations than workers, or a list of them that never ends")
            if before != NULL and ability.able_prev != before:
                wrong_ability(ability, "its link back in its function's list is wrong")
            if ability.function != function or ability_level(ability) != level:
                wrong_ability(
                    ability, f"level {ability_level(ability)} in {name_function(function)}'s list of level {level}"
                )
            # Who is to be closed gets nothing any more, and nobody gets anything from who ends.
            if not core.draining and not ability.peer.flags & PEER_CLOSING:
                check_promises(core, ability, least)
                sleeping += sleeps(ability.peer)
            before = ability
            ability = ability.able_next
        if before != NULL and function.able[level].able_prev != before:
            wrong_function(function, f"the end of its registrations of level {level} is not the last one")
    if count != function.workers:
        wrong_function(function, f"workers is {function.workers}, but {count} are registered")
    if least and count and sleeping == count:
        wrong_function(function, "it has a runnable job, and all its workers sleep without having had a NOOP")
    return count


cdef int check_promises(Core* core, Ability* ability, int least) except -1:
    cdef Peer* peer = ability.peer
    cdef int level = ability_level(ability) if ability_level(ability) < HELD else 0
    cdef bint is_left = core.wakeup or has_lines(ability.function)      # if it sleeps, others are woken instead
    if core.order != ORDER_PRIORITY and level > 1:
        wrong_ability(ability, f"level {ability_level(ability)} where the order ignores priorities")
    # A worker that was left asleep has all its levels set right before it grabs or sleeps again.
    if level < least and not (is_left and peer.flags & PEER_ASLEEP):
        wrong_ability(ability, f"level {ability_level(ability)}, but the function has a job of level {least}")
    if least and peer.held:
        wrong_ability(ability, f"{peer.held} GRABs are held, but the function has a runnable job")
    if least and sleeps(peer) and not is_left:
        wrong_ability(ability, "its worker sleeps without having had a NOOP, but the function has a runnable job")
    if has_lines(ability.function) and not peer.flags & PEER_LINES:
        wrong_ability(ability, "of a function that wakes one at a time, which its worker is not marked with")
    if (ability_level(ability) == IN_LINE) != (has_lines(ability.function) and sleeps(peer) and level == 0):
        does = "sleeps" if sleeps(peer) else "does not"
        wrong_ability(ability, f"level {ability_level(ability)} of a worker that {does}")
    return 0


# Jobs

cdef int check_jobs(Core* core, size_t waiters_of_peers, size_t bytes_of_ended) except -1:
    cdef Walk walk
    cdef Job* job
    cdef size_t waiters = 0
    cdef size_t uniques = 0
    cdef size_t timeouts = 0
    cdef size_t ignored = 0
    cdef size_t retrying = 0
    cdef size_t bytes_of_jobs = 0
    walk_begin(&walk)
    while True:
        job = walk_next(&core.handles, &walk)
        if job == NULL:
            break
        waiters += check_waiters(job, waiters_of_peers)
        check_job(core, job)
        uniques += job_in_uniques(job)
        timeouts += job.flags & JOB_RUNNING != 0 and job.timer != 0
        retrying += job.flags & JOB_DELAYED != 0 and job_losses(job) != 0
        ignored += job.flags & (JOB_STATE | JOB_IGNORED) == JOB_IGNORED
        bytes_of_jobs += job_bytes(job)
    equal(waiters, waiters_of_peers, "requests that wait for jobs", "of clients")
    equal(uniques, core.uniques.count, "jobs that are marked as in the uniques", "there")
    equal(bytes_of_jobs + bytes_of_ended, core.queued_bytes, "bytes of jobs, letters and results", "in queued_bytes")
    equal(retrying, core.retrying_count, "jobs that wait for another try", "retrying_count")
    equal(ignored, core.ignored_count, "ignored jobs in queues", "ignored_count")
    equal(timeouts, core.timeouts.count, "running jobs with a timer", "timers of time-outs")
    return 0


cdef int check_job(Core* core, Job* job) except -1:
    if job.number >= core.next_number:
        wrong_job(job, f"the next number is {core.next_number}")
    if (job_slot(job) != 0) != (job.flags & JOB_STATE == JOB_RUNNING):
        wrong_job(job, f"state {job.flags & JOB_STATE} {'with' if job_slot(job) else 'without'} a worker")
    if job.flags & JOB_DELAYED:
        if not timer_is_in(&core.schedule, job):
            wrong_job(job, "delayed, but without a timer in the schedule")
    elif not job.flags & JOB_RUNNING:
        check_expiry(core, job)
    elif job.timer and not timer_is_in(&core.timeouts, job):
        wrong_job(job, "running with a timer that is no time-out")
    if job.flags & JOB_CANCELLED and not job.flags & JOB_IGNORED:
        wrong_job(job, "cancelled, but not ignored")
    if job.flags & JOB_IGNORED and (job.waiters != NULL or job.flags & JOB_BACKGROUND):
        wrong_job(job, "ignored, but still wanted or to be found")
    if not job.flags & JOB_IGNORED and job.waiters == NULL and not job.flags & JOB_BACKGROUND:
        wrong_job(job, "nobody wants it, but it is not ignored")
    if job_in_uniques(job):
        check_unique(core, job)
    return 0


cdef int check_unique(Core* core, Job* job) except -1:
    """It is found under its key, and as the only one with that key and function whose claim is not to be decided."""
    cdef bint by_data = job_by_data(job)
    cdef Node* node
    cdef Job* other
    cdef bytes key
    cdef uint64_t hash
    cdef int same = 0
    key = key_of(job)
    hash = unique_hash(core, job.function, key, len(key))
    if hash_of_job(core, job_node(job)) != hash:
        wrong_job(job, "its hash among the uniques is not that of its key")
    node = index_first(&core.uniques, hash)
    while node != NULL:
        other = node_job(node)
        if other.function == job.function and job_by_data(other) == by_data and key_of(other) == key:
            same += 1
            if other != job and not (job.worker | other.worker) & CLAIMED:
                wrong_job(job, f"the same unique and function as job {other.number}")
        node = index_next(node)
    if same == 0 or same > 3:
        wrong_job(job, f"it is found {same} times among the uniques")
    return 0


cdef bytes key_of(Job* job):
    if job_by_data(job):
        return <bytes>job_workload(job)[:job.size]
    return <bytes>job_unique(job)[:job.unique_size]


cdef Py_ssize_t check_waiters(Job* job, size_t most) except -1:
    """The requests that wait for a job; returns how many there are."""
    cdef size_t count = 0
    cdef Waiter* waiter = job.waiters
    cdef Waiter* before = NULL
    while waiter != NULL:
        count += 1
        if count > most:
            wrong_job(job, "more waiters than all peers have, or a list that never ends")
        if waiter.job != job or waiter.job_prev != before:
            wrong_job(job, "a waiter that does not know it, or whose link back is wrong")
        if (waiter.peer_prev.peer_next if waiter.peer_prev != NULL else waiter.peer.waiters) != waiter:
            wrong_job(job, "a waiter that is not in its client's list")
        before = waiter
        waiter = waiter.job_next
    if count != job_waiting(job):
        wrong_job(job, f"{count} waiters, and the first one counts {job_waiting(job)}")
    return count


# Peers

cdef Sums check_peers(Core* core, dict running) except *:
    """Fills `running`: jobs in workers' lists by address of their function."""
    cdef Sums sums
    cdef size_t i
    cdef size_t count = 0
    cdef size_t pending = 0
    cdef Peer* peer
    sums.running = sums.waiters = sums.abilities = sums.dirty = 0
    for i in range(core.slot_count):
        peer = core.slots[i].peer
        if peer == NULL:
            continue
        count += 1
        if peer.id != <uint64_t>core.slots[i].generation << 32 | i:
            wrong_peer(peer, f"it lies in slot {i} of generation {core.slots[i].generation}")
        if peer.flags & PEER_GONE:
            wrong_peer(peer, "gone, but still in its slot")
        sums.running += check_running(core, peer, running)
        sums.waiters += check_requests(peer)
        sums.abilities += check_abilities(core, peer)
        sums.dirty += peer.flags & PEER_DIRTY != 0
        check_held(peer)
        check_buffer(peer, &peer.out, "output")
        check_buffer(peer, &peer.partial, "unfinished frame")
        pending += peer.flags & PEER_PENDING != 0
        if peer.partial.end != peer.partial.begin and peer.partial.end - peer.partial.begin >= peer.wanted \
                and not peer.flags & (PEER_PENDING | PEER_FULL):
            wrong_peer(peer, f"wants {peer.wanted} bytes, and holds {peer.partial.end - peer.partial.begin}")
    equal(count, core.peer_count, "peers in slots", "peer_count")
    check_pending(core, pending)
    return sums


cdef Py_ssize_t check_running(Core* core, Peer* peer, dict running) except -1:
    cdef size_t count = 0
    cdef Job* job = peer.jobs
    cdef Job* before = NULL
    while job != NULL:
        count += 1
        if count > core.running_count:
            wrong_peer(peer, "more running jobs than running_count, or a list that never ends")
        if not job_is_of(job, peer) or job.flags & JOB_STATE != JOB_RUNNING or job.prev != before:
            wrong_job(job, "in a worker's list that is not its own, or whose link back is wrong")
        if not is_known(core, job):
            wrong_job(job, "a worker has it, but its handle does not find it")
        running[<size_t>job.function] = running.get(<size_t>job.function, 0) + 1
        before = job
        job = job.next
    equal(count, peer.running, "jobs in a worker's list", "in its count")
    return count


cdef Py_ssize_t check_requests(Peer* peer) except -1:
    """What a client waits for. A list that never ends would show in a link back, since its head has none."""
    cdef size_t count = 0
    cdef Waiter* waiter = peer.waiters
    cdef Waiter* before = NULL
    while waiter != NULL:
        count += 1
        if waiter.peer != peer or waiter.peer_prev != before:
            wrong_peer(peer, "a request that does not know it, or whose link back is wrong")
        if (waiter.job_prev.job_next if waiter.job_prev != NULL else waiter.job.waiters) != waiter:
            wrong_peer(peer, f"a request that is not in the list of its job {waiter.job.number}")
        before = waiter
        waiter = waiter.peer_next
    return count


cdef Py_ssize_t check_abilities(Core* core, Peer* peer) except -1:
    cdef size_t count = 0
    cdef size_t by_level[LEVELS]
    cdef int level
    cdef Ability* ability = peer.abilities
    cdef Ability* before = NULL
    for level in range(LEVELS):
        by_level[level] = 0
    while ability != NULL:
        count += 1
        if count > peer.ability_count:
            wrong_peer(peer, "more registrations than ability_count, or a list that never ends")
        if ability.peer != peer or ability.peer_prev != before:
            wrong_peer(peer, "a registration that does not know it, or whose link back is wrong")
        if ability_level(ability) >= LEVELS:
            wrong_ability(ability, f"level {ability_level(ability)}")
        if ability_find(core, peer, ability.function) != ability:
            wrong_ability(ability, "a search for it does not find it")
        if not 8 * peer.first_place <= ability.place < 8 * peer.last_place + 8:
            wrong_ability(ability, f"place {ability.place} is not within {peer.first_place} to {peer.last_place}")
        if ability.spot and (ability_level(ability) == 0 or ability_level(ability) >= HELD and
                             not has_lines(ability.function)):
            wrong_ability(ability, f"level {ability_level(ability)}, but in a heap")
        by_level[ability_level(ability)] += 1
        if ability_level(ability) == HELD and peer.flags & PEER_ASLEEP:
            wrong_ability(ability, "asleep, but listed among those with held GRABs")
        before = ability
        ability = ability.peer_next
    equal(count, peer.ability_count, "registrations of a worker", "ability_count")
    if peer.ready[0].count:
        wrong_peer(peer, "a heap for level 0")
    for level in range(1, HELD):
        check_ready(peer, level, by_level[level] if count > 1 else 0)
    return count


cdef int check_held(Peer* peer) except -1:
    if peer.held == 0:
        if peer.held_kinds and not peer.flags & PEER_CLOSING:
            wrong_peer(peer, "forms of held GRABs without a held GRAB")
        return 0
    if not peer.flags & PEER_ALL_YOURS or peer.flags & PEER_CLOSING:
        wrong_peer(peer, "a held GRAB without the option all_yours, or of a peer that is to be closed")
    if peer.flags & PEER_ASLEEP:
        wrong_peer(peer, "asleep with a held GRAB")
    if peer.held < 32 and peer.held_kinds >> (2 * peer.held):
        wrong_peer(peer, f"forms of more held GRABs than {peer.held}")
    return 0


cdef int check_pending(Core* core, size_t expected) except -1:
    """`expected`: peers in slots that are marked as pending."""
    cdef Peer* peer = core.pending
    cdef Peer* before = NULL
    cdef size_t count = 0
    while peer != NULL:
        count += 1
        if peer.pending_prev != before or not peer.flags & PEER_PENDING or count > expected:
            wrong_peer(peer, "in the list of pending peers without being marked, or its link back is wrong")
        before = peer
        peer = peer.pending_next
    if core.pending_tail != before:
        fail("pending_tail is not the last of the pending peers")
    equal(count, expected, "peers in the list of pending ones", "are marked")
    return 0


cdef int check_dirty(Core* core, size_t expected) except -1:
    """`expected`: peers in slots that are marked as dirty."""
    cdef Peer* peer
    cdef size_t i
    cdef size_t count = 0
    cdef size_t gone = 0
    for i in range(core.dirty_count):
        peer = core.dirty[(core.dirty_first + i) & (core.dirty_room - 1)]
        if not peer.flags & PEER_DIRTY:
            wrong_peer(peer, "in the list of dirty peers without being marked")
        if not peer.flags & PEER_GONE:
            count += 1
            if count > expected:
                wrong_peer(peer, "more peers in the list of dirty ones than are marked")
            if core.slots[<uint32_t>peer.id].peer != peer:
                wrong_peer(peer, "dirty and not gone, but not in its slot")
        elif peer.abilities != NULL or peer.jobs != NULL or peer.waiters != NULL:
            wrong_peer(peer, "gone, but it still has something")
        else:
            gone += 1
    equal(count, expected, "peers in the list of dirty ones", "are marked")
    equal(core.peer_count + gone, core.record_count, "peers, and those among the dirty ones that are gone", "records")
    if core.record_count > core.dirty_room:
        fail(f"{core.record_count} peers, and room for {core.dirty_room} dirty ones")
    return 0
