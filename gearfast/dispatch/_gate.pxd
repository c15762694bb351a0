# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What a policy does where jobs are queued and given out: gates, expiries, time-outs.

A function's gate is closed while as many of its jobs run as may at once, or while its rate is used up; then it has
nothing to give. A function without a policy costs the test of one pointer.
"""

from libc.stdint cimport int64_t

from gearfast.dispatch._records cimport Core, Function, Job, Policy
from gearfast.dispatch._timers cimport timer_clear

cdef bint gate_is_closed(Function* function) noexcept nogil
cdef void expiry_begin(Core* core, Job* job) noexcept nogil
cdef void gate_pass(Core* core, Function* function) noexcept nogil
cdef Function* gate_due(Core* core) noexcept nogil
cdef void gate_clear(Core* core, Function* function) noexcept nogil
cdef void gate_adjust(Core* core, Function* function) noexcept nogil
cdef void policy_release(Core* core, Policy* policy) noexcept nogil
cdef int64_t backoff_of(Core* core, Policy* policy, int tries) noexcept nogil


cdef inline bint gate_closed(Function* function) noexcept nogil:
    return function.policy != NULL and gate_is_closed(function)


cdef inline bint gate_opens(Function* function) noexcept nogil:
    """Whether the end of the job that ran last has made room for another one."""
    return function.policy != NULL and function.policy.concurrency \
        and function.running + 1 == function.policy.concurrency


cdef inline void expiry_set(Core* core, Job* job) noexcept nogil:
    """A job has come into its queue."""
    if job.function.policy != NULL:
        expiry_begin(core, job)


cdef inline void expiry_clear(Core* core, Job* job) noexcept nogil:
    """It has left it."""
    if job.timer:
        timer_clear(&core.expiries, job)


cdef inline int64_t policy_timeout(Policy* policy, int64_t timeout) noexcept nogil:
    """The shorter one of the policy's and the worker's, ns; 0 none."""
    return policy.timeout if policy.timeout and (timeout == 0 or policy.timeout < timeout) else timeout
