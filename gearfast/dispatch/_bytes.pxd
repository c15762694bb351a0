# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Bytes that grow at their end: what a batch consists of."""

from libc.stdint cimport uint64_t

from gearfast.dispatch._records cimport Bytes

cdef char* bytes_more(Bytes* bytes, size_t more) noexcept nogil
cdef void bytes_free(Bytes* bytes) noexcept nogil


cdef inline char* bytes_space(Bytes* bytes, size_t more) noexcept nogil:
    """Where to write the next `more` bytes, or NULL without memory. Writing them is told by adding to `size`."""
    if bytes.room - bytes.size >= more:
        return bytes.data + bytes.size
    return bytes_more(bytes, more)


cdef inline int bytes_add_number(Bytes* bytes, uint64_t number) noexcept nogil:
    """0, or -1 without memory."""
    cdef uint64_t* at = <uint64_t*>bytes_space(bytes, sizeof(uint64_t))
    if at == NULL:
        return -1
    at[0] = number
    bytes.size += sizeof(uint64_t)
    return 0


cdef inline size_t bytes_numbers(Bytes* bytes) noexcept nogil:
    return bytes.size // sizeof(uint64_t)


cdef inline uint64_t bytes_number(Bytes* bytes, size_t i) noexcept nogil:
    return (<uint64_t*>bytes.data)[i]
