# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What became of background jobs, kept by their function's policy for who asks for it later (`_ask.pyx`).

A result is a record of its own: its job is gone. A job that failed for good and is kept as a dead letter has none.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcmp, memcpy, memset

from gearfast._codec cimport Field
from gearfast.dispatch._blob cimport LARGE, blob_drop, blob_hold
from gearfast.dispatch._heap cimport heap_put, heap_take
from gearfast.dispatch._history cimport first_result
from gearfast.dispatch._index cimport hash_number, index_first, index_insert, index_next, index_remove
from gearfast.dispatch._job cimport is_dash, job_is_durable, job_slot, job_unique, job_worker, unique_hash
from gearfast.dispatch._journal cimport journal_end_result, journal_keep
from gearfast.dispatch._records cimport (
    FENCE_LOST,
    JOB_BACKGROUND,
    JOB_IGNORED,
    RESULT_DATA,
    RESULT_DURABLE,
    Core,
    Function,
    History,
    Job,
    Node,
    Policy,
    Result,
)
from gearfast.dispatch._slab cimport slab_give, slab_take

cdef enum:
    MOST_DATA = 0x80000000      # bytes of a result, so that a record in the store holds it

cdef const char* OUTCOME_NAMES[7]
OUTCOME_NAMES[:] = ["lost", "timeout", "failed", "expired", "full", "done", "cancelled"]


cdef const char* outcome_name(Result* result) noexcept nogil:
    return OUTCOME_NAMES[result.outcome]


cdef inline size_t result_spot() noexcept nogil:
    cdef Result some
    return <size_t>(<char*>&some.timer - <char*>&some)


cdef inline Result* result_of_key(Node* node) noexcept nogil:
    cdef Result some
    return <Result*>(<char*>node - (<char*>&some.key - <char*>&some))


cdef uint64_t hash_of_result(void* core, Node* node) noexcept nogil:
    return hash_number(0, (<Result*>node).number)


cdef uint64_t hash_of_result_key(void* core, Node* node) noexcept nogil:
    return hash_of_unique(<Core*>core, result_of_key(node))


cdef inline uint64_t hash_of_unique(Core* core, Result* result) noexcept nogil:
    return unique_hash(core, result.function, result.unique, result.unique_size)


cdef inline bint has_key(Result* result) noexcept nogil:
    return result.unique_size != 0 and not is_dash(result.unique, result.unique_size)


# One record

cdef inline size_t cell_of(size_t unique, size_t data) noexcept nogil:
    """Bytes of a record with its unique, and with data that is not large."""
    cdef Result some
    return <size_t>(<char*>&some.unique[0] - <char*>&some) + unique + data


cdef inline size_t result_cell(Result* result) noexcept nogil:
    return cell_of(result.unique_size, result.size if result.flags & RESULT_DATA and result.blob == NULL else 0)


cdef size_t result_bytes(Result* result) noexcept nogil:
    """What it takes."""
    return result_cell(result) + (result.size if result.blob != NULL else 0)


cdef Result* result_new(Core* core, Function* function, uint64_t number, Field unique, const Field* data,
                        bint of_frame) noexcept nogil:
    """A record that is in no list yet; NULL without memory.

    `data`: NULL, none is kept. `of_frame`: it may be held where it lies, as it belongs to the frame at hand.
    """
    cdef bint large = data != NULL and of_frame and data.size >= LARGE
    cdef size_t size = cell_of(unique.size, data.size if data != NULL and not large else 0)
    cdef Result* result = <Result*>slab_take(&core.slabs, size)
    if result == NULL:
        return NULL
    memset(result, 0, sizeof(Result) if size >= sizeof(Result) else size)
    result.function = function
    result.number = number
    result.unique_size = <uint8_t>unique.size
    if unique.size:
        memcpy(result.unique, unique.data, unique.size)
    if data != NULL:
        result.flags = RESULT_DATA
        result.size = <uint32_t>data.size
        result.data = result.unique + unique.size
    if large:
        result.data = data.data
        result.blob = blob_hold(core, &result.data, data.size)
        if result.blob == NULL:
            slab_give(&core.slabs, result, size)
            return NULL
    elif data != NULL and data.size:
        memcpy(result.unique + unique.size, data.data, data.size)
    core.queued_bytes += result_bytes(result)
    return result


