# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A job as the store keeps it: a head of 32 bytes, then its function, unique, reducer and workload.

Stores know nothing of this: for them a batch's records are bytes.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from gearfast.dispatch._job cimport job_losses, job_priority, job_reducer, job_unique, job_workload
from gearfast.dispatch._records cimport JOB_HAS_REDUCER, Job


cdef inline size_t whole(size_t size) noexcept nogil:
    return (size + 7) & ~<size_t>7


cdef size_t record_size(Job* job) noexcept nogil:
    cdef size_t reducer = job_reducer(job).size if job.flags & JOB_HAS_REDUCER else 0
    return whole(sizeof(Head) + job.function.size + job.unique_size + reducer + job.size)


cdef void record_write(Head* head, Job* job, size_t size, int64_t due) noexcept nogil:
    """`size`: its record_size; `due`: wall ns, 0 at once."""
    cdef char* at = <char*>(head + 1)
    head.size = <uint32_t>size
    head.number = job.number
    head.due = due
    head.function = job.function.size
    head.unique = job.unique_size
    head.reducer = 0
    head.losses = <uint16_t>job_losses(job)
    head.zero = 0
    head.flags = <uint8_t>job_priority(job)
    at = put(at, job.function.name, job.function.size)
    at = put(at, job_unique(job), job.unique_size)
    if job.flags & JOB_HAS_REDUCER:
        head.reducer = <uint8_t>(1 + job_reducer(job).size)
        at = put(at, job_reducer(job).data, job_reducer(job).size)
    at = put(at, job_workload(job), job.size)
    head.fill = <uint8_t>(<char*>head + size - at)
    memset(at, 0, head.fill)


cdef inline char* put(char* at, const char* data, size_t size) noexcept nogil:
    if size:
        memcpy(at, data, size)
    return at + size


cdef size_t record_read(const char* data, size_t size, Record* record) noexcept nogil:
    """Read the record that begins at `data`, which is aligned; returns its size, 0 if it cannot be one."""
    cdef Head* head = <Head*>data
    cdef size_t reducer, parts
    if size < sizeof(Head) or head.size > size or head.size % 8 or head.fill >= 8 or head.zero:
        return 0
    reducer = head.reducer - 1 if head.reducer else 0
    parts = sizeof(Head) + <size_t>head.function + head.unique + reducer
    if parts + head.fill > head.size or head.number == 0:
        return 0
    record.head = head
    record.function = data + sizeof(Head)
    record.unique = record.function + head.function
    record.reducer = record.unique + head.unique
    record.workload = record.reducer + reducer
    record.size = head.size - parts - head.fill
    return head.size


cdef bint has_ended(const uint64_t* ended, size_t count, uint64_t number) noexcept nogil:
    """Whether `number` is among these, which rise."""
    cdef size_t low = 0
    cdef size_t high = count
    cdef size_t middle
    while low < high:
        middle = (low + high) // 2
        if ended[middle] < number:
            low = middle + 1
        else:
            high = middle
    return low < count and ended[low] == number
