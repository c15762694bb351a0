# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Binary heaps with the smallest key first; keys lie in the heap, so that sifting reads no record."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, realloc

from gearfast.dispatch._records cimport Entry, Heap

cdef enum:
    FEWEST = 4                  # entries that a heap has room for at least


cdef inline uint32_t* place_of(void* item, size_t spot) noexcept nogil:
    return <uint32_t*>(<char*>item + spot)


cdef inline void put(Heap* heap, size_t spot, uint32_t place, void* item, int64_t key) noexcept nogil:
    heap.entries[place].item = item
    heap.entries[place].key = key
    place_of(item, spot)[0] = place + 1


cdef void sift_up(Heap* heap, size_t spot, uint32_t place, void* item, int64_t key) noexcept nogil:
    cdef Entry* parent
    while place:
        parent = &heap.entries[(place - 1) >> 1]
        if parent.key <= key:
            break
        put(heap, spot, place, parent.item, parent.key)
        place = (place - 1) >> 1
    put(heap, spot, place, item, key)


cdef void sift_down(Heap* heap, size_t spot, uint32_t place, void* item, int64_t key) noexcept nogil:
    cdef uint32_t child
    while True:
        child = 2 * place + 1
        if child >= heap.count:
            break
        if child + 1 < heap.count and heap.entries[child + 1].key < heap.entries[child].key:
            child += 1
        if heap.entries[child].key >= key:
            break
        put(heap, spot, place, heap.entries[child].item, heap.entries[child].key)
        place = child
    put(heap, spot, place, item, key)


cdef inline void sift(Heap* heap, size_t spot, uint32_t place, void* item, int64_t key) noexcept nogil:
    if place and heap.entries[(place - 1) >> 1].key > key:
        sift_up(heap, spot, place, item, key)
    else:
        sift_down(heap, spot, place, item, key)


cdef int heap_put(Heap* heap, size_t spot, void* item, int64_t key) noexcept nogil:
    """Put in a record that is in no heap; 0, or -1 without memory."""
    cdef Entry* entries
    cdef size_t room
    if heap.count == heap.room:
        room = 2 * <size_t>heap.room if heap.room else FEWEST
        entries = <Entry*>realloc(heap.entries, room * sizeof(Entry))
        if entries == NULL:
            return -1
        heap.entries = entries
        heap.room = <uint32_t>room
    heap.count += 1
    sift_up(heap, spot, heap.count - 1, item, key)
    return 0


cdef void heap_take(Heap* heap, size_t spot, void* item) noexcept nogil:
    """Take out a record that is in this heap."""
    cdef uint32_t place = place_of(item, spot)[0] - 1
    cdef Entry* last
    cdef Entry* entries
    heap.count -= 1
    last = &heap.entries[heap.count]
    if place != heap.count:
        sift(heap, spot, place, last.item, last.key)
    place_of(item, spot)[0] = 0
    if heap.room > 64 and heap.count < (heap.room >> 3):
        entries = <Entry*>realloc(heap.entries, (heap.room >> 1) * sizeof(Entry))
        if entries != NULL:
            heap.entries = entries
            heap.room >>= 1


cdef void heap_move(Heap* heap, size_t spot, void* item, int64_t key) noexcept nogil:
    """Give a record that is in this heap another key."""
    sift(heap, spot, place_of(item, spot)[0] - 1, item, key)


cdef void heap_free(Heap* heap) noexcept nogil:
    """Free the array; what it lists must not be looked for here any more."""
    free(heap.entries)
    heap.entries = NULL
    heap.count = 0
    heap.room = 0
