# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Timers of jobs: a binary heap by due time in which each timer knows its place."""

from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, realloc

from gearfast.dispatch._records cimport Heap, Job, Timer


cdef inline void put(Heap* heap, size_t place, Timer* timer) noexcept nogil:
    heap.timers[place] = timer
    timer.place = place


cdef void sift_up(Heap* heap, size_t place, Timer* timer) noexcept nogil:
    cdef size_t parent
    while place:
        parent = (place - 1) >> 1
        if heap.timers[parent].when <= timer.when:
            break
        put(heap, place, heap.timers[parent])
        place = parent
    put(heap, place, timer)


cdef void sift_down(Heap* heap, size_t place, Timer* timer) noexcept nogil:
    cdef size_t child
    while True:
        child = 2 * place + 1
        if child >= heap.count:
            break
        if child + 1 < heap.count and heap.timers[child + 1].when < heap.timers[child].when:
            child += 1
        if heap.timers[child].when >= timer.when:
            break
        put(heap, place, heap.timers[child])
        place = child
    put(heap, place, timer)


cdef int timer_set(Heap* heap, Job* job, int64_t when) noexcept nogil:
    """Give a job without timer one that is due at `when`; 0, or -1 without memory."""
    cdef Timer** timers
    cdef Timer* timer
    cdef size_t room
    if heap.count == heap.room:
        room = 2 * heap.room if heap.room else 64
        timers = <Timer**>realloc(heap.timers, room * sizeof(Timer*))
        if timers == NULL:
            return -1
        heap.timers = timers
        heap.room = room
    timer = <Timer*>malloc(sizeof(Timer))
    if timer == NULL:
        return -1
    timer.when = when
    timer.job = job
    job.timer = timer
    heap.count += 1
    sift_up(heap, heap.count - 1, timer)
    return 0


cdef void timer_clear(Heap* heap, Job* job) noexcept nogil:
    """Take a job's timer away; it must be in this heap."""
    cdef Timer* timer = job.timer
    cdef Timer* last
    cdef size_t place = timer.place
    heap.count -= 1
    last = heap.timers[heap.count]
    if last != timer:
        if place and heap.timers[(place - 1) >> 1].when > last.when:
            sift_up(heap, place, last)
        else:
            sift_down(heap, place, last)
    job.timer = NULL
    free(timer)
    if heap.room > 64 and heap.count < (heap.room >> 3):
        shrink(heap)


cdef void shrink(Heap* heap) noexcept nogil:
    cdef Timer** timers = <Timer**>realloc(heap.timers, (heap.room >> 1) * sizeof(Timer*))
    if timers != NULL:
        heap.timers = timers
        heap.room >>= 1


cdef void heap_free(Heap* heap) noexcept nogil:
    """Free the array; the timers in it must be gone."""
    free(heap.timers)
    heap.timers = NULL
    heap.count = 0
    heap.room = 0
