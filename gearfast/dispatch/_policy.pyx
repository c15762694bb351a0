# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Policies in C: one record for all functions that are allowed the same. Which one is whose is `policy.py`'s business.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from cpython.bytes cimport PyBytes_FromStringAndSize

from gearfast.dispatch._ability cimport ability_move
from gearfast.dispatch._gate cimport expiry_clear, expiry_set, gate_adjust, gate_clear, policy_release
from gearfast.dispatch._grab cimport rise_for_all
from gearfast.dispatch._history cimport first_letter, first_result
from gearfast.dispatch._letter cimport letter_renew
from gearfast.dispatch._notices cimport LEVEL_WARNING, note
from gearfast.dispatch._records cimport (
    DISPATCH_ANY,
    DISPATCH_LEAST_LOADED,
    DISPATCH_ROUND_ROBIN,
    HELD,
    IN_LINE,
    LEVELS,
    PEER_ASLEEP,
    PEER_LINES,
    PEER_NOTICED,
    PRIORITIES,
    Ability,
    Core,
    Function,
    Job,
    Letter,
    Policy,
    Result,
)
from gearfast.dispatch._result cimport result_renew
from gearfast.dispatch._turns cimport has_lines, line_put, line_take, rota_fit, turn_taken

DISPATCHES = {"round-robin": DISPATCH_ROUND_ROBIN, "least-loaded": DISPATCH_LEAST_LOADED}
cdef const char* NO_POLICY = "no memory for the policy of a function: it has none"


cdef inline int64_t ns(seconds):
    return <int64_t>(min(seconds or 0.0, 1e9) * 1e9)


cdef int fill(Core* core, Policy* policy, wanted) except -1:
    """From a FunctionPolicy; what it does not set is as the server's settings, or policy.py, say."""
    cdef int i
    policy.timeout = ns(wanted.timeout)
    policy.backoff = ns(wanted.backoff)
    policy.backoff_max = ns(300.0 if wanted.backoff_max is None else wanted.backoff_max)
    policy.exponential = wanted.backoff_kind != "fixed"
    policy.jitter = wanted.has_jitter
    policy.expire = ns(wanted.expire)
    policy.keep_for = ns(wanted.keep_failed_for)
    policy.keep = wanted.keep_failed or 0
    policy.results_for = ns(wanted.keep_results_for)
    policy.results = wanted.keep_results or 0
    policy.result_size = wanted.keep_results_size or 0
    policy.interval = wanted.interval_ns
    policy.slack = min((wanted.burst_size - 1) * wanted.interval_ns, 10**18)
    for i in range(PRIORITIES):
        policy.queue[i] = wanted.max_queue[i] if wanted.max_queue is not None else 0
    policy.concurrency = wanted.concurrency or 0
    policy.tries = core.retries_limit if wanted.tries is None else wanted.tries
    policy.retry_on_fail = bool(wanted.retry_on_fail)
    policy.drop_oldest = wanted.full == "drop-oldest"
    policy.dispatch = DISPATCHES.get(wanted.dispatch, DISPATCH_ANY)
    for i in range(PRIORITIES):
        policy.weights[i] = wanted.shares[i]
    return 0


cdef Policy* hold(Core* core, wanted) except? NULL:
    """The record of a FunctionPolicy, held for one more function; NULL of None."""
    cdef Policy* policy
    cdef Policy* same = core.policies
    cdef size_t head
    if wanted is None:
        return NULL
    policy = <Policy*>calloc(1, sizeof(Policy))
    if policy == NULL:
        raise MemoryError
    head = <char*>&policy.timeout - <char*>policy
    try:
        fill(core, policy, wanted)
    except BaseException:
        free(policy)
        raise
    while same != NULL and memcmp(<char*>same + head, <char*>policy + head, sizeof(Policy) - head) != 0:
        same = same.next
    if same != NULL:
        free(policy)
        policy = same
    else:
        policy.next = core.policies
        core.policies = policy
    policy.functions += 1
    return policy


cdef Policy* policy_of(Core* core, Function* function) except? NULL:
    """The one that the function's name is given now, held for it."""
    name = PyBytes_FromStringAndSize(function.name, function.size).decode("utf-8", "surrogateescape")
    return hold(core, (<object>core.owner).policies.resolve(name))


