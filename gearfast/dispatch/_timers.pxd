# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Timers of jobs: heaps by due time, ns of one clock each."""

from libc.stdint cimport int64_t

from gearfast.dispatch._heap cimport heap_put, heap_take
from gearfast.dispatch._records cimport Heap, Job


cdef enum:
    NEVER = 0x7FFFFFFFFFFFFFFF  # ns: something else has to happen first


cdef inline size_t timer_spot() noexcept nogil:
    cdef Job some
    return <size_t>(<char*>&some.timer - <char*>&some)


cdef inline int timer_set(Heap* heap, Job* job, int64_t when) noexcept nogil:
    """Give a job without timer one that is due at `when`; 0, or -1 without memory."""
    return heap_put(heap, timer_spot(), job, when)


cdef inline void timer_clear(Heap* heap, Job* job) noexcept nogil:
    """Take a job's timer away; it must be in this heap."""
    heap_take(heap, timer_spot(), job)


cdef inline int64_t timer_when(Heap* heap, Job* job) noexcept nogil:
    return heap.entries[job.timer - 1].key


cdef inline Job* timer_due(Heap* heap, int64_t now) noexcept nogil:
    """The job whose time has come longest ago, or NULL. Its timer stays until it is cleared."""
    if heap.count and heap.entries[0].key <= now:
        return <Job*>heap.entries[0].item
    return NULL
