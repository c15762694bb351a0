# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Registrations: a function's lists of them by level, and a worker's heaps by place in its rotation."""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from gearfast.dispatch._heap cimport heap_free, heap_move, heap_put, heap_take
from gearfast.dispatch._index cimport hash_number, index_first, index_insert, index_next, index_remove
from gearfast.dispatch._peer cimport side_limit
from gearfast.dispatch._records cimport HELD, PEER_LINES, Ability, Core, Function, Node, Peer
from gearfast.dispatch._slab cimport slab_give, slab_take
from gearfast.dispatch._turns cimport has_lines, line_put, line_take, turn_taken


cdef inline size_t ability_spot() noexcept nogil:
    cdef Ability some
    return <size_t>(<char*>&some.spot - <char*>&some)


cdef inline uint64_t pair_hash(Core* core, Peer* peer, Function* function) noexcept nogil:
    return hash_number(core.seed0 ^ peer.id, <uint64_t><size_t>function)


cdef uint64_t hash_of_ability(void* core, Node* ability) noexcept nogil:
    return pair_hash(<Core*>core, (<Ability*>ability).peer, (<Ability*>ability).function)


cdef Ability* ability_find(Core* core, Peer* peer, Function* function) noexcept nogil:
    """The registration of `function` by `peer`, or NULL."""
    cdef Node* node = index_first(&core.abilities, pair_hash(core, peer, function))
    cdef Ability* ability
    while node != NULL:
        ability = <Ability*>node
        if ability.peer == peer and ability.function == function:
            return ability
        node = index_next(node)
    return NULL


cdef Ability* ability_add(Core* core, Peer* peer, Function* function, float timeout, int level) noexcept nogil:
    """Register, in front of all other functions of this worker; NULL without memory."""
    cdef Ability* ability = NULL
    if not core.max_queued or core.name_bytes <= side_limit(core):
        ability = <Ability*>slab_take(&core.slabs, sizeof(Ability))
    if ability == NULL:
        return NULL
    memset(ability, 0, sizeof(Ability))
    ability.peer = peer
    ability.function = function
    ability.timeout = timeout
    peer.first_place -= 1
    ability.place = 8 * peer.first_place
    ability.peer_next = peer.abilities
    if peer.abilities != NULL:
        peer.abilities.peer_prev = ability
    peer.abilities = ability
    peer.ability_count += 1
    if peer.ability_count == 2:
        rank(ability.peer_next)
    function.workers += 1
    core.name_bytes += sizeof(Ability)
    index_insert(&core.abilities, &ability.node, pair_hash(core, peer, function))
    if has_lines(function):
        peer.flags |= PEER_LINES
        turn_taken(ability)
    enlist(ability, level)
    return ability


cdef void ability_remove(Core* core, Ability* ability) noexcept nogil:
    cdef Peer* peer = ability.peer
    cdef int level
    delist(ability)
    if ability.peer_prev != NULL:
        ability.peer_prev.peer_next = ability.peer_next
    else:
        peer.abilities = ability.peer_next
    if ability.peer_next != NULL:
        ability.peer_next.peer_prev = ability.peer_prev
    peer.ability_count -= 1
    ability.function.workers -= 1
    core.name_bytes -= sizeof(Ability)
    index_remove(&core.abilities, &ability.node)
    slab_give(&core.slabs, ability, sizeof(Ability))
    if peer.ability_count == 1:
        if ability_level(peer.abilities) < HELD:
            peer.abilities.spot = 0
        for level in range(1, HELD):
            heap_free(&peer.ready[level])


cdef void ability_move(Ability* ability, int level) noexcept nogil:
    """To another level, behind all abilities that its function has there."""
    delist(ability)
    enlist(ability, level)


cdef void ability_rotate(Ability* ability) noexcept nogil:
    """Behind all other functions of its worker."""
    cdef Peer* peer = ability.peer
    cdef int level
    if peer.ability_count == 1:
        return
    level = ability_level(ability)
    peer.last_place += 1
    ability.place = 8 * peer.last_place + level
    if ability.spot and level < HELD:
        heap_move(&peer.ready[level], ability_spot(), ability, ability.place)


cdef void enlist(Ability* ability, int level) noexcept nogil:
    """To the end of its function's list for `level`, and into its worker's heap or its function's line if there is one.
    """
    ability.place = (ability.place & ~<int64_t>7) | level
    if ability.peer.ability_count > 1 and heap_in(ability) < 0 \
            or level >= HELD and has_lines(ability.function) and line_put(ability, level) < 0:
        level = 0       # without memory: looked at again when the function gets its next job
        ability.place &= ~<int64_t>7
    append(ability, level)


cdef void rank(Ability* ability) noexcept nogil:
    """It is no longer the only one of its worker, which needs no heap."""
    if heap_in(ability) < 0:
        ability_move(ability, 0)


cdef int heap_in(Ability* ability) noexcept nogil:
    """Into its worker's heap if there is one for its level; 0, or -1 without memory."""
    cdef int level = ability_level(ability)
    if level == 0 or level >= HELD:
        return 0
    return heap_put(&ability.peer.ready[level], ability_spot(), ability, ability.place)


cdef void append(Ability* ability, int level) noexcept nogil:
    cdef Function* function = ability.function
    cdef Ability* head = function.able[level]
    ability.able_next = NULL
    if head != NULL:
        ability.able_prev = head.able_prev
        head.able_prev.able_next = ability
        head.able_prev = ability
    else:
        ability.able_prev = ability
        function.able[level] = ability


cdef void delist(Ability* ability) noexcept nogil:
    cdef int level = ability_level(ability)
    cdef Ability* head = ability.function.able[level]
    if ability == head:
        ability.function.able[level] = ability.able_next
        if ability.able_next != NULL:
            ability.able_next.able_prev = ability.able_prev
    else:
        ability.able_prev.able_next = ability.able_next
        if ability.able_next != NULL:
            ability.able_next.able_prev = ability.able_prev
        else:
            head.able_prev = ability.able_prev
    if ability.spot and level >= HELD:
        line_take(ability, level)
    elif ability.spot:
        heap_take(&ability.peer.ready[level], ability_spot(), ability)
