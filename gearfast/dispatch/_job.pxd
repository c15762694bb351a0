# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Job records, and the table that finds a job by the number of its handle."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from gearfast._codec cimport Field
from gearfast.dispatch._blob cimport LARGE
from gearfast.dispatch._records cimport (
    JOB_HAS_REDUCER,
    JOB_IGNORED,
    JOB_PRIORITY,
    Core,
    Handles,
    Job,
    Large,
    Node,
    Peer,
)

cdef enum:
    HANDLE_ROOM = 96            # prefix of at most 42 bytes, colon, 20 digits

cdef Job* job_new(Core* core, Field unique, Field reducer, Field workload) noexcept nogil
cdef void job_free(Core* core, Job* job) noexcept nogil
cdef size_t job_bytes(Job* job) noexcept nogil
cdef int handles_add(Core* core, Job* job) noexcept nogil
cdef Job* handles_get(Handles* handles, uint64_t number) noexcept nogil
cdef void handles_remove(Core* core, Job* job) noexcept nogil
cdef struct Walk:
    Node* node                  # the page
    size_t bucket
    size_t entry
    bint old                    # in the table that is being emptied

cdef void walk_begin(Walk* walk) noexcept nogil
cdef Job* walk_next(Handles* handles, Walk* walk) noexcept nogil
cdef void handles_free(Core* core) noexcept nogil
cdef size_t write_handle(Core* core, char* at, uint64_t number) noexcept nogil
cdef Job* job_by_handle(Core* core, const char* handle, size_t size) noexcept nogil


cdef inline size_t cell_size(size_t unique, size_t reducer, size_t workload) noexcept nogil:
    """Bytes of a job's record. `reducer`: with the byte before it that tells its size."""
    return sizeof(Job) + (sizeof(Node) if unique else 0) + unique + reducer \
        + (sizeof(Large) if workload >= LARGE else workload)


cdef inline size_t job_cost(size_t unique, size_t reducer, size_t workload) noexcept nogil:
    """Bytes of a job's record and of a workload beside it."""
    return cell_size(unique, reducer, workload) + (workload if workload >= LARGE else 0)


cdef inline Node* job_node(Job* job) noexcept nogil:
    """Its link in Core.uniques; only a job with a unique has one."""
    return <Node*>(job + 1)


cdef inline Job* node_job(Node* node) noexcept nogil:
    return (<Job*>node) - 1


cdef inline char* job_unique(Job* job) noexcept nogil:
    return <char*>(job + 1) + (sizeof(Node) if job.unique_size else 0)


cdef inline size_t job_reducer_size(Job* job) noexcept nogil:
    """Bytes of its reducer and of the byte before it, 0 if it has none."""
    return 1 + <uint8_t>job_unique(job)[job.unique_size] if job.flags & JOB_HAS_REDUCER else 0


cdef inline Field job_reducer(Job* job) noexcept nogil:
    """The reducer of a job that has one."""
    cdef Field reducer
    reducer.data = job_unique(job) + job.unique_size + 1
    reducer.size = job_reducer_size(job) - 1
    return reducer


cdef inline bint job_is_large(Job* job) noexcept nogil:
    """Its workload lies in a blob."""
    return job.size >= LARGE


cdef inline Large job_large(Job* job) noexcept nogil:
    """Where the workload of a large job lies."""
    cdef Large large
    memcpy(&large, job_unique(job) + job.unique_size + job_reducer_size(job), sizeof(Large))
    return large


cdef inline const char* job_workload(Job* job) noexcept nogil:
    if job_is_large(job):
        return job_large(job).data
    return job_unique(job) + job.unique_size + job_reducer_size(job)


cdef inline bint job_is_of(Job* job, Peer* peer) noexcept nogil:
    """Whether this worker has it."""
    return job.worker == <uint32_t>peer.id + 1


cdef inline Peer* job_worker(Core* core, Job* job) noexcept nogil:
    """Who has it, or NULL."""
    return core.slots[job.worker - 1].peer if job.worker else NULL


cdef inline uint32_t job_waiting(Job* job) noexcept nogil:
    """How many requests wait for it."""
    return job.waiters.count if job.waiters != NULL else 0


cdef inline int job_priority(Job* job) noexcept nogil:
    """Which of its function's queues it belongs in."""
    return (job.flags & JOB_PRIORITY) >> 4


cdef inline bint job_by_data(Job* job) noexcept nogil:
    """Unique `-`: coalesced by equal workloads."""
    return job.unique_size == 1 and job_unique(job)[0] == c'-'


cdef inline bint job_in_uniques(Job* job) noexcept nogil:
    """Whether it coalesces with others, and is therefore in Core.uniques."""
    return job.unique_size and not job.flags & JOB_IGNORED and (job.size or not job_by_data(job))
