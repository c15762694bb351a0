# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What the store has to be told of jobs, in batches."""

from libc.stdint cimport int64_t, uint64_t

from gearfast._codec cimport Field
from gearfast.dispatch._job cimport is_dash, job_is_durable
from gearfast.dispatch._records cimport Batch, Bytes, Core, Function, Job, Journal, Letter, Peer, Result

cdef Journal* journal_new(uint64_t first, bint relaxed) noexcept nogil
cdef void journal_free(Core* core) noexcept nogil
cdef int journal_reserve(Core* core, Peer* peer, Job* job) noexcept nogil
cdef int journal_add(Core* core, Job* job, int64_t due) noexcept nogil
cdef void journal_promise(Core* core, Peer* peer, Job* job) noexcept nogil
cdef void journal_ask(Core* core, Peer* peer, Field unique) noexcept nogil
cdef void journal_change(Core* core, Job* job) noexcept nogil
cdef void journal_end(Core* core, Job* job) noexcept nogil
cdef void journal_bury(Core* core, Letter* letter) noexcept nogil
cdef void journal_end_letter(Core* core, Letter* letter) noexcept nogil
cdef void journal_revive(Core* core, Job* job) noexcept nogil
cdef int journal_rewrite(Core* core, Job* job, Letter* letter) noexcept nogil
cdef int journal_rewrite_result(Core* core, Result* result) noexcept nogil
cdef void journal_keep(Core* core, Job* job, Result* result) noexcept nogil
cdef void journal_end_result(Core* core, Result* result) noexcept nogil
cdef void sort_late(Bytes* late) noexcept nogil
cdef bint late_has(Bytes* late, uint64_t number) noexcept nogil
cdef bint numbers_have(Bytes* numbers, uint64_t number) noexcept nogil
cdef void journal_fence(Core* core, Peer* peer) noexcept nogil
cdef Batch* journal_take(Core* core) noexcept nogil
cdef void batch_clear(Batch* batch, uint64_t number) noexcept nogil
cdef bint batch_has(Batch* batch, uint64_t number) noexcept nogil


cdef inline bint batch_is_empty(Batch* batch) noexcept nogil:
    """Nothing to be stored, nobody who waits for it, and nothing of the driver's to go with it."""
    return batch.records.size == batch.dead_bytes and batch.done.size == 0 and batch.changes.size == 0 \
        and batch.replaced.size == 0 and batch.holders.size == 0 and not batch.wanted


cdef inline bint journal_waits(Core* core) noexcept nogil:
    """Whether there is a batch for the store, and the one before it is settled."""
    return core.journal != NULL and core.journal.committing == NULL and not batch_is_empty(core.journal.gathering)


cdef inline bint journal_refuses(Core* core) noexcept nogil:
    """Whether there is a journal that takes no jobs now: the store is away, or the lease has lapsed."""
    return core.journal != NULL and (core.journal.refusing or core.journal.lapsed)


cdef inline bint may_ask(Core* core, Field unique) noexcept nogil:
    """Whether servers that share the store may know this unique."""
    return core.journal != NULL and core.journal.claims and unique.size != 0 \
        and not is_dash(unique.data, unique.size) and not journal_refuses(core)


cdef inline bint has_lapsed(Core* core) noexcept nogil:
    """Durable jobs may be another server's by now, and so are not given out."""
    return core.journal != NULL and core.journal.lapsed


cdef inline bint may_be_given(Core* core, Job* job) noexcept nogil:
    return not has_lapsed(core) or not job_is_durable(job)


cdef inline bint has_next(Core* core, Function* function, int priority) noexcept nogil:
    """Whether a queue, whose head somebody wants, has a job that may be given out."""
    return function.queues[priority].head != NULL and may_be_given(core, function.queues[priority].head)


cdef inline size_t journal_bytes(Core* core) noexcept nogil:
    """Bytes of records that are not in the store yet."""
    if core.journal == NULL:
        return 0
    return core.journal.gathering.records.size + (
        core.journal.committing.records.size if core.journal.committing != NULL else 0)
