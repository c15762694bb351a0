# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Bytes that grow at their end: what a batch consists of."""

from libc.stdlib cimport free, realloc

from gearfast.dispatch._records cimport Bytes

cdef enum:
    FIRST_ROOM = 512


cdef char* bytes_more(Bytes* bytes, size_t more) noexcept nogil:
    cdef size_t room = max(bytes.size + more, 2 * bytes.room if bytes.room else <size_t>FIRST_ROOM)
    cdef char* data = <char*>realloc(bytes.data, room)
    if data == NULL:
        return NULL
    bytes.data = data
    bytes.room = room
    return data + bytes.size


cdef void bytes_free(Bytes* bytes) noexcept nogil:
    free(bytes.data)
    bytes.data = NULL
    bytes.size = 0
    bytes.room = 0
