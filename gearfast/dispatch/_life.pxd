# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""The life of a job: submitted, queued, given out, finished, lost and queued again."""

from libc.stdint cimport int64_t, uint32_t

from gearfast._codec cimport Field
from gearfast.dispatch._records cimport Core, Function, Job, Peer

cdef struct Submission:
    Field function
    Field unique
    Field reducer               # data NULL: none
    Field workload
    int priority
    bint background
    int64_t due                 # wall ns, 0: at once

cdef enum Outcome:
    SUBMITTED = 0
    UNIQUE_TOO_LARGE = 1
    QUEUE_FULL = 2
    NO_MEMORY = 3

cdef int submit(Core* core, Peer* peer, Submission* wanted) noexcept nogil
cdef void register(Core* core, Peer* peer, const char* name, size_t size, float timeout) noexcept nogil
cdef void unregister(Core* core, Peer* peer, Function* function) noexcept nogil
cdef void unregister_all(Core* core, Peer* peer) noexcept nogil
cdef void grab(Core* core, Peer* peer, int kind) noexcept nogil
cdef void sleep_or_wake(Core* core, Peer* peer) noexcept nogil
cdef void finish(Core* core, Job* job) noexcept nogil
cdef void fail_waiters(Core* core, Job* job) noexcept nogil
cdef void cancel(Core* core, Job* job) noexcept nogil
cdef void drop_function(Core* core, Function* function) noexcept nogil
cdef void leave(Core* core, Peer* peer) noexcept nogil
cdef bint run_timers(Core* core) noexcept nogil
cdef Job* job_by_unique(Core* core, const char* unique, size_t size) noexcept nogil
