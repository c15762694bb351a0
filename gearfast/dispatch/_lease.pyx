# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Queues while the lease has lapsed: durable jobs, which may be another server's by now, come last in each of them.

So all others are given out as ever, and whoever looks for the next job looks no further than the head of a queue.
"""

from gearfast.dispatch._absent cimport absence_reordered
from gearfast.dispatch._function cimport insert_before, queue_insert, queue_push
from gearfast.dispatch._job cimport handles_get, job_is_durable, job_priority
from gearfast.dispatch._journal cimport has_lapsed
from gearfast.dispatch._records cimport JOB_STATE, PRIORITIES, Core, Function, Job, Queue


cdef void queue_last(Core* core, Job* job) noexcept nogil:
    """To the end of its queue."""
    if has_lapsed(core) and not job_is_durable(job):
        queue_ahead(core, job)
    else:
        queue_push(&job.function.queues[job_priority(job)], job)


cdef void queue_by_time(Core* core, Job* job) noexcept nogil:
    """Where it belongs in its queue by the time of its submission."""
    if has_lapsed(core):
        queue_last(core, job)
    else:
        queue_insert(&job.function.queues[job_priority(job)], job)


cdef void queue_ahead(Core* core, Job* job) noexcept nogil:
    """Of its queue, in which all durable jobs come last: to the end of the others.

    Where that is, is known, unless the job that was there has left the queue otherwise than for its turn.
    """
    cdef int priority = job_priority(job)
    cdef Queue* queue = &job.function.queues[priority]
    cdef Job* last = handles_get(&core.handles, job.function.history.ahead[priority])
    cdef Job* after = queue.head
    job.function.history.ahead[priority] = job.number
    if last != NULL and last != job and last.function == job.function and not last.flags & JOB_STATE \
            and job_priority(last) == priority and not job_is_durable(last):
        after = last.next
    while after != NULL and not job_is_durable(after):
        after = after.next
    if after != NULL:
        insert_before(queue, job, after)
    else:
        queue_push(queue, job)


cdef void queues_part(Function* function) noexcept nogil:
    """In each queue all durable jobs come last from now on; else the order stays."""
    cdef int priority
    cdef Queue kept
    cdef Queue durable
    cdef Job* job
    cdef Job* after
    for priority in range(PRIORITIES):
        job = function.queues[priority].head
        kept.head = kept.tail = durable.head = durable.tail = NULL
        while job != NULL:
            after = job.next
            queue_push(&durable if job_is_durable(job) else &kept, job)
            job = after
        if function.history != NULL:
            function.history.ahead[priority] = kept.tail.number if kept.tail != NULL else 0
        function.queues[priority] = kept if kept.head != NULL else durable
        if kept.head != NULL and durable.head != NULL:
            kept.tail.next = durable.head
            durable.head.prev = kept.tail
            function.queues[priority].tail = durable.tail
    if function.absence != NULL:
        absence_reordered(function.absence)
