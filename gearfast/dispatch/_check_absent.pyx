# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Absent workloads: of jobs that the store has, counted, and asked for where a queue cannot go on without them."""

from gearfast.dispatch._absent cimport is_blocked, is_settled
from gearfast.dispatch._check_tables cimport equal, fail, wrong_function, wrong_job
from gearfast.dispatch._history cimport first_letter
from gearfast.dispatch._job cimport (
    Walk,
    job_apart,
    job_by_data,
    job_is_absent,
    job_is_durable,
    job_is_large,
    job_large,
    job_slot,
    walk_begin,
    walk_next,
)
from gearfast.dispatch._journal cimport sort_late
from gearfast.dispatch._records cimport (
    APART,
    JOB_IGNORED,
    PRIORITIES,
    Absence,
    Core,
    Function,
    Job,
    Letter,
    Queue,
)

cdef struct Found:
    size_t jobs
    size_t bytes


cdef int check_absent(Core* core) except -1:
    cdef Found found
    found.jobs = found.bytes = 0
    if core.journal != NULL:
        sort_late(&core.journal.gathering.late)
    check_all(core, &found)
    check_dead(core, &found)
    if core.far == NULL:
        return equal(found.jobs, 0, "absent jobs", "without a ceiling")
    equal(found.jobs, core.far.absent, "absent jobs", "their count")
    equal(found.bytes, core.far.absent_bytes, "bytes of absent workloads", "their count")
    return check_functions(core)


cdef int check_all(Core* core, Found* found) except -1:
    cdef Walk walk
    cdef Job* job
    walk_begin(&walk)
    while True:
        job = walk_next(&core.handles, &walk)
        if job == NULL:
            return 0
        check_job(core, job, found)
        if job_is_absent(job) and job_is_durable(job) and not is_settled(core, job):
            wrong_job(job, "absent, but not in the store yet")


cdef int check_job(Core* core, Job* job, Found* found) except -1:
    cdef bint has = False
    if job.worker & APART:
        if core.far == NULL or job_is_large(job):
            wrong_job(job, "its workload lies apart, which is not wanted")
        has = job_apart(job) != NULL
    elif job_is_large(job):
        has = job_large(job).blob != NULL
    elif not job_is_absent(job):
        return 0
    if has == job_is_absent(job):
        wrong_job(job, f"it {'has' if has else 'has not'} its workload, but that is marked otherwise")
    if has:
        return 0
    if job_slot(job) or job_by_data(job):
        wrong_job(job, "absent, but it runs, or is known by its workload")
    if not job_is_durable(job) and not job.flags & JOB_IGNORED:
        wrong_job(job, "absent, but not in the store")
    found.jobs += 1
    found.bytes += job.size
    return 0


cdef int check_dead(Core* core, Found* found) except -1:
    cdef Function* function = core.first_function
    cdef Letter* letter
    while function != NULL:
        letter = first_letter(function)
        while letter != NULL:
            check_job(core, letter.job, found)
            letter = letter.next
        function = function.next
    return 0


cdef int check_functions(Core* core) except -1:
    cdef Function* function = core.first_function
    cdef Absence* absence = core.far.first
    cdef Absence* before = NULL
    cdef size_t listed = 0
    cdef bint is_there = core.far.next == NULL
    while absence != NULL:
        if absence.prev != before or absence.function.absence != absence or absence.far != core.far:
            wrong_function(absence.function, "its absent jobs are wrongly listed")
        listed += 1
        before = absence
        absence = absence.next
    if core.far.last != before:
        fail("the last function with absent jobs is not the last of its list")
    equal(listed, core.far.functions, "functions listed for absent jobs", "their count")
    while function != NULL:
        is_there = is_there or core.far.next == function
        listed -= function.absence != NULL
        check_function(core, function)
        function = function.next
    if not is_there:
        fail("the next sweep begins with a function that is gone")
    return equal(listed, 0, "functions listed for absent jobs that are gone", "that may be so")


cdef int check_function(Core* core, Function* function) except -1:
    cdef size_t count = 0
    cdef int place
    for place in range(PRIORITIES):
        count += check_queue(function, place, &function.queues[place])
    if function.history != NULL:
        count += check_queue(function, PRIORITIES, &function.history.delayed)
    if is_blocked(function) and not core.far.hungry and not core.far.asking:
        wrong_function(function, "it gives nothing out since a job is absent, but nobody is asked for its workload")
    if function.absence == NULL:
        return equal(count, 0, "absent jobs in queues", "of a function that has had none")
    return equal(count, function.absence.absent, "absent jobs in a function's queues", "their count")


cdef Py_ssize_t check_queue(Function* function, int place, Queue* queue) except -1:
    cdef Job* swept = function.absence.swept[place] if function.absence != NULL else NULL
    cdef Job* job = queue.head
    cdef size_t count = 0
    while job != NULL:
        count += job_is_absent(job)
        if job == swept:
            swept = NULL
        job = job.next
    if swept != NULL:
        wrong_function(function, "what was swept last is not in its queue")
    return count
