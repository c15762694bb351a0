# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Functions: the table of names, and each one's queues of jobs."""

from libc.stdint cimport uint64_t

from gearfast.dispatch._records cimport Core, Function, Job, Node, Queue

cdef uint64_t hash_of_function(void* core, Node* function) noexcept nogil
cdef Function* function_find(Core* core, const char* name, size_t size) noexcept nogil
cdef Function* function_get(Core* core, const char* name, size_t size) noexcept nogil
cdef void function_drop(Core* core, Function* function) noexcept nogil
cdef void queue_push(Queue* queue, Job* job) noexcept nogil
cdef void queue_insert(Queue* queue, Job* job) noexcept nogil
cdef void insert_before(Queue* queue, Job* job, Job* after) noexcept nogil
cdef void queue_remove(Queue* queue, Job* job) noexcept nogil
