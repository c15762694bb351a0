# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How a job comes to be: submitted, joined with one that has the same unique, or refused."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy

from gearfast._codec cimport CMD_JOB_CREATED, Field
from gearfast.dispatch._absent cimport SMALL
from gearfast.dispatch._ask cimport is_reserved
from gearfast.dispatch._end cimport fail
from gearfast.dispatch._function cimport function_drop, function_get, queue_push
from gearfast.dispatch._grab cimport enqueue
from gearfast.dispatch._history cimport history_of
from gearfast.dispatch._index cimport index_first, index_insert, index_next
from gearfast.dispatch._job cimport (
    BESIDE,
    HANDLE_ROOM,
    WITHIN,
    is_dash,
    job_by_data,
    job_cost,
    job_data_hash,
    job_free,
    job_is_durable,
    job_new,
    job_node,
    job_priority,
    job_workload,
    node_job,
    node_unique,
    unique_hash,
    unique_room,
    write_handle,
)
from gearfast.dispatch._journal cimport (
    batch_has,
    has_lapsed,
    journal_add,
    journal_bytes,
    journal_promise,
    journal_refuses,
    journal_reserve,
)
from gearfast.dispatch._notices cimport LEVEL_NOTICE, LEVEL_WARNING, note, note_job
from gearfast.dispatch._peer cimport too_many_waiters, waiter_add, write_packet
from gearfast.dispatch._records cimport (
    CLAIMED,
    JOB_BACKGROUND,
    JOB_DELAYED,
    JOB_IGNORED,
    PEER_CLIENT,
    REASON_FULL,
    Core,
    Function,
    History,
    Job,
    Node,
    Peer,
)
from gearfast.dispatch._timers cimport NEVER, timer_clear, timer_set, timer_when

cdef enum:
    UNIQUE_LIMIT = 64


cdef int submit(Core* core, Peer* peer, Submission* wanted) noexcept nogil:
    """Queue a job or join the one with the same unique, and answer JOB_CREATED; any other Outcome wants an ERROR.

    `peer` NULL: the server itself wants a background job, and is not answered. `wanted.number` is the job's.
    """
    cdef Function* function
    cdef History* history
    cdef Job* job
    cdef uint64_t hash = 0
    cdef bint has_key
    cdef int64_t due
    cdef int why
    cdef size_t functions = core.function_count
    if wanted.unique.size > UNIQUE_LIMIT:
        return UNIQUE_TOO_LARGE
    if is_reserved(wanted.function):
        return RESERVED
    function = function_get(core, wanted.function.data, wanted.function.size)
    history = history_of(function) if function != NULL else NULL
    if history == NULL:
        return NO_MEMORY
    if peer != NULL:
        peer.flags |= PEER_CLIENT
    has_key = wanted.unique.size != 0 and key_of(wanted).size != 0
    job = find_same(core, function, wanted, &hash) if has_key else NULL
    if job != NULL:
        return join(core, peer, job, wanted)
    why = why_not(core, function, wanted)
    if why != SUBMITTED:
        return turn_away(core, function, functions, why)
    job = job_new(core, wanted.unique, wanted.reducer, wanted.workload, form_of(core, wanted))
    if job == NULL:
        return NO_MEMORY
    due = flag(core, job, wanted)
    if not wanted.background and waiter_add(core, peer, job) < 0 \
            or due and timer_set(&core.schedule, job, due) < 0:
        job_free(core, job)
        return NO_MEMORY
    job.function = function
    if wanted.background and core.journal != NULL and (
            peer != NULL and journal_reserve(core, peer, job) < 0 or journal_add(core, job, wanted.due) < 0):
        if due:
            timer_clear(&core.schedule, job)
        job_free(core, job)
        return NO_MEMORY
    function.total += 1
    function.queued[job_priority(job)] += 1
    if has_key:
        if job_by_data(job):
            memcpy(job_data_hash(job), &hash, sizeof(hash))
        index_insert(&core.uniques, job_node(job), hash)
    history.submitted += 1
    core.stats.submitted += 1
    if due:
        delay(core, job)
    else:
        enqueue(core, job)
    confirm(core, peer, wanted, job)
    return SUBMITTED


cdef inline int64_t flag(Core* core, Job* job, Submission* wanted) noexcept nogil:
    """Its flags; returns when it is due, wall ns. One that claims its unique waits until that is in the store."""
    job.flags |= wanted.priority << 4
    if not wanted.background:
        return wanted.due
    job.flags |= JOB_BACKGROUND
    if core.journal == NULL or not core.journal.claims or wanted.unique.size == 0 \
            or is_dash(wanted.unique.data, wanted.unique.size):
        return wanted.due
    job.worker |= CLAIMED
    return NEVER


