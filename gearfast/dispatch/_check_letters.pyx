# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `_check.pyx` asks of dead letters: each is in its function's list and in the table, its job in neither queue nor
table, and remarks are of jobs that live."""

from libc.stdint cimport int64_t

from gearfast.dispatch._check_tables cimport check_order, equal, wrong_function, wrong_job
from gearfast.dispatch._history cimport first_letter
from gearfast.dispatch._job cimport Walk, handles_get, job_slot, walk_begin, walk_next
from gearfast.dispatch._letter cimport letter_bytes, letter_find, remark_bytes, remark_find
from gearfast.dispatch._records cimport (
    JOB_STATE,
    REASONS,
    Core,
    Function,
    History,
    Job,
    Letter,
    Remark,
)


cdef Py_ssize_t check_letters(Core* core) except -1:
    """Bytes of all dead letters and remarks."""
    cdef Function* function = core.first_function
    cdef size_t letters = 0
    cdef size_t timers = 0
    cdef size_t bytes = 0
    check_order(&core.fading, "dead letters")
    while function != NULL:
        letters += check_list(core, function, &bytes, &timers)
        function = function.next
    equal(letters, core.letters.count, "dead letters in the lists of functions", "in the index")
    equal(timers, core.fading.count, "dead letters with a timer", "timers of dead letters")
    return bytes + check_remarks(core)


cdef Py_ssize_t check_list(Core* core, Function* function, size_t* bytes, size_t* timers) except -1:
    cdef History* history = function.history
    cdef Letter* letter = first_letter(function)
    cdef Letter* before = NULL
    cdef size_t count = 0
    if history == NULL:
        return 0
    while letter != NULL:
        count += 1
        if count > history.letters or letter.prev != before:
            wrong_function(function, "its dead letters are more than it counts, or a link back is wrong")
        if letter.job.function != function:
            wrong_job(letter.job, "a dead letter of another function")
        check_letter(core, letter)
        bytes[0] += letter_bytes(letter)
        timers[0] += letter.timer != 0
        before = letter
        letter = letter.next
    if history.last_letter != before:
        wrong_function(function, "the last of its dead letters is not its last one")
    equal(count, history.letters, "dead letters of a function", "it counts")
    return count


cdef int check_letter(Core* core, Letter* letter) except -1:
    cdef Job* job = letter.job
    cdef int64_t limit = job.function.policy.keep_for if job.function.policy != NULL else 0
    if letter_find(core, job.number) != letter:
        wrong_job(job, "its number does not find its dead letter")
    if handles_get(&core.handles, job.number) != NULL or job.number >= core.next_number:
        wrong_job(job, "dead, but its handle finds a job, or is to be given yet")
    if job.flags & JOB_STATE or job_slot(job) or job.waiters != NULL or job.timer:
        wrong_job(job, "dead, but it runs, waits, or is waited for")
    if letter.reason >= REASONS:
        wrong_job(job, f"dead for reason {letter.reason}")
    if letter.remark != NULL and letter.remark.number != job.number:
        wrong_job(job, "dead with the exception of another one")
    if (letter.timer != 0) != (limit != 0):
        wrong_job(job, f"dead {'with' if letter.timer else 'without'} a timer, and kept for {limit} ns")
    if letter.timer and (core.fading.entries[letter.timer - 1].item != letter
                         or core.fading.entries[letter.timer - 1].key != letter.when + limit):
        wrong_job(job, "dead with a timer that is not its own, or of another time")
    return 0


cdef Py_ssize_t check_remarks(Core* core) except -1:
    """Of jobs that live; returns their bytes."""
    cdef Walk walk
    cdef Job* job
    cdef Remark* remark
    cdef size_t bytes = 0
    cdef size_t count = 0
    walk_begin(&walk)
    while True:
        job = walk_next(&core.handles, &walk)
        if job == NULL:
            break
        remark = remark_find(core, job.number)
        if remark != NULL:
            count += 1
            bytes += remark_bytes(remark.size)
    equal(count, core.remarks.count, "remarks of jobs", "in the index")
    return bytes
