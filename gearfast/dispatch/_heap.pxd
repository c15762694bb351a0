# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Binary heaps of records that know their place, so that any of them can leave or get another key.

A record's place is a uint32_t in it, 0 while it is in no heap; the caller says at which offset (`spot`).
"""

from libc.stdint cimport int64_t, uint32_t

from gearfast.dispatch._records cimport Heap

cdef int heap_put(Heap* heap, size_t spot, void* item, int64_t key) noexcept nogil
cdef void heap_take(Heap* heap, size_t spot, void* item) noexcept nogil
cdef void heap_move(Heap* heap, size_t spot, void* item, int64_t key) noexcept nogil
cdef void heap_free(Heap* heap) noexcept nogil
