# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Timers of jobs: a heap by due time in which each timer knows its place."""

from libc.stdint cimport int64_t

from gearfast.dispatch._records cimport Heap, Job, Timer

cdef int timer_set(Heap* heap, Job* job, int64_t when) noexcept nogil
cdef void timer_clear(Heap* heap, Job* job) noexcept nogil
cdef void heap_free(Heap* heap) noexcept nogil


cdef inline Job* timer_due(Heap* heap, int64_t now) noexcept nogil:
    """The job whose time has come longest ago, or NULL. Its timer stays until it is cleared."""
    if heap.count and heap.timers[0].when <= now:
        return heap.timers[0].job
    return NULL
