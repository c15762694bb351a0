# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Dead letters: jobs that failed for good, kept for inspection."""

from libc.stdint cimport int64_t, uint64_t

from gearfast.dispatch._records cimport Core, Function, Job, Letter, Node, Remark

cdef enum:
    MOST_REMARK = 65536         # bytes of an exception that are kept

cdef uint64_t hash_of_letter(void* core, Node* node) noexcept nogil
cdef uint64_t hash_of_remark(void* core, Node* node) noexcept nogil
cdef Letter* letter_new(Core* core) noexcept nogil
cdef void letter_add(Core* core, Letter* letter, Job* job, int reason, int64_t when) noexcept nogil
cdef void letter_open(Core* core, Letter* letter) noexcept nogil
cdef void letter_drop(Core* core, Letter* letter) noexcept nogil
cdef Letter* letter_find(Core* core, uint64_t number) noexcept nogil
cdef Letter* letter_due(Core* core) noexcept nogil
cdef void letter_renew(Core* core, Letter* letter) noexcept nogil
cdef size_t letter_bytes(Letter* letter) noexcept nogil
cdef size_t remark_bytes(size_t size) noexcept nogil
cdef Remark* remark_new(Core* core, uint64_t number, const char* data, size_t size) noexcept nogil
cdef Remark* remark_find(Core* core, uint64_t number) noexcept nogil
cdef void remark_put(Core* core, Job* job, const char* data, size_t size) noexcept nogil
cdef void remark_drop(Core* core, uint64_t number) noexcept nogil


cdef inline void remark_forget(Core* core, Job* job) noexcept nogil:
    """A job ends otherwise."""
    if core.remarks.count:
        remark_drop(core, job.number)
