# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What became of background jobs, kept by their function's policy."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from gearfast._codec cimport Field
from gearfast.dispatch._records cimport Core, Function, Job, Node, Result

cdef uint64_t hash_of_result(void* core, Node* node) noexcept nogil
cdef uint64_t hash_of_result_key(void* core, Node* node) noexcept nogil
cdef Result* result_new(Core* core, Function* function, uint64_t number, Field unique, const Field* data,
                        bint of_frame) noexcept nogil
cdef void result_add(Core* core, Result* result, int outcome, uint32_t size, int64_t when) noexcept nogil
cdef void result_drop(Core* core, Result* result) noexcept nogil
cdef Result* result_find(Core* core, uint64_t number) noexcept nogil
cdef Result* result_by_unique(Core* core, Function* function, Field unique) noexcept nogil
cdef Result* result_due(Core* core) noexcept nogil
cdef void result_renew(Core* core, Result* result) noexcept nogil
cdef size_t result_bytes(Result* result) noexcept nogil
cdef const char* outcome_name(Result* result) noexcept nogil
cdef bint result_keep(Core* core, Job* job, int outcome, const Field* data, bint of_frame) noexcept nogil
