# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Policies in C: one record for all functions that are allowed the same. Which one is whose is `policy.py`'s business.
"""

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp

from cpython.bytes cimport PyBytes_FromStringAndSize

from gearfast.dispatch._gate cimport expiry_clear, expiry_set, gate_adjust, gate_clear, policy_release
from gearfast.dispatch._grab cimport rise_again
from gearfast.dispatch._letter cimport letter_renew
from gearfast.dispatch._notices cimport LEVEL_WARNING, note
from gearfast.dispatch._records cimport PRIORITIES, Core, Function, Job, Letter, Policy, Result
from gearfast.dispatch._result cimport result_renew

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
    cdef bint other_rate = policy == NULL or before == NULL or policy.interval != before.interval \
        or policy.slack != before.slack
    cdef bint other_keep = (policy.keep_for if policy != NULL else 0) != (before.keep_for if before != NULL else 0)
    cdef bint other_results = (policy.results_for if policy != NULL else 0) != (
        before.results_for if before != NULL else 0)
    cdef bint other_expiry = (policy.expire if policy != NULL else 0) != (before.expire if before != NULL else 0)
    function.policy = policy
    policy_release(core, before)
    if policy == before:
        return
    gate_clear(core, function)
    if other_rate:
        function.ahead = 0
    gate_adjust(core, function)
    if other_expiry:
        renew_expiries(core, function)
    if other_keep:
        renew_letters(core, function)
    if other_results:
        renew_results(core, function)
    rise_again(core, function)


cdef void renew_expiries(Core* core, Function* function) noexcept nogil:
    cdef int priority
    cdef Job* job
    for priority in range(PRIORITIES):
        job = function.queues[priority].head
        while job != NULL:
            expiry_clear(core, job)
            expiry_set(core, job)
            job = job.next


cdef void renew_letters(Core* core, Function* function) noexcept nogil:
    cdef Letter* letter = function.first_letter
    while letter != NULL:
        letter_renew(core, letter)
        letter = letter.next


cdef void renew_results(Core* core, Function* function) noexcept nogil:
    cdef Result* result = function.first_result
    while result != NULL:
        result_renew(core, result)
        result = result.next
