# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Growing byte buffers.

A buffer begins as a block of `BLOCK` bytes from its dispatcher's pool and doubles on the heap beyond that. Released,
the block returns to the pool and anything larger to the system.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memmove

from gearfast.dispatch._records cimport Buffer, Pool

cdef enum:
    BLOCK = 4144                # with malloc's 16 a cache line over a page: blocks begin in different sets of lines
    MOST_SPARE = 1024


cdef char* take_block(Pool* pool) noexcept nogil:
    if pool.count == 0:
        return <char*>malloc(BLOCK)
    pool.count -= 1
    return pool.blocks[pool.count]


cdef void pool_free(Pool* pool) noexcept nogil:
    while pool.count:
        pool.count -= 1
        free(pool.blocks[pool.count])


cdef char* buffer_grow(Pool* pool, Buffer* buffer, size_t more) noexcept nogil:
    """Make room for `more` bytes behind `end`; returns where, or NULL without memory (nothing is then lost)."""
    cdef size_t held = buffer.end - buffer.begin
    cdef size_t room
    cdef char* data
    if buffer.data == NULL and more <= BLOCK:
        buffer.data = take_block(pool)
        if buffer.data == NULL:
            return NULL
        buffer.room = BLOCK
        return buffer.data
    if buffer.begin > held and buffer.room - held >= more:
        memmove(buffer.data, buffer.data + buffer.begin, held)
        buffer.begin = 0
        buffer.end = held
        return buffer.data + held
    room = 2 * buffer.room
    if room < buffer.end + more:
        room = buffer.end + more
    if buffer.room == BLOCK:
        data = <char*>malloc(room)
        if data == NULL:
            return NULL
        memcpy(data, buffer.data + buffer.begin, held)
        give_block(pool, buffer.data)
        buffer.begin = 0
        buffer.end = held
    else:
        data = <char*>realloc(buffer.data, room)
        if data == NULL:
            return NULL
    buffer.data = data
    buffer.room = room
    return buffer.data + buffer.end


cdef void give_block(Pool* pool, char* block) noexcept nogil:
    if pool.count >= MOST_SPARE:
        free(block)
        return
    pool.blocks[pool.count] = block
    pool.count += 1


cdef void buffer_release(Pool* pool, Buffer* buffer) noexcept nogil:
    """Empty it and give its memory back."""
    if buffer.room == BLOCK:
        give_block(pool, buffer.data)
    else:
        free(buffer.data)
    buffer.data = NULL
    buffer.begin = 0
    buffer.end = 0
    buffer.room = 0


cdef int buffer_append(Pool* pool, Buffer* buffer, const char* data, size_t size) noexcept nogil:
    """0, or -1 without memory."""
    cdef char* at = buffer_space(pool, buffer, size)
    if at == NULL:
        return -1
    memcpy(at, data, size)
    buffer.end += size
    return 0
