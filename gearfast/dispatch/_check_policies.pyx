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
    wrong_ability,
    wrong_function,
    wrong_job,
)
from gearfast.dispatch._records cimport (
    DISPATCH_ANY,
    HELD,
    JOB_STATE,
    LEVELS,
    PRIORITIES,
    Ability,
    Core,
    Function,
    History,
    Heap,
    Job,
    Policy,
    Rota,
)


cdef int check_policies(Core* core) except -1:
    cdef Function* function = core.first_function
    cdef dict having = {}
    cdef size_t gates = 0
    cdef size_t wakings = 0
    check_timers(&core.expiries, 0, "expiries")
    check_order(&core.gates, "gates")
    check_order(&core.wakings, "wakings")
    while function != NULL:
        if function.policy != NULL:
            having[<size_t>function.policy] = having.get(<size_t>function.policy, 0) + 1
        gates += check_gate(core, function)
        if function.rota != NULL:
            check_rota(core, function, function.rota)
            wakings += function.rota.timer != 0
        function = function.next
    equal(gates, core.gates.count, "functions with a gate that time opens", "in the heap of gates")
    equal(wakings, core.wakings.count, "functions that may have to wake others", "in the heap of wakings")
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
    cdef History* history = function.history
    cdef int64_t opens = 0
    if history == NULL:
        return 0
    if policy != NULL and policy.interval:
        opens = history.paced - policy.slack
    if history.gate:
        if history.gate > core.gates.count or core.gates.entries[history.gate - 1].item != history:
            wrong_function(function, f"it believes to be at place {history.gate} of the heap of gates")
        if opens == 0 or core.gates.entries[history.gate - 1].key != opens:
            wrong_function(function, f"its gate opens at {core.gates.entries[history.gate - 1].key}, not {opens}")
        return 1
    if opens > core.now:
        wrong_function(function, f"its rate is used up until {opens}, but its gate is open")
    return 0


cdef int check_rota(Core* core, Function* function, Rota* rota) except -1:
    """It is as the policy says, credits are within bounds, and the lines list who is HELD and who is IN_LINE."""
    cdef Policy* policy = function.policy
    cdef Ability* ability
    cdef int priority, level
    cdef int most = rota.weights[0] + rota.weights[1] + rota.weights[2]
    cdef size_t count
    if policy == NULL or rota.function != function or policy.dispatch != rota.dispatch:
        wrong_function(function, "its rota is not as its policy says")
    for priority in range(PRIORITIES):
        if policy.weights[priority] != rota.weights[priority]:
            wrong_function(function, "its rota has other weights than its policy")
        if rota.credit[priority] and not -most < rota.credit[priority] < most:
            wrong_function(function, f"a credit of {rota.credit[priority]}, where all weights are {most}")
    if rota.timer and core.wakings.entries[rota.timer - 1].item != rota:
        wrong_function(function, f"it believes to be at place {rota.timer} of the heap of wakings")
    for level in range(HELD, LEVELS):
        check_order(&rota.lines[level - HELD], "a line of workers")
        count = 0
        ability = function.able[level] if rota.dispatch != DISPATCH_ANY else NULL
        while ability != NULL:
            count += 1
            check_turn(&rota.lines[level - HELD], ability)
            ability = ability.able_next
        equal(count, rota.lines[level - HELD].count, f"registrations of level {level}", "in their function's line")
    return 0


cdef int check_turn(Heap* line, Ability* ability) except -1:
    """It is where it believes to be, by its turn."""
    if not 0 < ability.spot <= line.count or line.entries[ability.spot - 1].item != ability:
        wrong_ability(ability, f"it believes to be at place {ability.spot} of its function's line")
    if line.entries[ability.spot - 1].key != ability.turn or ability.turn > ability.function.rota.turn:
        wrong_ability(ability, f"its turn is {ability.turn}, but it stands in line otherwise")
    return 0


cdef bint is_closed(Core* core, Function* function) noexcept:
    """As `gate_closed` in _gate.pxd."""
    cdef uint32_t most = function.policy.concurrency if function.policy != NULL else 0
    return function.history != NULL and function.history.gate != 0 or most and function.running >= most


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
