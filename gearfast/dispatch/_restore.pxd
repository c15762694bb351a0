# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Jobs that come back from the store."""

from gearfast.dispatch._records cimport Core

cdef struct Restored:
    size_t jobs                 # that are back
    size_t joined               # that came back into one with the same unique
    size_t skipped              # that were here already, or have ended
    const char* wrong           # what is wrong with the record at `at`; NULL: nothing
    size_t at                   # bytes that were read

cdef void restore(Core* core, const char* data, size_t size, const char* ended, size_t ended_size,
                  Restored* restored) noexcept nogil
