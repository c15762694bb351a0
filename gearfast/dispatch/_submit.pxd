# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""How a job comes to be: submitted, joined with one that has the same unique, or refused."""

from libc.stdint cimport int64_t, uint64_t

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
    uint64_t number             # of the job that it has become or joined

cdef enum Outcome:
    SUBMITTED = 0
    UNIQUE_TOO_LARGE = 1
    QUEUE_FULL = 2
    NO_MEMORY = 3
    NOT_STORED = 4
    RESERVED = 5                # a function that the server answers itself, see _ask.pyx

cdef int submit(Core* core, Peer* peer, Submission* wanted) noexcept nogil
cdef Job* job_for(Core* core, Function* function, Field unique, Field key) noexcept nogil
cdef Job* job_by_unique(Core* core, const char* unique, size_t size) noexcept nogil
