# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `_check.pyx` asks of policies: who has which, and that gates and expiries are as they say."""

from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memcmp

from gearfast.dispatch._check_tables cimport (
    check_order,
    check_timers,
    equal,
    fail,
    timer_is_in,
    wrong_function,
    wrong_job,
)
from gearfast.dispatch._records cimport JOB_STATE, Core, Function, Job, Policy


cdef int check_policies(Core* core) except -1:
    cdef Function* function = core.first_function
    cdef dict having = {}
    cdef size_t gates = 0
    check_timers(&core.expiries, 0, "expiries")
    check_order(&core.gates, "gates")
    while function != NULL:
        if function.policy != NULL:
            having[<size_t>function.policy] = having.get(<size_t>function.policy, 0) + 1
        gates += check_gate(core, function)
        function = function.next
    equal(gates, core.gates.count, "functions with a gate that time opens", "in the heap of gates")
    check_records(core, having)
    return 0


cdef int check_records(Core* core, dict having) except -1:
    """`having`: functions by address of their policy."""
    cdef Policy* policy = core.policies
    cdef Policy* other
    cdef size_t head
    while policy != NULL:
        equal(policy.functions, having.pop(<size_t>policy, 0), "functions of a policy by its count", "have it")
        if policy.functions == 0:
            fail("a policy that no function has")
        head = <char*>&policy.timeout - <char*>policy
        other = policy.next
        while other != NULL:
            if memcmp(<char*>policy + head, <char*>other + head, sizeof(Policy) - head) == 0:
                fail("two records of the same policy")
            other = other.next
        policy = policy.next
    if having:
        fail("a function has a policy that is in no list")
    return 0


cdef Py_ssize_t check_gate(Core* core, Function* function) except -1:
    """Whether it is in the heap of gates, which it has to be just as long as its rate is used up."""
    cdef Policy* policy = function.policy
    cdef int64_t opens = 0
    if policy != NULL and policy.interval:
        opens = function.ahead - policy.slack
    if function.gate:
        if function.gate > core.gates.count or core.gates.entries[function.gate - 1].item != function:
            wrong_function(function, f"it believes to be at place {function.gate} of the heap of gates")
        if opens == 0 or core.gates.entries[function.gate - 1].key != opens:
            wrong_function(function, f"its gate opens at {core.gates.entries[function.gate - 1].key}, not {opens}")
        return 1
    if opens > core.now:
        wrong_function(function, f"its rate is used up until {opens}, but its gate is open")
    return 0


cdef bint is_closed(Core* core, Function* function) noexcept:
    """As `gate_closed` in _gate.pxd."""
    cdef uint32_t most = function.policy.concurrency if function.policy != NULL else 0
    return function.gate != 0 or most and function.running >= most


cdef int check_expiry(Core* core, Job* job) except -1:
    """Of a queued job."""
    cdef int64_t limit = job.function.policy.expire if job.function.policy != NULL else 0
    if job.flags & JOB_STATE:
        wrong_job(job, "no queued job")
    if (job.timer != 0) != (limit != 0):
        wrong_job(job, f"queued {'with' if job.timer else 'without'} a timer, and may be so for {limit} ns")
    if job.timer and not timer_is_in(&core.expiries, job):
        wrong_job(job, "queued with a timer that is no expiry")
    if job.timer and core.expiries.entries[job.timer - 1].key != job.since + limit:
        wrong_job(job, f"queued since {job.since} for {limit} ns, but expires at another time")
    return 0