cdef void resolve(Core* core, Function* function) noexcept with gil:
    """Of a new function, which has neither jobs nor workers."""
    try:
        function.policy = policy_of(core, function)
        rota_fit(core, function)
    except Exception:
        note(core, LEVEL_WARNING, NO_POLICY, len(NO_POLICY))


cdef int resolve_all(Core* core) except -1:
    """The policies have changed: each function gets the one that it has now."""
    cdef Function* function = core.first_function
    core.resolve = NULL
    if (<object>core.owner).policies:
        core.resolve = resolve
    while function != NULL:
        adopt(core, function, policy_of(core, function))
        function = function.next
    return 0


cdef void adopt(Core* core, Function* function, Policy* policy) noexcept nogil:
    """Change a function's policy, whatever it has. Jobs that run keep the time-out with which they were given out."""
    cdef Policy* before = function.policy
    cdef bint had_lines
    cdef bint other_rate = policy == NULL or before == NULL or policy.interval != before.interval \
        or policy.slack != before.slack
    cdef bint other_keep = (policy.keep_for if policy != NULL else 0) != (before.keep_for if before != NULL else 0)
    cdef bint other_results = (policy.results_for if policy != NULL else 0) != (
        before.results_for if before != NULL else 0)
    cdef bint other_expiry = (policy.expire if policy != NULL else 0) != (before.expire if before != NULL else 0)
    if policy == before:
        policy_release(core, before)
        return
    had_lines = has_lines(function)
    leave_lines(function)
    function.policy = policy
    policy_release(core, before)
    rota_fit(core, function)
    form_lines(function, had_lines)
    gate_clear(core, function)
    if other_rate and function.history != NULL:
        function.history.paced = 0
    gate_adjust(core, function)
    if other_expiry:
        renew_expiries(core, function)
    if other_keep:
        renew_letters(core, function)
    if other_results:
        renew_results(core, function)
    rise_for_all(core, function)


cdef void leave_lines(Function* function) noexcept nogil:
    """Until `form_lines` the function has no lines."""
    cdef Ability* ability
    if not has_lines(function):
        return
    while function.able[IN_LINE] != NULL:
        ability_move(function.able[IN_LINE], 0)
    ability = function.able[HELD]
    while ability != NULL:
        if ability.spot:
            line_take(ability, HELD)
        ability = ability.able_next
    function.rota.dispatch = DISPATCH_ANY


cdef void form_lines(Function* function, bint had_lines) noexcept nogil:
    """Its workers stand in line, if it has a dispatch; where it had none before, in the order of its lists."""
    cdef Ability* ability
    cdef Ability* after
    cdef int level
    if not has_lines(function):
        return
    for level in range(0 if had_lines else LEVELS):
        ability = function.able[level]
        while ability != NULL:
            ability.peer.flags |= PEER_LINES
            turn_taken(ability)
            ability = ability.able_next
    ability = function.able[HELD]
    while ability != NULL:
        after = ability.able_next
        if line_put(ability, HELD) < 0:
            ability_move(ability, 0)
        ability = after
    ability = function.able[0]
    while ability != NULL:
        after = ability.able_next
        if ability.peer.flags & (PEER_ASLEEP | PEER_NOTICED) == PEER_ASLEEP:
            ability_move(ability, IN_LINE)
        ability = after


cdef void renew_expiries(Core* core, Function* function) noexcept nogil:
    """From the last to the first, then from the first to the last: so they leave a heap, and come into it, at its end.
    """
    cdef int priority
    cdef Job* job
    for priority in range(PRIORITIES):
        job = function.queues[priority].tail
        while job != NULL:
            expiry_clear(core, job)
            job = job.prev
    for priority in range(PRIORITIES):
        job = function.queues[priority].head
        while job != NULL:
            expiry_set(core, job)
            job = job.next


cdef void renew_letters(Core* core, Function* function) noexcept nogil:
    cdef Letter* letter = first_letter(function)
    while letter != NULL:
        letter_renew(core, letter)
        letter = letter.next


cdef void renew_results(Core* core, Function* function) noexcept nogil:
    cdef Result* result = first_result(function)
    while result != NULL:
        result_renew(core, result)
        result = result.next
