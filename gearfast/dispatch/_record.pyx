# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A job as the store keeps it: a head of 32 bytes, then its function, unique, reducer and workload.

A dead letter has its exception and more behind the workload. Of a job that has ended, its result stands in its place.

Stores know nothing of this: for them a batch's records are bytes.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from gearfast.dispatch._job cimport job_losses, job_priority, job_reducer, job_unique, job_workload
from gearfast.dispatch._records cimport (
    CLAIMED,
    JOB_HAS_REDUCER,
    OUTCOMES,
    REASONS,
    RESULT_DATA,
    Job,
    Letter,
    Result,
)


cdef enum:
    MOST_WORKLOAD = 0x80000000  # bytes, behind which no exception is stored


cdef inline size_t whole(size_t size) noexcept nogil:
    return (size + 7) & ~<size_t>7


cdef size_t record_size(Job* job, Letter* letter) noexcept nogil:
    cdef size_t reducer = job_reducer(job).size if job.flags & JOB_HAS_REDUCER else 0
    cdef size_t death = 0
    if letter != NULL:
        death = sizeof(Death) + (letter.remark.size if keeps_remark(letter) else 0)
    return whole(sizeof(Head) + job.function.size + job.unique_size + reducer + job.size + death)


cdef inline bint keeps_remark(Letter* letter) noexcept nogil:
    """Whether there is one. Behind a workload that fills a record it is left out."""
    return letter.remark != NULL and letter.job.size < MOST_WORKLOAD


cdef void record_write(Head* head, Job* job, size_t size, int64_t due, Letter* letter) noexcept nogil:
    """`size`: its record_size; `due`: wall ns, 0 at once; `letter`: NULL, or the job's."""
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
    if letter != NULL:
        head.flags |= RECORD_LETTER
        at = put_death(at, letter)
    elif job.worker & CLAIMED:
        head.flags |= RECORD_CLAIM
    head.fill = <uint8_t>(<char*>head + size - at)
    memset(at, 0, head.fill)


cdef size_t result_record_size(Result* result) noexcept nogil:
    cdef size_t data = result.size if result.flags & RESULT_DATA else 0
    return whole(sizeof(Head) + result.function.size + result.unique_size + data + sizeof(Ending))


cdef void result_record_write(Head* head, Result* result, size_t size) noexcept nogil:
    """`size`: its result_record_size."""
    cdef char* at = <char*>(head + 1)
    cdef Ending ending
    memset(head, 0, sizeof(Head))
    head.size = <uint32_t>size
    head.number = result.number
    head.function = result.function.size
    head.unique = result.unique_size
    head.flags = RECORD_RESULT
    at = put(at, result.function.name, result.function.size)
    at = put(at, result.unique, result.unique_size)
    memset(&ending, 0, sizeof(Ending))
    ending.when = result.when
    ending.numerator = result.numerator
    ending.denominator = result.denominator
    ending.size = result.size
    ending.outcome = result.outcome
    if result.flags & RESULT_DATA:
        ending.has_data = 1
        at = put(at, result.data, result.size)
    at = put(at, <char*>&ending, sizeof(Ending))
    head.fill = <uint8_t>(<char*>head + size - at)
    memset(at, 0, head.fill)


cdef char* put_death(char* at, Letter* letter) noexcept nogil:
    cdef Death death
    memset(&death, 0, sizeof(Death))
    death.when = letter.when
    death.reason = letter.reason
    if keeps_remark(letter):
        death.has_exception = 1
        death.exception = letter.remark.size
        at = put(at, letter.remark.data, letter.remark.size)
    return put(at, <char*>&death, sizeof(Death))


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
    if head.flags & RECORD_LETTER and read_death(record) < 0 or head.flags & RECORD_RESULT and read_ending(record) < 0:
        return 0
    return head.size


cdef int read_death(Record* record) noexcept nogil:
    """What stands behind the workload of a dead letter; -1 if that cannot be."""
    cdef Death* death = &record.death
    cdef size_t left = record.size
    if left < sizeof(Death):
        return -1
    left -= sizeof(Death)
    memcpy(death, record.workload + left, sizeof(Death))
    if death.exception > left or death.reason >= REASONS or death.zero:
        return -1
    record.size = left - death.exception
    record.exception = record.workload + record.size if death.has_exception else NULL
    return 0


cdef int read_ending(Record* record) noexcept nogil:
    """The same of a result, which is the record's workload then."""
    cdef Ending* ending = &record.ending
    if record.size < sizeof(Ending) or record.head.flags & RECORD_LETTER:
        return -1
    record.size -= sizeof(Ending)
    memcpy(ending, record.workload + record.size, sizeof(Ending))
    if ending.outcome >= OUTCOMES or ending.zero or ending.has_data > 1 \
            or record.size != (ending.size if ending.has_data else 0):
        return -1
    return 0


cdef bint has_ended(const uint64_t* ended, size_t count, uint64_t number) noexcept nogil:
    """Whether `number` is among these, which rise."""
    return place_of(ended, count, number) < count


cdef size_t place_of(const uint64_t* numbers, size_t count, uint64_t number) noexcept nogil:
    """Where `number` is among these, which rise; `count`: nowhere."""
    cdef size_t low = 0
    cdef size_t high = count
    cdef size_t middle
    while low < high:
        middle = (low + high) // 2
        if numbers[middle] < number:
            low = middle + 1
        else:
            high = middle
    return low if low < count and numbers[low] == number else count
