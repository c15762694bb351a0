# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Registrations: a function's lists of them by level, and a worker's pairing heaps by place in its rotation."""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from gearfast.dispatch._index cimport hash_number, index_head, index_insert, index_remove
from gearfast.dispatch._records cimport HELD, AbleList, Ability, Core, Function, Node, Peer


cdef inline uint64_t pair_hash(Core* core, Peer* peer, Function* function) noexcept nogil:
    return hash_number(core.seed0 ^ peer.id, <uint64_t><size_t>function)


cdef Ability* ability_find(Core* core, Peer* peer, Function* function) noexcept nogil:
    """The registration of `function` by `peer`, or NULL."""
    cdef uint64_t hash = pair_hash(core, peer, function)
    cdef Node* node = index_head(&core.abilities, hash)[0]
    cdef Ability* ability
    while node != NULL:
        ability = <Ability*>node
        if ability.peer == peer and ability.function == function:
            return ability
        node = node.next
    return NULL


cdef Ability* ability_add(Core* core, Peer* peer, Function* function, float timeout, int level) noexcept nogil:
    """Register, in front of all other functions of this worker; NULL without memory."""
    cdef Ability* ability = <Ability*>calloc(1, sizeof(Ability))
    if ability == NULL:
        return NULL
    ability.peer = peer
    ability.function = function
    ability.timeout = timeout
    peer.first_place -= 1
    ability.place = peer.first_place
    ability.peer_next = peer.abilities
    if peer.abilities != NULL:
        peer.abilities.peer_prev = ability
    peer.abilities = ability
    peer.ability_count += 1
    function.workers += 1
    index_insert(&core.abilities, &ability.node, pair_hash(core, peer, function))
    enlist(ability, level)
    return ability


cdef void ability_remove(Core* core, Ability* ability) noexcept nogil:
    cdef Peer* peer = ability.peer
    delist(ability)
    if ability.peer_prev != NULL:
        ability.peer_prev.peer_next = ability.peer_next
    else:
        peer.abilities = ability.peer_next
    if ability.peer_next != NULL:
        ability.peer_next.peer_prev = ability.peer_prev
    peer.ability_count -= 1
    ability.function.workers -= 1
    index_remove(&core.abilities, &ability.node)
    free(ability)


cdef void ability_move(Ability* ability, int level) noexcept nogil:
    """To another level, behind all abilities that its function has there."""
    delist(ability)
    enlist(ability, level)


cdef void ability_rotate(Ability* ability) noexcept nogil:
    """Behind all other functions of its worker."""
    ability.peer.last_place += 1
    if 0 < ability.level < HELD and (ability.child != NULL or ability.back != NULL):
        heap_remove(&ability.peer.ready[ability.level], ability)
        ability.place = ability.peer.last_place
        heap_insert(&ability.peer.ready[ability.level], ability)
    else:
        ability.place = ability.peer.last_place


cdef void enlist(Ability* ability, int level) noexcept nogil:
    cdef AbleList* able = &ability.function.able[level]
    ability.level = <unsigned char>level
    ability.able_next = NULL
    ability.able_prev = able.tail
    if able.tail != NULL:
        able.tail.able_next = ability
    else:
        able.head = ability
    able.tail = ability
    if 0 < level < HELD:
        heap_insert(&ability.peer.ready[level], ability)


cdef void delist(Ability* ability) noexcept nogil:
    cdef AbleList* able = &ability.function.able[ability.level]
    if ability.able_prev != NULL:
        ability.able_prev.able_next = ability.able_next
    else:
        able.head = ability.able_next
    if ability.able_next != NULL:
        ability.able_next.able_prev = ability.able_prev
    else:
        able.tail = ability.able_prev
    if 0 < ability.level < HELD:
        heap_remove(&ability.peer.ready[ability.level], ability)


cdef Ability* meld(Ability* a, Ability* b) noexcept nogil:
    """Two heaps to one; either may be NULL."""
    cdef Ability* swap
    if a == NULL:
        return b
    if b == NULL:
        return a
    if b.place < a.place:
        swap = a
        a = b
        b = swap
    b.back = a
    b.sibling = a.child
    if a.child != NULL:
        a.child.back = b
    a.child = b
    return a


cdef Ability* meld_children(Ability* first) noexcept nogil:
    """The usual two passes: melt neighbours from left to right, then all from right to left."""
    cdef Ability* pairs = NULL
    cdef Ability* one
    cdef Ability* two
    cdef Ability* root = NULL
    while first != NULL:
        one = first
        two = one.sibling
        first = two.sibling if two != NULL else NULL
        one.sibling = NULL
        one.back = NULL
        if two != NULL:
            two.sibling = NULL
            two.back = NULL
        one = meld(one, two)
        one.sibling = pairs
        pairs = one
    while pairs != NULL:
        one = pairs
        pairs = one.sibling
        one.sibling = NULL
        root = meld(root, one)
    return root


cdef void heap_insert(Ability** root, Ability* ability) noexcept nogil:
    ability.child = NULL
    ability.sibling = NULL
    ability.back = NULL
    root[0] = meld(root[0], ability)


cdef void heap_remove(Ability** root, Ability* ability) noexcept nogil:
    cdef Ability* rest = meld_children(ability.child)
    if root[0] == ability:
        root[0] = rest
    else:
        if ability.back.child == ability:
            ability.back.child = ability.sibling
        else:
            ability.back.sibling = ability.sibling
        if ability.sibling != NULL:
            ability.sibling.back = ability.back
        root[0] = meld(root[0], rest)
    ability.child = NULL
    ability.sibling = NULL
    ability.back = NULL
