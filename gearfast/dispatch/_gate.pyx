# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a policy does where jobs are queued and given out: gates, expiries, time-outs."""

from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport free

from gearfast.dispatch._heap cimport heap_put, heap_take
from gearfast.dispatch._records cimport Core, Function, History, Job, Policy
from gearfast.dispatch._timers cimport timer_set

cdef int64_t LONGEST = 1000000000000000000      # ns, 31 years


cdef inline size_t gate_spot() noexcept nogil:
    cdef History some
    return <size_t>(<char*>&some.gate - <char*>&some)


cdef bint gate_is_closed(Function* function) noexcept nogil:
    """Of a function with a policy."""
    return function.history != NULL and function.history.gate != 0 \
        or function.policy.concurrency and function.running >= function.policy.concurrency


cdef void expiry_begin(Core* core, Job* job) noexcept nogil:
    """Of such a function's job. Without memory for its timer it does not expire."""
    if job.function.policy.expire:
        timer_set(&core.expiries, job, job.since + job.function.policy.expire)


# Rates: a job uses up `interval` from now, or from where the jobs before it end; these may be `slack` ahead of now.

cdef void gate_pass(Core* core, Function* function) noexcept nogil:
    """A job of a function with a policy is given out; its gate is open."""
    cdef History* history = function.history
    if function.policy.interval:
        history.paced = max(history.paced, core.now) + function.policy.interval
        gate_adjust(core, function)


cdef void gate_adjust(Core* core, Function* function) noexcept nogil:
    """Close an open gate if the rate is used up. Without memory for its timer it stays open: none opened it again."""
    cdef int64_t opens
    if function.policy != NULL and function.policy.interval and function.history != NULL:
        opens = function.history.paced - function.policy.slack
        if opens > core.now:
            heap_put(&core.gates, gate_spot(), function.history, opens)


cdef Function* gate_due(Core* core) noexcept nogil:
    """The function whose gate may be opened since longest ago, or NULL."""
    if core.gates.count and core.gates.entries[0].key <= core.now:
        return (<History*>core.gates.entries[0].item).function
    return NULL


cdef void gate_clear(Core* core, Function* function) noexcept nogil:
    """Open the gate, as far as the rate goes."""
    if function.history != NULL and function.history.gate:
        heap_take(&core.gates, gate_spot(), function.history)


cdef void policy_release(Core* core, Policy* policy) noexcept nogil:
    """One function less has it; NULL stands for none. The last one takes it along."""
    cdef Policy** link = &core.policies
    if policy == NULL:
        return
    policy.functions -= 1
    if policy.functions:
        return
    while link[0] != policy:
        link = &link[0].next
    link[0] = policy.next
    free(policy)


# Backoff

cdef uint64_t draw(Core* core) noexcept nogil:
    """The next random number (splitmix64)."""
    cdef uint64_t mixed
    core.chance += <uint64_t>0x9E3779B97F4A7C15
    mixed = core.chance
    mixed = (mixed ^ (mixed >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    mixed = (mixed ^ (mixed >> 27)) * <uint64_t>0x94D049BB133111EB
    return mixed ^ (mixed >> 31)


cdef int64_t backoff_of(Core* core, Policy* policy, int tries) noexcept nogil:
    """How long a job waits that was tried so often, ns."""
    cdef int64_t most = policy.backoff_max if policy.backoff_max else LONGEST
    cdef int64_t wait = min(policy.backoff, most)
    if policy.exponential:
        while tries > 1 and wait < most:
            wait = wait * 2 if wait <= most // 2 else most
            tries -= 1
    if policy.jitter:
        wait -= <int64_t>(draw(core) % <uint64_t>(wait // 2 + 1))
    return wait
