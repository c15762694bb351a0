# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Queues that are larger than memory: which workloads leave it, and which are wanted back."""

from libc.stdint cimport uint32_t

from gearfast._codec cimport Field
from gearfast.dispatch._job cimport job_is_absent
from gearfast.dispatch._records cimport Absence, Bytes, Core, Far, Function, Job, Queue

cdef enum:
    SMALL = 64                  # bytes of a workload that is not worth a cell of its own

cdef Far* far_new(size_t ceiling) noexcept nogil
cdef void far_free(Core* core) noexcept nogil
cdef int form_of_restored(Core* core, Function* function, int priority, Field unique, Field workload) noexcept nogil
cdef Absence* absence_of(Core* core, Function* function) noexcept nogil
cdef void absence_free(Core* core, Function* function) noexcept nogil
cdef void absence_left(Queue* queue, Job* job) noexcept nogil
cdef void absence_joined(Job* job) noexcept nogil
cdef void absence_restored(Job* job) noexcept nogil
cdef void absence_reordered(Absence* absence) noexcept nogil
cdef void absence_forgets(Core* core, Job* job) noexcept nogil
cdef void sweep(Core* core, size_t steps) noexcept nogil
cdef bint may_leave(Job* job) noexcept nogil
cdef bint is_settled(Core* core, Job* job) noexcept nogil
cdef int ask(Core* core, Bytes* numbers) noexcept nogil


cdef inline bint is_blocked(Function* function) noexcept nogil:
    """Whether a function gives nothing out until workloads have come."""
    return function.absence != NULL and function.absence.blocked


cdef inline bint head_is_absent(Core* core, Job* head) noexcept nogil:
    """Whether the first job of a queue cannot be given out yet; then its function is blocked, and workloads are wanted."""
    if not job_is_absent(head):
        return False
    head.function.absence.blocked = True
    core.far.hungry = True
    return True


cdef inline bint absence_waits(Core* core) noexcept nogil:
    """Whether the driver is to be told of workloads that are wanted."""
    return core.far != NULL and core.far.hungry and not core.far.asking
