# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Which worker gets which job: queueing, waking, grabbing."""

from gearfast.dispatch._records cimport ORDER_PRIORITY, PRIORITIES, Ability, Core, Function, Job, Peer

cdef enum:
    FEW_FUNCTIONS = 32          # of a worker, all of which may be moved at once

cdef int level_of(Core* core, Function* function) noexcept nogil
cdef void enqueue(Core* core, Job* job) noexcept nogil
cdef void rise(Core* core, Function* function, int level) noexcept nogil
cdef void rise_again(Core* core, Function* function) noexcept nogil
cdef void rise_for_all(Core* core, Function* function) noexcept nogil
cdef bint wake_others(Core* core) noexcept nogil
cdef void wake(Core* core, Peer* peer) noexcept nogil
cdef bint serve_held(Core* core, Ability* ability) noexcept nogil
cdef void grab(Core* core, Peer* peer, int kind) noexcept nogil
cdef void sleep_or_wake(Core* core, Peer* peer) noexcept nogil


cdef inline int level_of_priority(Core* core, int priority) noexcept nogil:
    return PRIORITIES - priority if core.order == ORDER_PRIORITY else 1
