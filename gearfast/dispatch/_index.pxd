# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Hash tables with intrusive links that never stop to rehash: each change moves a few buckets."""

from libc.stdint cimport uint64_t

from gearfast.dispatch._records cimport HashOf, Index, Node

cdef uint64_t hash_bytes(uint64_t seed0, uint64_t seed1, const char* data, size_t size) noexcept nogil
cdef int index_init(Index* index, size_t full, HashOf hash_of, void* context) noexcept nogil
cdef void index_free(Index* index) noexcept nogil
cdef void index_insert(Index* index, Node* node, uint64_t hash) noexcept nogil
cdef void index_remove(Index* index, Node* node) noexcept nogil


cdef inline Node** index_head(Index* index, uint64_t hash) noexcept nogil:
    """The chain that holds all nodes of this hash (and others)."""
    if index.old != NULL and (hash & index.old_mask) >= index.cursor:
        return &index.old[hash & index.old_mask]
    return &index.slots[hash & index.mask]


cdef inline Node* index_mark(Node** head) noexcept nogil:
    """What the last node of this chain points to, to be found there without its hash."""
    return <Node*>(<size_t>head | 1)


cdef inline Node* index_node(Node* link) noexcept nogil:
    """What is linked, NULL at the end of a chain."""
    return link if not <size_t>link & 1 else NULL


cdef inline Node* index_first(Index* index, uint64_t hash) noexcept nogil:
    return index_node(index_head(index, hash)[0])


cdef inline Node* index_next(Node* node) noexcept nogil:
    return index_node(node.next)


cdef inline uint64_t hash_number(uint64_t seed, uint64_t number) noexcept nogil:
    cdef uint64_t h = (number ^ seed) * <uint64_t>0x9E3779B97F4A7C15
    return h ^ (h >> 32)