cdef inline void delay(Core* core, Job* job) noexcept nogil:
    """It waits for its time, which its timer has."""
    job.flags |= JOB_DELAYED
    queue_push(&job.function.history.delayed, job)
    core.delayed_count += 1


cdef void confirm(Core* core, Peer* peer, Submission* wanted, Job* job) noexcept nogil:
    """There is a job for a submission; if that is durable, it is so once it is stored."""
    wanted.number = job.number
    if peer != NULL:
        if wanted.background and job_is_durable(job):
            journal_promise(core, peer, job)
        answer_created(core, peer, job.number)

cdef inline int form_of(Core* core, Submission* wanted) noexcept nogil:
    """With a ceiling for memory the workload of a durable job may have to leave it; one that is its unique stays."""
    return BESIDE if core.far != NULL and wanted.background and wanted.workload.size >= SMALL \
        and not is_dash(wanted.unique.data, wanted.unique.size) else WITHIN


cdef int why_not(Core* core, Function* function, Submission* wanted) noexcept nogil:
    """Why there can be no further job of this function, or SUBMITTED. The oldest one may have to make room for it."""
    if function.limit[wanted.priority] and function.total >= function.limit[wanted.priority] \
            or core.max_queued and no_room(core, wanted) or not wanted.background and too_many_waiters(core):
        return QUEUE_FULL
    if wanted.background and journal_refuses(core):
        return NOT_STORED
    if function.policy != NULL and function.policy.queue[wanted.priority] \
            and function.queued[wanted.priority] >= function.policy.queue[wanted.priority] \
            and not make_room(core, function, wanted.priority):
        return QUEUE_FULL
    return SUBMITTED


cdef bint make_room(Core* core, Function* function, int priority) noexcept nogil:
    """By its policy the oldest job of a full queue fails; False if none does. Jobs that wait for their time stay.

    Two of a queue that is far too long, as its limit is new: so it gets shorter, and no submission takes long.
    """
    cdef Job* job
    cdef int dropped = 0
    while function.policy.drop_oldest and dropped < 2 and function.queued[priority] >= function.policy.queue[priority]:
        job = function.queues[priority].head
        if job == NULL:
            break
        if not job.flags & JOB_IGNORED:
            note_job(core, LEVEL_NOTICE, "Dropped the oldest job of a full queue: ", job)
        fail(core, job, REASON_FULL)
        dropped += 1
    return dropped != 0


cdef int turn_away(Core* core, Function* function, size_t functions, int why) noexcept nogil:
    """A submission is refused. Names of functions that never had a job would have no ceiling: a new one goes."""
    function.history.refused += 1
    if core.function_count > functions:
        function_drop(core, function)
    return why


cdef bint no_room(Core* core, Submission* wanted) noexcept nogil:
    """Whether this job would take all jobs above the ceiling. A log is told once, until a tenth is free again."""
    cdef char line[190]
    cdef size_t room = unique_room(wanted.unique.data, wanted.unique.size)
    cdef size_t reducer = 1 + wanted.reducer.size if wanted.reducer.data != NULL else 0
    if core.queued_bytes + journal_bytes(core) + job_cost(room, reducer, wanted.workload.size) <= core.max_queued:
        if core.over_ceiling and core.queued_bytes < core.max_queued - core.max_queued // 10:
            core.over_ceiling = False
        return False
    if not core.over_ceiling:
        core.over_ceiling = True
        note(core, LEVEL_WARNING, line, <size_t>snprintf(
            line, sizeof(line), "queued jobs take %zu bytes of at most %zu: further ones are refused",
            core.queued_bytes, core.max_queued))
    return True


cdef int join(Core* core, Peer* peer, Job* job, Submission* wanted) noexcept nogil:
    """Attach a request to a job that is there already."""
    cdef int outcome
    if wanted.background:
        outcome = join_background(core, peer, job)
        if outcome != SUBMITTED:
            return outcome
    elif too_many_waiters(core):
        job.function.history.refused += 1
        return QUEUE_FULL
    elif waiter_add(core, peer, job) < 0:
        return NO_MEMORY
    job.function.history.coalesced += 1
    core.stats.coalesced += 1
    confirm(core, peer, wanted, job)
    return SUBMITTED


cdef int join_background(Core* core, Peer* peer, Job* job) noexcept nogil:
    """Somebody who does not wait wants a job that is there already: it becomes durable if it is not yet.

    One that is another server's by now, as the lease is over, may have been done there before this was asked for.
    """
    if core.journal != NULL:
        if has_lapsed(core) or not job_is_durable(job) and journal_refuses(core):
            return NOT_STORED
        if peer != NULL and journal_reserve(core, peer, job) < 0:
            return NO_MEMORY
        if not job_is_durable(job) and journal_add(core, job, due_of(core, job)) < 0:
            return NO_MEMORY
    job.flags |= JOB_BACKGROUND
    return SUBMITTED


