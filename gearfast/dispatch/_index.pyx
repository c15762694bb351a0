# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Hash tables with intrusive links.

A table that is full gets one of twice the size beside it, one that is nearly empty one of half the size; every
insertion and removal then moves a few buckets over. So no single operation ever pays for the whole table.

A node is a link and nothing else, so its hash is asked for when it moves to another table. The last node of a chain
knows its bucket: new ones come first, so what goes in the order in which it came needs no hash to go.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from gearfast.dispatch._records cimport HashOf, Index, Node

cdef enum:
    SMALLEST = 64
    BUCKETS_A_STEP = 2
    EMPTIER_A_STEP = 16         # of a table that is left for a smaller one: it would else outlive its last node


cdef inline uint64_t rotate(uint64_t x, int by) noexcept nogil:
    return (x << by) | (x >> (64 - by))


cdef inline void sip_round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[1] = rotate(v[1], 13) ^ v[0]
    v[0] = rotate(v[0], 32)
    v[2] += v[3]
    v[3] = rotate(v[3], 16) ^ v[2]
    v[0] += v[3]
    v[3] = rotate(v[3], 21) ^ v[0]
    v[2] += v[1]
    v[1] = rotate(v[1], 17) ^ v[2]
    v[2] = rotate(v[2], 32)


cdef uint64_t hash_bytes(uint64_t seed0, uint64_t seed1, const char* data, size_t size) noexcept nogil:
    """SipHash-1-3: names come from strangers, so their hash must not be foreseeable."""
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef size_t left = size
    v[0] = seed0 ^ <uint64_t>0x736F6D6570736575
    v[1] = seed1 ^ <uint64_t>0x646F72616E646F6D
    v[2] = seed0 ^ <uint64_t>0x6C7967656E657261
    v[3] = seed1 ^ <uint64_t>0x7465646279746573
    while left >= 8:
        memcpy(&word, data, 8)
        v[3] ^= word
        sip_round(v)
        v[0] ^= word
        data += 8
        left -= 8
    word = 0
    if left:
        memcpy(&word, data, left)
    word ^= <uint64_t>size << 56
    v[3] ^= word
    sip_round(v)
    v[0] ^= word
    v[2] ^= 0xFF
    sip_round(v)
    sip_round(v)
    sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef int index_init(Index* index, size_t full, HashOf hash_of, void* context) noexcept nogil:
    """0, or -1 without memory."""
    index.slots = <Node**>calloc(SMALLEST, sizeof(Node*))
    index.old = NULL
    index.mask = SMALLEST - 1
    index.old_mask = 0
    index.cursor = 0
    index.count = 0
    index.full = full
    index.hash_of = hash_of
    index.context = context
    return 0 if index.slots != NULL else -1


cdef void index_free(Index* index) noexcept nogil:
    free(index.slots)
    free(index.old)
    index.slots = NULL
    index.old = NULL


cdef void resize(Index* index, size_t size) noexcept nogil:
    """Begin to move to a table of `size` buckets; without memory the old one goes on, only slower."""
    cdef Node** slots = <Node**>calloc(size, sizeof(Node*))
    if slots == NULL:
        return
    index.old = index.slots
    index.old_mask = index.mask
    index.cursor = 0
    index.slots = slots
    index.mask = size - 1


cdef inline void put_first(Node** head, Node* node) noexcept nogil:
    node.next = head[0] if head[0] != NULL else index_mark(head)
    head[0] = node


cdef void step(Index* index) noexcept nogil:
    cdef Node* node
    cdef Node* after
    cdef int _
    for _ in range(BUCKETS_A_STEP if index.mask > index.old_mask else EMPTIER_A_STEP):
        node = index_node(index.old[index.cursor])
        while node != NULL:
            after = index_next(node)
            put_first(&index.slots[index.hash_of(index.context, node) & index.mask], node)
            node = after
        index.cursor += 1
        if index.cursor > index.old_mask:
            free(index.old)
            index.old = NULL
            return


cdef void index_insert(Index* index, Node* node, uint64_t hash) noexcept nogil:
    if index.old != NULL:
        step(index)
    elif index.count > index.full * (index.mask + 1):
        resize(index, 2 * (index.mask + 1))
    put_first(index_head(index, hash), node)
    index.count += 1


cdef void index_remove(Index* index, Node* node) noexcept nogil:
    cdef Node** at
    if index.old != NULL:
        step(index)
    elif index.mask >= SMALLEST and index.count < (index.full * index.mask) >> 3:
        resize(index, (index.mask + 1) >> 1)
    if index_next(node) == NULL:
        at = <Node**>(<size_t>node.next & ~<size_t>1)
    else:
        at = index_head(index, index.hash_of(index.context, node))
    while at[0] != node:
        at = &at[0].next
    at[0] = node.next
    index.count -= 1