cdef void result_add(Core* core, Result* result, int outcome, uint32_t size, int64_t when) noexcept nogil:
    """It joins its function's results by the time of its end. `size`: of what the worker sent, kept or not."""
    cdef History* history = result.function.history
    cdef Result* before = history.last_result
    cdef int left = 1000
    result.outcome = <uint8_t>outcome
    result.size = size
    result.when = when
    while before != NULL and before.when > when and left:
        before = before.prev
        left -= 1
    result.prev = before
    result.next = before.next if before != NULL else history.first_result
    if before != NULL:
        before.next = result
    else:
        history.first_result = result
    if result.next != NULL:
        result.next.prev = result
    else:
        history.last_result = result
    history.results += 1
    index_insert(&core.results, &result.node, hash_number(0, result.number))
    if has_key(result):
        index_insert(&core.result_keys, &result.key, hash_of_unique(core, result))
    result_renew(core, result)


cdef void result_renew(Core* core, Result* result) noexcept nogil:
    """Give it the timer that its function's policy wants. Without memory for that it stays."""
    cdef Policy* policy = result.function.policy
    if result.timer:
        heap_take(&core.aging, result_spot(), result)
    if policy != NULL and policy.results_for:
        heap_put(&core.aging, result_spot(), result, result.when + policy.results_for)


cdef void result_drop(Core* core, Result* result) noexcept nogil:
    """Forget it."""
    cdef History* history = result.function.history
    if result.flags & RESULT_DURABLE and core.journal != NULL:
        journal_end_result(core, result)
    index_remove(&core.results, &result.node)
    if has_key(result):
        index_remove(&core.result_keys, &result.key)
    if result.prev != NULL:
        result.prev.next = result.next
    else:
        history.first_result = result.next
    if result.next != NULL:
        result.next.prev = result.prev
    else:
        history.last_result = result.prev
    history.results -= 1
    if result.timer:
        heap_take(&core.aging, result_spot(), result)
    core.queued_bytes -= result_bytes(result)
    if result.blob != NULL:
        blob_drop(core, result.blob)
    slab_give(&core.slabs, result, result_cell(result))


# To find it

cdef Result* result_find(Core* core, uint64_t number) noexcept nogil:
    """That of the handle of this number, or NULL."""
    cdef Node* node = index_first(&core.results, hash_number(0, number))
    while node != NULL and (<Result*>node).number != number:
        node = index_next(node)
    return <Result*>node


cdef Result* result_by_unique(Core* core, Function* function, Field unique) noexcept nogil:
    """The newest of a function with this unique; NULL if there is none."""
    cdef Node* node
    cdef Result* result
    cdef Result* newest = NULL
    if first_result(function) == NULL or unique.size == 0:
        return NULL
    node = index_first(&core.result_keys, unique_hash(core, function, unique.data, unique.size))
    while node != NULL:
        result = result_of_key(node)
        core.effort += 1
        if result.function == function and result.unique_size == unique.size \
                and memcmp(result.unique, unique.data, unique.size) == 0 \
                and (newest == NULL or result.number > newest.number):
            newest = result
        node = index_next(node)
    return newest


cdef Result* result_due(Core* core) noexcept nogil:
    """The one that was to be kept no longer since longest ago, or NULL."""
    if core.aging.count and core.aging.entries[0].key <= core.wall:
        return <Result*>core.aging.entries[0].item
    return NULL


# What a job leaves

cdef inline bint has_room(Core* core, Policy* policy, size_t size) noexcept nogil:
    """Whether a result of this size is kept whole."""
    return size < MOST_DATA and (policy.result_size == 0 or size <= policy.result_size) \
        and (core.max_queued == 0 or core.queued_bytes + size <= core.max_queued)


cdef bint result_keep(Core* core, Job* job, int outcome, const Field* data, bint of_frame) noexcept nogil:
    """A job ends: its result is kept if its function's policy says so and somebody wanted it in the background.

    `data`: what its worker sent at last, or NULL. The oldest result makes room; two of them where the limit is new and
    lower. The job itself is not touched, but that the store has the result in its place.
    """
    cdef Function* function = job.function
    cdef Policy* policy = function.policy
    cdef Result* result
    cdef Field unique
    cdef size_t size = data.size if data != NULL else 0
    cdef int left = 2
    if policy == NULL or policy.results == 0 or job.flags & (JOB_BACKGROUND | JOB_IGNORED) != JOB_BACKGROUND:
        return False
    while left and function.history.results >= policy.results:
        result_drop(core, function.history.first_result)
        left -= 1
    unique.data = job_unique(job)
    unique.size = job.unique_size
    result = result_new(core, function, job.number, unique, data if has_room(core, policy, size) else NULL, of_frame)
    if result == NULL:
        return False
    result.numerator = job.numerator
    result.denominator = job.denominator
    result_add(core, result, outcome, <uint32_t>size, core.wall)
    if job_is_durable(job):
        if job_slot(job) and job_worker(core, job).fence != FENCE_LOST:
            job_worker(core, job).fence = core.journal.gathering.number
        journal_keep(core, job, result)
    return True
