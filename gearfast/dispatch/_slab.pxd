# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Memory for small records: slabs of equal cells that go back to the system as soon as they are empty."""

from libc.stddef cimport size_t
from libc.stdlib cimport free, malloc

from gearfast.dispatch._records cimport Slab, Slabs

cdef extern from *:
    """
    /* A sanitizer watches malloc, not cells. */
    #if defined(__SANITIZE_ADDRESS__)
    #define GEARFAST_CELLS 0
    #elif defined(__has_feature)
    #if __has_feature(address_sanitizer)
    #define GEARFAST_CELLS 0
    #endif
    #endif
    #ifndef GEARFAST_CELLS
    #define GEARFAST_CELLS 1
    #endif
    """
    const bint CELLS "GEARFAST_CELLS"

cdef enum:
    SLAB_BYTES = 262144         # and the alignment of a slab, so that a cell finds its own
    LARGEST_CELL = 640          # records above it are malloc's
    FIRST_CELL = 64             # where the cells of a slab begin: those of whole cache lines then lie in no others

cdef Slab* slab_open(Slabs* slabs, size_t size) noexcept nogil
cdef void slab_close(Slabs* slabs, Slab* slab) noexcept nogil
cdef void slab_reopen(Slabs* slabs, Slab* slab) noexcept nogil
cdef void slab_retire(Slabs* slabs, Slab* slab) noexcept nogil
cdef void slabs_free(Slabs* slabs) noexcept nogil


cdef inline bint slab_is_full(Slab* slab) noexcept nogil:
    return slab.spare == NULL and slab.fresh + slab.cell > SLAB_BYTES


cdef inline void* slab_take(Slabs* slabs, size_t size) noexcept nogil:
    """`size` bytes, not cleared; NULL without memory."""
    cdef Slab* slab
    cdef void* cell
    if size > LARGEST_CELL or not CELLS:
        return malloc(size)
    slab = slabs.open[(size + 7) >> 3]
    if slab == NULL:
        slab = slab_open(slabs, size)
        if slab == NULL:
            return NULL
    cell = slab.spare
    if cell != NULL:
        slab.spare = (<void**>cell)[0]
    else:
        cell = <char*>slab + slab.fresh
        slab.fresh += slab.cell
    slab.used += 1
    if slab_is_full(slab):
        slab_close(slabs, slab)
    return cell


cdef inline void slab_give(Slabs* slabs, void* cell, size_t size) noexcept nogil:
    """Give back what slab_take gave for the same `size`."""
    cdef Slab* slab
    if size > LARGEST_CELL or not CELLS:
        free(cell)
        return
    slab = <Slab*>(<size_t>cell & ~<size_t>(SLAB_BYTES - 1))
    if slab_is_full(slab):
        slab_reopen(slabs, slab)
    (<void**>cell)[0] = slab.spare
    slab.spare = cell
    slab.used -= 1
    if slab.used == 0:
        slab_retire(slabs, slab)
