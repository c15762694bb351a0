# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Whose turn it is: which priority's, by a function's weights, and which worker's, by its dispatch.

A function whose policy has neither has no `Rota` and costs the test of that pointer.

Weights are a smooth weighted round robin in whole numbers. Where jobs of several priorities wait, each of these is given
its weight as credit, the one with most credit has the turn, and it pays all that was given. Who has nothing waiting is
given nothing and keeps what it has, which is always less than the sum of the weights: nobody saves up turns.

Lines are heaps of those registrations that are HELD and of those that are IN_LINE, by the turn of their last job, so
that who has waited longest is first.
"""

from libc.stdint cimport uint32_t

from gearfast.dispatch._records cimport DISPATCH_ANY, HELD, Ability, Core, Function, Policy, Rota

cdef void rota_fit(Core* core, Function* function) noexcept nogil
cdef void rota_drop(Core* core, Function* function) noexcept nogil
cdef int weighted_priority(Core* core, Function* function) noexcept nogil
cdef void weights_spend(Core* core, Function* function, int priority) noexcept nogil
cdef int line_put(Ability* ability, int level) noexcept nogil
cdef void line_take(Ability* ability, int level) noexcept nogil
cdef Ability* line_first(Function* function, int level) noexcept nogil
cdef void turn_taken(Ability* ability) noexcept nogil
cdef int waking_begin(Core* core, Rota* rota) noexcept nogil
cdef Function* waking_due(Core* core) noexcept nogil
cdef bint waking_goes_on(Core* core, Function* function) noexcept nogil
cdef uint32_t room_for_jobs(Core* core, Function* function) noexcept nogil


cdef inline bint has_weights(Function* function) noexcept nogil:
    return function.rota != NULL and function.rota.weights[0] != 0


cdef inline bint has_lines(Function* function) noexcept nogil:
    return function.rota != NULL and function.rota.dispatch != DISPATCH_ANY


cdef inline Ability* first_held(Function* function) noexcept nogil:
    """Which of those whose GRABs are HELD has the next job."""
    return line_first(function, HELD) if has_lines(function) else function.able[HELD]
