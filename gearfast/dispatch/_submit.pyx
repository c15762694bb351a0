# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""How a job comes to be: submitted, joined with one that has the same unique, or refused."""

from libc.stdint cimport uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcmp, memcpy

from gearfast._codec cimport CMD_JOB_CREATED, Field
from gearfast.dispatch._function cimport function_drop, function_get, queue_push
from gearfast.dispatch._grab cimport enqueue
from gearfast.dispatch._index cimport hash_bytes, index_head, index_insert
from gearfast.dispatch._job cimport (
    HANDLE_ROOM,
    job_by_data,
    job_cost,
    job_free,
    job_new,
    job_node,
    job_priority,
    job_unique,
    job_workload,
    node_job,
    write_handle,
)
from gearfast.dispatch._notices cimport LEVEL_WARNING, note
from gearfast.dispatch._peer cimport too_many_waiters, waiter_add, write_packet
from gearfast.dispatch._records cimport JOB_BACKGROUND, JOB_DELAYED, PEER_CLIENT, Core, Function, Job, Node, Peer, Tally
from gearfast.dispatch._tally cimport tally_of
from gearfast.dispatch._timers cimport timer_set

cdef enum:
    UNIQUE_LIMIT = 64


cdef int submit(Core* core, Peer* peer, Submission* wanted) noexcept nogil:
    """Queue a job or join the one with the same unique, and answer JOB_CREATED; any other Outcome wants an ERROR."""
    cdef Function* function
    cdef Tally* tally
    cdef Job* job
    cdef uint64_t hash = 0
    cdef size_t functions = core.function_count
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
            or core.max_queued and no_room(core, wanted) or not wanted.background and too_many_waiters(core):
        tally.refused += 1
        if core.function_count > functions:     # names of functions that never had a job would have no ceiling
            function_drop(core, function)
        return QUEUE_FULL
    job = job_new(core, wanted.unique, wanted.reducer, wanted.workload)
    if job == NULL:
        return NO_MEMORY
    job.flags |= wanted.priority << 4
    if wanted.background:
        job.flags |= JOB_BACKGROUND
    if not wanted.background and waiter_add(core, peer, job) < 0 \
            or wanted.due and timer_set(&core.schedule, job, wanted.due) < 0:
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
    cdef size_t reducer = 1 + wanted.reducer.size if wanted.reducer.data != NULL else 0
    if core.queued_bytes + job_cost(wanted.unique.size, reducer, wanted.workload.size) <= core.max_queued:
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
    elif too_many_waiters(core):
        job.function.tally.refused += 1
        return QUEUE_FULL
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
