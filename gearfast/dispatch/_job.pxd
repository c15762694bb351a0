# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Job records, and the table that finds a job by the number of its handle."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from gearfast._codec cimport Field
from gearfast.dispatch._records cimport JOB_LARGE, Core, Handles, Job, Large, Node

cdef enum:
    HANDLE_ROOM = 96            # prefix of at most 42 bytes, colon, 20 digits

cdef Job* job_new(Core* core, Field unique, Field reducer, Field workload) noexcept nogil
cdef void job_free(Core* core, Job* job) noexcept nogil
cdef int handles_add(Handles* handles, Job* job) noexcept nogil
cdef Job* handles_get(Handles* handles, uint64_t number) noexcept nogil
cdef void handles_remove(Handles* handles, Job* job) noexcept nogil
cdef struct Walk:
    Node* node                  # the page
    size_t bucket
    size_t entry
    bint old                    # in the table that is being emptied

cdef void walk_begin(Walk* walk) noexcept nogil
cdef Job* walk_next(Handles* handles, Walk* walk) noexcept nogil
cdef void handles_free(Handles* handles) noexcept nogil
cdef size_t write_handle(Core* core, char* at, uint64_t number) noexcept nogil
cdef Job* job_by_handle(Core* core, const char* handle, size_t size) noexcept nogil


cdef inline Node* job_node(Job* job) noexcept nogil:
    """Its link in Core.uniques; only a job with a unique has one."""
    return <Node*>(job + 1)


cdef inline Job* node_job(Node* node) noexcept nogil:
    return (<Job*>node) - 1


cdef inline char* job_unique(Job* job) noexcept nogil:
    return <char*>(job + 1) + (sizeof(Node) if job.unique_size else 0)


cdef inline char* job_reducer(Job* job) noexcept nogil:
    return job_unique(job) + job.unique_size


cdef inline Large job_large(Job* job) noexcept nogil:
    """Where the workload of a job with JOB_LARGE lies."""
    cdef Large large
    memcpy(&large, job_unique(job) + job.unique_size + job.reducer_size, sizeof(Large))
    return large


cdef inline const char* job_workload(Job* job) noexcept nogil:
    if job.flags & JOB_LARGE:
        return job_large(job).data
    return job_unique(job) + job.unique_size + job.reducer_size
