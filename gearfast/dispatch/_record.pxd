# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""A job as the store keeps it."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from gearfast.dispatch._records cimport Job, Letter, Result

cdef enum:
    RECORD_PRIORITY = 3         # of flags: the queue
    RECORD_CLAIM = 8            # its unique is claimed in the store
    RECORD_RESULT = 16          # of a job that has ended: its result is the workload, and an Ending stands behind it
    RECORD_REWRITE = 32         # takes the place of an earlier one, which may be in the store
    RECORD_LETTER = 64          # of a dead letter: exception and Death stand behind the workload
    RECORD_DEAD = 128           # ended while it gathered: never stored

cdef struct Head:               # little-endian; then function, unique, reducer, workload, and NULs up to `size`
    uint32_t size               # of the whole record, a multiple of 8
    uint8_t fill                # NULs at its end, behind the workload
    uint8_t unique              # sizes of its parts
    uint8_t reducer             # with one more for the one that is there, so 0: none
    uint8_t flags
    uint64_t number
    int64_t due                 # wall ns, 0: at once
    uint32_t function
    uint16_t losses
    uint16_t zero

cdef struct Death:              # the end of a dead letter's record, before the NULs; not aligned
    int64_t when                # wall ns
    uint32_t exception          # bytes of it
    uint16_t zero
    uint8_t has_exception
    uint8_t reason

cdef struct Ending:             # the end of a result's record, before the NULs; not aligned
    int64_t when                # wall ns
    uint32_t numerator
    uint32_t denominator
    uint32_t size               # bytes that its worker sent
    uint16_t zero
    uint8_t has_data
    uint8_t outcome

cdef struct Record:             # one that was read
    Head* head
    const char* function
    const char* unique
    const char* reducer
    const char* workload
    size_t size                 # of workload
    Death death                 # of a dead letter's
    const char* exception       # of the same; NULL: none
    Ending ending               # of a result's

cdef size_t record_size(Job* job, Letter* letter) noexcept nogil
cdef void record_write(Head* head, Job* job, size_t size, int64_t due, Letter* letter) noexcept nogil
cdef size_t result_record_size(Result* result) noexcept nogil
cdef void result_record_write(Head* head, Result* result, size_t size) noexcept nogil
cdef size_t record_read(const char* data, size_t size, Record* record) noexcept nogil
cdef bint has_ended(const uint64_t* ended, size_t count, uint64_t number) noexcept nogil
cdef size_t place_of(const uint64_t* numbers, size_t count, uint64_t number) noexcept nogil
