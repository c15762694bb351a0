# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Slabs of equal cells.

malloc spends 8 to 23 bytes a record and keeps what is freed below something that lives. A slab has cells of one size,
multiples of 8 bytes, and no header but its own; it is mapped when it is needed and unmapped when its last cell came
back, so ten million jobs leave nothing behind. Its pages are touched only as its cells are used.
"""

from gearfast.dispatch._records cimport Slab, Slabs

cdef extern from *:
    """
    #ifdef _WIN32
    #include <malloc.h>
    static void* gearfast_map(size_t size) { return _aligned_malloc(size, size); }
    static void gearfast_unmap(void* at, size_t size) { (void)size; _aligned_free(at); }
    #else
    #include <stdint.h>
    #include <sys/mman.h>
    #ifndef MAP_ANONYMOUS
    #define MAP_ANONYMOUS MAP_ANON
    #endif
    static void* gearfast_map(size_t size) {
        /* Twice as much, of which the part that begins at a multiple of `size` is kept. */
        char* at = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        size_t before;
        if (at == MAP_FAILED) return NULL;
        before = (size - ((uintptr_t)at & (size - 1))) & (size - 1);
        if (before) munmap(at, before);
        munmap(at + before + size, size - before);
        return at + before;
    }
    static void gearfast_unmap(void* at, size_t size) { munmap(at, size); }
    #endif
    """
    void* gearfast_map(size_t size) nogil
    void gearfast_unmap(void* at, size_t size) nogil

cdef enum:
    MOST_SPARE = 4              # empty slabs that are kept, for numbers of records about the edge of a slab


cdef Slab* slab_open(Slabs* slabs, size_t size) noexcept nogil:
    """A slab with free cells for records of `size` bytes, first in its list; NULL without memory."""
    cdef Slab* slab = slabs.spare
    if slab != NULL:
        slabs.spare = slab.next
        slabs.spare_count -= 1
    else:
        slab = <Slab*>gearfast_map(SLAB_BYTES)
        if slab == NULL:
            return NULL
        slabs.count += 1
    slab.cell = <unsigned int>((size + 7) & ~<size_t>7)
    slab.fresh = FIRST_CELL
    slab.used = 0
    slab.spare = NULL
    slab_reopen(slabs, slab)
    return slab


cdef void slab_reopen(Slabs* slabs, Slab* slab) noexcept nogil:
    """To the front of its list: it has, or is about to have, a free cell."""
    cdef Slab** head = &slabs.open[slab.cell >> 3]
    slab.prev = NULL
    slab.next = head[0]
    if slab.next != NULL:
        slab.next.prev = slab
    head[0] = slab


cdef void slab_close(Slabs* slabs, Slab* slab) noexcept nogil:
    """Out of its list: it has no free cell."""
    if slab.prev != NULL:
        slab.prev.next = slab.next
    else:
        slabs.open[slab.cell >> 3] = slab.next
    if slab.next != NULL:
        slab.next.prev = slab.prev


cdef void slab_retire(Slabs* slabs, Slab* slab) noexcept nogil:
    """An empty slab: the last one of its size stays as it is, of the others few are kept."""
    if slab.prev == NULL and slab.next == NULL:
        return
    slab_close(slabs, slab)
    if slabs.spare_count < MOST_SPARE:
        slab.next = slabs.spare
        slabs.spare = slab
        slabs.spare_count += 1
    else:
        gearfast_unmap(slab, SLAB_BYTES)
        slabs.count -= 1


cdef void slabs_free(Slabs* slabs) noexcept nogil:
    """Give everything back; all cells must have come back."""
    cdef Slab* slab
    cdef int i
    for i in range(LARGEST_CELL // 8 + 1):
        while slabs.open[i] != NULL:
            slab = slabs.open[i]
            slabs.open[i] = slab.next
            gearfast_unmap(slab, SLAB_BYTES)
    while slabs.spare != NULL:
        slab = slabs.spare
        slabs.spare = slab.next
        gearfast_unmap(slab, SLAB_BYTES)
    slabs.spare_count = 0
    slabs.count = 0
