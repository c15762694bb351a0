# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Registrations of functions by workers, and the order in which a worker's functions are served.

An ability has a level: 0 if its function has no runnable job, else how urgent the most urgent one is (3 high,
2 normal, 1 low; always 1 where the order ignores priorities). HELD is as 0, for workers whose GRABs are held: a job
goes to them before those that sleep are woken. IN_LINE is as 0 too, for workers that sleep, of a function that wakes
one for a job: these stay where they are until it is their turn. Levels rise at once and fall only when a grab meets the ability, so a
level may be too high, never too low. Each function lists its abilities by level, so that a new job touches only those
below its own; each worker has a heap by level, so that a grab never walks its functions.
"""

from libc.stdint cimport uint64_t

from gearfast.dispatch._records cimport Ability, Core, Function, Node, Peer

cdef uint64_t hash_of_ability(void* core, Node* ability) noexcept nogil
cdef Ability* ability_find(Core* core, Peer* peer, Function* function) noexcept nogil
cdef Ability* ability_add(Core* core, Peer* peer, Function* function, float timeout, int level) noexcept nogil
cdef void ability_remove(Core* core, Ability* ability) noexcept nogil
cdef void ability_move(Ability* ability, int level) noexcept nogil
cdef void ability_rotate(Ability* ability) noexcept nogil


cdef inline int ability_level(Ability* ability) noexcept nogil:
    return ability.place & 7
