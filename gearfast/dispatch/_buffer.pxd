# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Growing byte buffers whose first block comes from a pool, so that an idle connection holds none."""

from gearfast.dispatch._records cimport Buffer, Pool

cdef char* buffer_grow(Pool* pool, Buffer* buffer, size_t more) noexcept nogil
cdef void buffer_release(Pool* pool, Buffer* buffer) noexcept nogil
cdef int buffer_append(Pool* pool, Buffer* buffer, const char* data, size_t size) noexcept nogil
cdef void pool_free(Pool* pool) noexcept nogil


cdef inline char* buffer_space(Pool* pool, Buffer* buffer, size_t more) noexcept nogil:
    """Where to write the next `more` bytes, or NULL without memory. Writing them is told by adding to `end`."""
    if buffer.room - buffer.end >= more:
        return buffer.data + buffer.end
    return buffer_grow(pool, buffer, more)


cdef inline void buffer_drop(Pool* pool, Buffer* buffer, size_t size) noexcept nogil:
    """Forget `size` bytes at the front; the memory goes back when nothing is left."""
    buffer.begin += size
    if buffer.begin == buffer.end:
        buffer_release(pool, buffer)
