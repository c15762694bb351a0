# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Whose turn it is: which priority's, by a function's weights, and which worker's, by its dispatch."""

from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free

from gearfast.dispatch._heap cimport heap_free, heap_move, heap_put, heap_take
from gearfast.dispatch._journal cimport has_next
from gearfast.dispatch._records cimport (
    DISPATCH_ANY,
    DISPATCH_LEAST_LOADED,
    HELD,
    PRIORITIES,
    Ability,
    Core,
    Function,
    Heap,
    Policy,
    Rota,
)

cdef enum:
    LOOKED_AT = 16              # workers, of which the least loaded one is chosen

cdef int64_t PATIENCE = 250000000   # ns that a job waits for the worker that was woken for it


cdef inline size_t ability_spot() noexcept nogil:
    cdef Ability some
    return <size_t>(<char*>&some.spot - <char*>&some)


cdef inline size_t rota_spot() noexcept nogil:
    cdef Rota some
    return <size_t>(<char*>&some.timer - <char*>&some)


cdef void rota_fit(Core* core, Function* function) noexcept nogil:
    """Make it as the function's policy says; nobody is in its lines. Without memory there is none.

    Credit stays while the weights do.
    """
    cdef Policy* policy = function.policy
    cdef int priority
    if policy == NULL or policy.weights[0] == 0 and policy.dispatch == DISPATCH_ANY:
        rota_drop(core, function)
        return
    if function.rota == NULL:
        function.rota = <Rota*>calloc(1, sizeof(Rota))
        if function.rota == NULL:
            return
        function.rota.function = function
    function.rota.dispatch = policy.dispatch
    for priority in range(PRIORITIES):
        if function.rota.weights[priority] != policy.weights[priority]:
            function.rota.credit[0] = function.rota.credit[1] = function.rota.credit[2] = 0
        function.rota.weights[priority] = policy.weights[priority]


cdef void rota_drop(Core* core, Function* function) noexcept nogil:
    """The function has none any more; nobody is in its lines."""
    if function.rota == NULL:
        return
    if function.rota.timer:
        heap_take(&core.wakings, rota_spot(), function.rota)
    heap_free(&function.rota.lines[0])
    heap_free(&function.rota.lines[1])
    free(function.rota)
    function.rota = NULL


# Weights

cdef int weighted_priority(Core* core, Function* function) noexcept nogil:
    """Whose turn it is, of a function with weights and a job: the most urgent one among equals."""
    cdef Rota* rota = function.rota
    cdef int best = -1
    cdef int priority
    for priority in range(PRIORITIES):
        if has_next(core, function, priority) and (
                best < 0 or rota.credit[priority] + rota.weights[priority] > rota.credit[best] + rota.weights[best]):
            best = priority
    return best


cdef void weights_spend(Core* core, Function* function, int priority) noexcept nogil:
    """It has its turn; its job is still in its queue."""
    cdef Rota* rota = function.rota
    cdef int32_t given = 0
    cdef int each
    for each in range(PRIORITIES):
        if has_next(core, function, each):
            rota.credit[each] += rota.weights[each]
            given += rota.weights[each]
    rota.credit[priority] -= given


# Lines

cdef int line_put(Ability* ability, int level) noexcept nogil:
    """Into its function's line for `level`, which is HELD or IN_LINE; 0, or -1 without memory."""
    return heap_put(&ability.function.rota.lines[level - HELD], ability_spot(), ability, ability.turn)


cdef void line_take(Ability* ability, int level) noexcept nogil:
    heap_take(&ability.function.rota.lines[level - HELD], ability_spot(), ability)


cdef Ability* line_first(Function* function, int level) noexcept nogil:
    """Who has the next job, of those in the function's line for `level`; NULL if there is none."""
    cdef Heap* line = &function.rota.lines[level - HELD]
    if line.count == 0:
        return NULL
    if function.rota.dispatch == DISPATCH_LEAST_LOADED:
        return least_loaded(line)
    return <Ability*>line.entries[0].item


cdef Ability* least_loaded(Heap* line) noexcept nogil:
    """Who has the fewest running jobs, of the first few in a line, and has waited longest among equals.

    They are found from the top of the heap, without a change of it. Who is HELD without a GRAB goes before all, since
    it only has to leave the line.
    """
    cdef uint32_t near[LOOKED_AT + 2]
    cdef uint32_t count = 1
    cdef uint32_t place, i, least
    cdef Ability* best = NULL
    cdef Ability* ability
    cdef int _
    near[0] = 0
    for _ in range(LOOKED_AT):
        if count == 0:
            break
        least = 0
        for i in range(1, count):
            if line.entries[near[i]].key < line.entries[near[least]].key:
                least = i
        place = near[least]
        count -= 1
        near[least] = near[count]
        ability = <Ability*>line.entries[place].item
        if best == NULL or ability.peer.running < best.peer.running:
            best = ability
        if ability.peer.running == 0 or is_held_in_vain(ability):
            return ability
        for i in range(2 * place + 1, 2 * place + 3):
            if i < line.count:
                near[count] = i
                count += 1
    return best


cdef inline bint is_held_in_vain(Ability* ability) noexcept nogil:
    return ability.place & 7 == HELD and ability.peer.held == 0


cdef void turn_taken(Ability* ability) noexcept nogil:
    """It was given a job, or begins to wait, of a function with a dispatch: behind all others."""
    cdef Rota* rota = ability.function.rota
    cdef int level = ability.place & 7
    rota.turn += 1
    ability.turn = rota.turn
    if ability.spot and level >= HELD:
        heap_move(&rota.lines[level - HELD], ability_spot(), ability, ability.turn)


# Whoever is woken may not come. So when a job has waited for a while, others are woken.

cdef int waking_begin(Core* core, Rota* rota) noexcept nogil:
    """A worker was woken for a job; 0, or -1 without memory for the timer."""
    return 0 if rota.timer else heap_put(&core.wakings, rota_spot(), rota, core.now + PATIENCE)


cdef Function* waking_due(Core* core) noexcept nogil:
    """The next function whose workers had their time to come, or NULL; its timer is taken away."""
    cdef Rota* rota
    if core.wakings.count == 0 or core.wakings.entries[0].key > core.now:
        return NULL
    rota = <Rota*>core.wakings.entries[0].item
    heap_take(&core.wakings, rota_spot(), rota)
    return rota.function


cdef bint waking_goes_on(Core* core, Function* function) noexcept nogil:
    """Whether its jobs, of which there is one, all came a moment ago; then its timer is set again."""
    cdef int64_t oldest = core.now
    cdef int priority
    for priority in range(PRIORITIES):
        if function.queues[priority].head != NULL:
            oldest = min(oldest, function.queues[priority].head.since)
    if core.now - oldest >= PATIENCE:
        return False
    return heap_put(&core.wakings, rota_spot(), function.rota, oldest + PATIENCE) == 0


cdef uint32_t room_for_jobs(Core* core, Function* function) noexcept nogil:
    """How many jobs a function with a policy, whose gate is open, may give out now, if it has so many: 1 at least."""
    cdef Policy* policy = function.policy
    cdef int64_t room = <int64_t>function.queued[0] + function.queued[1] + function.queued[2]
    if policy.concurrency:
        room = min(room, <int64_t>policy.concurrency - function.running)
    if policy.interval:
        room = min(room, (core.now + policy.slack - max(function.history.paced, core.now)) // policy.interval + 1)
    return <uint32_t>max(room, 1)