cdef inline int64_t due_of(Core* core, Job* job) noexcept nogil:
    """When a job that waits for its time is due, wall ns; 0 of one that does not."""
    return timer_when(&core.schedule, job) if job.flags & JOB_DELAYED else 0


cdef void answer_created(Core* core, Peer* peer, uint64_t number) noexcept nogil:
    cdef char handle[HANDLE_ROOM]
    cdef size_t size = write_handle(core, handle, number)
    cdef char* body = write_packet(core, peer, CMD_JOB_CREATED, size)
    if body != NULL:
        memcpy(body, handle, size)


cdef inline Field* key_of(Submission* wanted) noexcept nogil:
    """What it coalesces by; of no bytes if it does not."""
    return &wanted.workload if is_dash(wanted.unique.data, wanted.unique.size) else &wanted.unique


cdef Job* find_same(Core* core, Function* function, Submission* wanted, uint64_t* hash) noexcept nogil:
    """The job that this submission coalesces with, or NULL; and its hash among the uniques."""
    cdef Field* key = key_of(wanted)
    hash[0] = unique_hash(core, function, key.data, key.size)
    if key == &wanted.unique:
        return find_unique(core, function, key[0], hash[0], wanted.background)
    return find_data(core, function, key, hash[0])


cdef inline bint is_being_decided(Core* core, Job* job) noexcept nogil:
    """Whether the store is asked just now who has this job's unique.

    It may have answered already, and a job that has it instead may have ended since: so nobody joins this one any more,
    but becomes a job whose claim is decided after it, against this one too.
    """
    return job.worker & CLAIMED and core.journal != NULL and core.journal.committing != NULL \
        and batch_has(core.journal.committing, job.number)


cdef Job* job_for(Core* core, Function* function, Field unique, Field key) noexcept nogil:
    """The job of this function that a submission with this unique joins, or NULL. `key`: see key_of."""
    cdef uint64_t hash = unique_hash(core, function, key.data, key.size)
    if is_dash(unique.data, unique.size):
        return find_data(core, function, &key, hash)
    return find_unique(core, function, key, hash, False)


cdef inline uint64_t last_bytes(const char* data, size_t size) noexcept nogil:
    """The last eight, 0 if there are not as many."""
    cdef uint64_t last = 0
    if size >= 8:
        memcpy(&last, data + size - 8, 8)
    return last


cdef inline Job* find_unique(Core* core, Function* function, Field unique, uint64_t hash, bint decided) noexcept nogil:
    """The job of this function and unique, which is not `-`; or NULL. `decided`: none whose claim is being decided.

    Uniques that count, or are random, differ in their last bytes. The function comes last: it lies in another line of
    the cache.
    """
    cdef uint64_t last = last_bytes(unique.data, unique.size)
    cdef Node* node = index_first(&core.uniques, hash)
    cdef Job* job
    while node != NULL:
        job = node_job(node)
        if job.unique_size == unique.size and last_bytes(node_unique(node), unique.size) == last \
                and memcmp(node_unique(node), unique.data, unique.size) == 0 and job.function == function \
                and not (decided and is_being_decided(core, job)):
            return job
        node = index_next(node)
    return NULL


cdef Job* find_data(Core* core, Function* function, Field* data, uint64_t hash) noexcept nogil:
    """The job of this function that is known by this workload, or NULL."""
    cdef Node* node = index_first(&core.uniques, hash)
    cdef Job* job
    while node != NULL:
        job = node_job(node)
        if job_by_data(job) and memcmp(job_data_hash(job), &hash, sizeof(hash)) == 0 and job.function == function \
                and job.size == data.size and memcmp(job_workload(job), data.data, data.size) == 0:
            return job
        node = index_next(node)
    return NULL


cdef Job* job_by_unique(Core* core, const char* unique, size_t size) noexcept nogil:
    """The newest job with this unique, of any function; NULL if there is none."""
    cdef Function* function = core.first_function
    cdef Field key
    cdef Job* job
    cdef Job* newest = NULL
    key.data = unique
    key.size = size
    if size == 0 or is_dash(unique, size):
        return NULL
    while function != NULL:
        core.effort += 1
        job = NULL
        if function.total:
            job = find_unique(core, function, key, unique_hash(core, function, unique, size), False)
        if job != NULL and (newest == NULL or job.number > newest.number):
            newest = job
        function = function.next
    return newest
