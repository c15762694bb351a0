# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Dead letters: jobs that failed for good, kept for inspection, and the exceptions that their workers sent.

A dead letter has the record of its job, which is in no queue and no table any more. An exception of a job that is tried
again is kept beside it, in a table, which is looked at when a job ends only if it has something.
"""

from libc.stdint cimport int64_t, uint32_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from gearfast.dispatch._heap cimport heap_put, heap_take
from gearfast.dispatch._index cimport hash_number, index_first, index_insert, index_next, index_remove
from gearfast.dispatch._job cimport handles_remove, job_bytes, job_is_durable, job_release
from gearfast.dispatch._journal cimport journal_end_letter
from gearfast.dispatch._records cimport Core, Function, History, Job, Letter, Node, Remark
from gearfast.dispatch._slab cimport slab_give, slab_take


cdef inline size_t letter_spot() noexcept nogil:
    cdef Letter some
    return <size_t>(<char*>&some.timer - <char*>&some)


cdef uint64_t hash_of_letter(void* core, Node* node) noexcept nogil:
    return hash_number(0, (<Letter*>node).job.number)


cdef uint64_t hash_of_remark(void* core, Node* node) noexcept nogil:
    return hash_number(0, (<Remark*>node).number)


# Remarks

cdef size_t remark_bytes(size_t size) noexcept nogil:
    """Of a record with an exception of `size` bytes."""
    cdef Remark some
    return <size_t>(<char*>&some.data[0] - <char*>&some) + size


cdef Remark* remark_new(Core* core, uint64_t number, const char* data, size_t size) noexcept nogil:
    """In no table yet; NULL without memory, or beyond the ceiling of all jobs."""
    cdef Remark* remark
    size = min(size, <size_t>MOST_REMARK)
    if core.max_queued and core.queued_bytes + remark_bytes(size) > core.max_queued:
        return NULL
    remark = <Remark*>slab_take(&core.slabs, remark_bytes(size))
    if remark == NULL:
        return NULL
    remark.number = number
    remark.size = <uint32_t>size
    if size:
        memcpy(remark.data, data, size)
    core.queued_bytes += remark_bytes(size)
    return remark


cdef void remark_free(Core* core, Remark* remark) noexcept nogil:
    core.queued_bytes -= remark_bytes(remark.size)
    slab_give(&core.slabs, remark, remark_bytes(remark.size))


cdef Remark* remark_find(Core* core, uint64_t number) noexcept nogil:
    cdef Node* node = index_first(&core.remarks, hash_number(0, number))
    while node != NULL and (<Remark*>node).number != number:
        node = index_next(node)
    return <Remark*>node


cdef Remark* remark_take(Core* core, uint64_t number) noexcept nogil:
    """Out of the table; NULL if there is none."""
    cdef Remark* remark = remark_find(core, number) if core.remarks.count else NULL
    if remark != NULL:
        index_remove(&core.remarks, &remark.node)
    return remark


cdef void remark_drop(Core* core, uint64_t number) noexcept nogil:
    cdef Remark* remark = remark_take(core, number)
    if remark != NULL:
        remark_free(core, remark)


cdef void remark_put(Core* core, Job* job, const char* data, size_t size) noexcept nogil:
    """A job's worker has sent an exception: in place of the one before it."""
    cdef Remark* remark
    remark_forget(core, job)
    remark = remark_new(core, job.number, data, size)
    if remark != NULL:
        index_insert(&core.remarks, &remark.node, hash_number(0, job.number))


# Letters

cdef Letter* letter_new(Core* core) noexcept nogil:
    """In no list yet; NULL without memory."""
    cdef Letter* letter = <Letter*>slab_take(&core.slabs, sizeof(Letter))
    if letter != NULL:
        memset(letter, 0, sizeof(Letter))
        core.queued_bytes += sizeof(Letter)
    return letter


cdef void letter_add(Core* core, Letter* letter, Job* job, int reason, int64_t when) noexcept nogil:
    """A job that is in nothing but the table of handles becomes a dead letter."""
    handles_remove(core, job)
    core.job_count -= 1
    job.prev = job.next = NULL
    job.since = 0
    job.numerator = job.denominator = 0
    letter.job = job
    letter.reason = <uint8_t>reason
    letter.when = when
    letter.remark = remark_take(core, job.number)
    index_insert(&core.letters, &letter.node, hash_number(0, job.number))
    letter_link(job.function, letter)
    letter_renew(core, letter)


cdef void letter_link(Function* function, Letter* letter) noexcept nogil:
    """By the time of its death: one that comes back from the store goes before those that have died since."""
    cdef History* history = function.history
    cdef Letter* before = history.last_letter
    cdef int left = 1000
    while before != NULL and before.when > letter.when and left:
        before = before.prev
        left -= 1
    letter.prev = before
    letter.next = before.next if before != NULL else history.first_letter
    if before != NULL:
        before.next = letter
    else:
        history.first_letter = letter
    if letter.next != NULL:
        letter.next.prev = letter
    else:
        history.last_letter = letter
    history.letters += 1


cdef void letter_renew(Core* core, Letter* letter) noexcept nogil:
    """Give it the timer that its function's policy wants. Without memory for that it stays."""
    cdef Function* function = letter.job.function
    if letter.timer:
        heap_take(&core.fading, letter_spot(), letter)
    if function.policy != NULL and function.policy.keep_for:
        heap_put(&core.fading, letter_spot(), letter, letter.when + function.policy.keep_for)


cdef void letter_open(Core* core, Letter* letter) noexcept nogil:
    """Forget the letter, but not its job, which is then in nothing at all."""
    cdef History* history = letter.job.function.history
    index_remove(&core.letters, &letter.node)
    if letter.prev != NULL:
        letter.prev.next = letter.next
    else:
        history.first_letter = letter.next
    if letter.next != NULL:
        letter.next.prev = letter.prev
    else:
        history.last_letter = letter.prev
    history.letters -= 1
    if letter.timer:
        heap_take(&core.fading, letter_spot(), letter)
    if letter.remark != NULL:
        remark_free(core, letter.remark)
    core.queued_bytes -= sizeof(Letter)
    slab_give(&core.slabs, letter, sizeof(Letter))


cdef void letter_drop(Core* core, Letter* letter) noexcept nogil:
    """Forget the letter and its job."""
    cdef Job* job = letter.job
    if job_is_durable(job):
        journal_end_letter(core, letter)
    letter_open(core, letter)
    job_release(core, job)


cdef Letter* letter_find(Core* core, uint64_t number) noexcept nogil:
    """The dead letter of the handle of this number, or NULL."""
    cdef Node* node = index_first(&core.letters, hash_number(0, number))
    while node != NULL and (<Letter*>node).job.number != number:
        node = index_next(node)
    return <Letter*>node


cdef Letter* letter_due(Core* core) noexcept nogil:
    """The one that was to be kept no longer since longest ago, or NULL."""
    if core.fading.count and core.fading.entries[0].key <= core.wall:
        return <Letter*>core.fading.entries[0].item
    return NULL


cdef size_t letter_bytes(Letter* letter) noexcept nogil:
    """What it takes, its job included."""
    cdef size_t remark = remark_bytes(letter.remark.size) if letter.remark != NULL else 0
    return sizeof(Letter) + remark + job_bytes(letter.job)
