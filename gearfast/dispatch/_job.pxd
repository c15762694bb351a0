# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Job records, and the table that finds a job by the number of its handle."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from gearfast._codec cimport Field
from gearfast.dispatch._blob cimport LARGE
from gearfast.dispatch._records cimport (
    ABSENT,
    APART,
    DURABLE,
    JOB_HAS_REDUCER,
    JOB_IGNORED,
    JOB_PRIORITY,
    MOST_LOSSES,
    SLOT,
    Core,
    Function,
    Handles,
    Job,
    Large,
    Node,
    Peer,
)

cdef enum:
    HANDLE_ROOM = 96            # prefix of at most 42 bytes, colon, 20 digits

cdef enum Form:                 # where the workload of a new job is to lie
    WITHIN = 0
    BESIDE = 1                  # where it can be given back alone
    AWAY = 2                    # nowhere: it is in the store

cdef Job* job_new(Core* core, Field unique, Field reducer, Field workload, int form) noexcept nogil
cdef Job* job_new_numbered(
    Core* core, uint64_t number, Field unique, Field reducer, Field workload, int form) noexcept nogil
cdef void workload_leave(Core* core, Job* job) noexcept nogil
cdef int workload_return(Core* core, Job* job, const char* data) noexcept nogil
cdef void job_free(Core* core, Job* job) noexcept nogil
cdef void job_release(Core* core, Job* job) noexcept nogil
cdef size_t job_bytes(Job* job) noexcept nogil
cdef uint64_t unique_hash(Core* core, Function* function, const char* key, size_t size) noexcept nogil
cdef uint64_t hash_of_job(void* core, Node* node) noexcept nogil
cdef uint64_t hash_of_page(void* core, Node* page) noexcept nogil
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
cdef uint64_t number_of_handle(Core* core, const char* handle, size_t size) noexcept nogil


cdef inline bint is_dash(const char* unique, size_t size) noexcept nogil:
    """Unique `-`: coalesced by equal workloads."""
    return size == 1 and unique[0] == c'-'


cdef inline size_t unique_room(const char* unique, size_t size) noexcept nogil:
    """Bytes of a unique with the link before it and, if it stands for the workload, the hash of that behind it."""
    return (sizeof(Node) + size + (sizeof(uint64_t) if is_dash(unique, size) else 0)) if size else 0


cdef inline size_t cell_size(size_t unique, size_t reducer, size_t workload, bint apart) noexcept nogil:
    """Bytes of a job's record. `unique`: of unique_room; `reducer`: with the byte before it that tells its size."""
    return sizeof(Job) + unique + reducer + (
        sizeof(Large) if workload >= LARGE else sizeof(char*) if apart else workload)


cdef inline size_t job_cost(size_t unique, size_t reducer, size_t workload) noexcept nogil:
    """Bytes of a job's record and of a workload beside it."""
    return cell_size(unique, reducer, workload, False) + (workload if workload >= LARGE else 0)


cdef inline Node* job_node(Job* job) noexcept nogil:
    """Its link in Core.uniques; only a job with a unique has one."""
    return <Node*>(job + 1)


cdef inline Job* node_job(Node* node) noexcept nogil:
    return (<Job*>node) - 1


cdef inline char* node_unique(Node* node) noexcept nogil:
    return <char*>(node + 1)


cdef inline char* job_unique(Job* job) noexcept nogil:
    return <char*>(job + 1) + (sizeof(Node) if job.unique_size else 0)


cdef inline bint job_by_data(Job* job) noexcept nogil:
    """Its workload stands for its unique."""
    return is_dash(job_unique(job), job.unique_size)


cdef inline size_t job_unique_room(Job* job) noexcept nogil:
    return unique_room(job_unique(job), job.unique_size)


cdef inline char* job_data_hash(Job* job) noexcept nogil:
    """Where a job that is known by its workload has the hash of that; not aligned."""
    return job_unique(job) + 1


cdef inline char* job_rest(Job* job) noexcept nogil:
    """What follows its unique."""
    return <char*>(job + 1) + job_unique_room(job)


cdef inline size_t job_reducer_size(Job* job) noexcept nogil:
    """Bytes of its reducer and of the byte before it, 0 if it has none."""
    return 1 + <uint8_t>job_rest(job)[0] if job.flags & JOB_HAS_REDUCER else 0


cdef inline Field job_reducer(Job* job) noexcept nogil:
    """The reducer of a job that has one."""
    cdef Field reducer
    reducer.data = job_rest(job) + 1
    reducer.size = job_reducer_size(job) - 1
    return reducer


cdef inline bint job_is_large(Job* job) noexcept nogil:
    """Its workload lies in a blob."""
    return job.size >= LARGE


cdef inline Large job_large(Job* job) noexcept nogil:
    """Where the workload of a large job lies."""
    cdef Large large
    memcpy(&large, job_rest(job) + job_reducer_size(job), sizeof(Large))
    return large


cdef inline bint job_is_absent(Job* job) noexcept nogil:
    """Its workload is in the store alone."""
    return job.worker & ABSENT != 0


cdef inline char* job_apart(Job* job) noexcept nogil:
    """Where the workload of a job lies that has it in a cell of its own; NULL if it is absent."""
    cdef char* data
    memcpy(&data, job_rest(job) + job_reducer_size(job), sizeof(data))
    return data


cdef inline const char* job_workload(Job* job) noexcept nogil:
    """Of a job that is not absent."""
    if job_is_large(job):
        return job_large(job).data
    if job.worker & APART:
        return job_apart(job)
    return job_rest(job) + job_reducer_size(job)


cdef inline uint32_t job_slot(Job* job) noexcept nogil:
    """1 + its worker's slot, 0 unless running."""
    return job.worker & SLOT


cdef inline bint job_is_of(Job* job, Peer* peer) noexcept nogil:
    """Whether this worker has it."""
    return job_slot(job) == <uint32_t>peer.id + 1


cdef inline Peer* job_worker(Core* core, Job* job) noexcept nogil:
    """Who has it, or NULL."""
    return core.slots[job_slot(job) - 1].peer if job_slot(job) else NULL


cdef inline uint32_t job_waiting(Job* job) noexcept nogil:
    """How many requests wait for it."""
    return job.waiters.count if job.waiters != NULL else 0


cdef inline bint job_is_durable(Job* job) noexcept nogil:
    return job.losses & DURABLE != 0


cdef inline uint32_t job_losses(Job* job) noexcept nogil:
    """How often it was lost with its worker."""
    return job.losses & MOST_LOSSES


cdef inline void job_add_losses(Job* job, uint64_t count) noexcept nogil:
    job.losses = <uint16_t>((job.losses & DURABLE) | min(job_losses(job) + count, <uint64_t>MOST_LOSSES))


cdef inline int job_priority(Job* job) noexcept nogil:
    """Which of its function's queues it belongs in."""
    return (job.flags & JOB_PRIORITY) >> 4


cdef inline bint job_in_uniques(Job* job) noexcept nogil:
    """Whether it coalesces with others, and is therefore in Core.uniques."""
    return job.unique_size and not job.flags & JOB_IGNORED and (job.size or not job_by_data(job))
