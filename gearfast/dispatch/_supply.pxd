# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Workloads that come back from the store."""

from libc.stdint cimport uint64_t

from gearfast.dispatch._records cimport Bytes, Core

cdef enum Supplied:
    SUPPLY_DONE = 0
    SUPPLY_NO_RECORD = 1
    SUPPLY_NO_MEMORY = 2

cdef int supply_ask(Core* core, Bytes* numbers) noexcept nogil
cdef int supply(Core* core, const char* data, size_t size) noexcept nogil
cdef void supply_end(Core* core, const uint64_t* missing, size_t count) noexcept nogil
