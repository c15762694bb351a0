# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The function `gearfast.result`, which the server answers itself: what became of a job, for clients of any language.

The workload says which job: its handle, FUNCTION NUL UNIQUE, or a unique alone. A foreground job of this function is
no job: whoever submits it joins the job that it asks for, if that is queued or runs, as if by its unique, and gets its
handle, what follows for it, and its end. Of a job that has ended comes what was kept: its progress, then its result,
exception or failure. Where there is more to say than the protocol has packets for, a WORK_WARNING begins with the
name of this function.

`gearfast.result.now` is the same without waiting.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcmp, memcpy, strlen

from gearfast._codec cimport (
    CMD_JOB_CREATED,
    CMD_WORK_COMPLETE,
    CMD_WORK_EXCEPTION,
    CMD_WORK_FAIL,
    CMD_WORK_STATUS,
    CMD_WORK_WARNING,
    Field,
)
from gearfast.dispatch._function cimport function_find
from gearfast.dispatch._job cimport handles_get, is_dash, job_unique, number_of_handle, write_handle
from gearfast.dispatch._letter cimport letter_find
from gearfast.dispatch._peer cimport too_many_waiters, waiter_add, write_packet, write_reference
from gearfast.dispatch._records cimport (
    CLAIMED,
    JOB_CANCELLED,
    JOB_DELAYED,
    JOB_IGNORED,
    JOB_RUNNING,
    OUTCOME_CANCELLED,
    OUTCOME_DONE,
    PEER_CLIENT,
    PEER_EXCEPTIONS,
    REASON_EXPIRED,
    REASON_FAILED,
    REASON_FULL,
    REASON_LOST,
    REASON_TIMEOUT,
    RESULT_DATA,
    Blob,
    Core,
    Function,
    Job,
    Letter,
    Peer,
    Result,
)
from gearfast.dispatch._result cimport result_by_unique, result_find
from gearfast.dispatch._submit cimport NO_MEMORY, QUEUE_FULL, SUBMITTED, job_for
from gearfast.dispatch._timers cimport NEVER, timer_when

cdef struct Found:              # one of these, or none
    Job* job                    # that is queued or runs
    Result* result
    Letter* letter

cdef struct Answer:             # to whom, and about which handle
    Core* core
    Peer* peer
    size_t size
    char handle[96]


# Which job

cdef inline uint64_t number_of(Found* found) noexcept nogil:
    """Of the handle of what has ended, 0 if that is nothing."""
    if found.result != NULL:
        return found.result.number
    return found.letter.job.number if found.letter != NULL else 0


cdef Letter* letter_by_unique(Core* core, Function* function, Field unique) noexcept nogil:
    """Of a function's dead letters with this unique the newest job's, or NULL. They are in no table."""
    cdef Letter* letter
    cdef Letter* newest = NULL
    if function.history == NULL:
        return NULL
    letter = function.history.last_letter
    core.effort += function.history.letters
    while letter != NULL:
        if letter.job.unique_size == unique.size and memcmp(job_unique(letter.job), unique.data, unique.size) == 0 \
                and (newest == NULL or letter.job.number > newest.job.number):
            newest = letter
        letter = letter.prev
    return newest


cdef void look_in(Core* core, Function* function, Field unique, Found* found) noexcept nogil:
    """The newest job of a function with this unique: in place of what was found before, if that is older.

    One that is queued or runs is newer than all that have ended.
    """
    cdef Found here
    here.job = job_for(core, function, unique, unique) if function.total else NULL
    here.result = NULL
    here.letter = NULL
    core.effort += 1
    if here.job != NULL:
        if found.job == NULL or here.job.number > found.job.number:
            found[0] = here
        return
    if found.job != NULL:
        return
    here.result = result_by_unique(core, function, unique)
    here.letter = letter_by_unique(core, function, unique)
    if here.result != NULL and here.letter != NULL:
        if here.letter.job.number > here.result.number:
            here.result = NULL
        else:
            here.letter = NULL
    if number_of(&here) > number_of(found):
        found[0] = here


cdef bint look_for(Core* core, Field question, Found* found) noexcept nogil:
    """Find it; whether it was asked for by its handle."""
    cdef uint64_t number = number_of_handle(core, question.data, question.size)
    cdef const char* nul
    cdef Function* function
    cdef Field unique = question
    found.job = handles_get(&core.handles, number) if number else NULL
    found.result = NULL
    found.letter = NULL
    if found.job != NULL and found.job.flags & (JOB_IGNORED | JOB_CANCELLED):
        found.job = NULL
    if number and found.job == NULL:
        found.result = result_find(core, number)
        found.letter = letter_find(core, number) if found.result == NULL else NULL
    if found.job != NULL or number_of(found):
        return True
    nul = <const char*>memchr(question.data, 0, question.size)
    if nul != NULL:
        function = function_find(core, question.data, nul - question.data)
        unique.data = nul + 1
        unique.size = question.size - (nul + 1 - question.data)
        if function != NULL and unique.size and not is_dash(unique.data, unique.size):
            look_in(core, function, unique, found)
        return False
    function = core.first_function
    while function != NULL and unique.size and not is_dash(unique.data, unique.size):
        look_in(core, function, unique, found)
        function = function.next
    return number != 0


cdef bint is_answerable(Core* core, Field question) noexcept nogil:
    """Whether jobs that may still be in the store cannot change the answer: a newer one may have the same unique."""
    cdef Found found
    cdef bint by_handle = look_for(core, question, &found)
    return found.job != NULL or by_handle and number_of(&found) != 0


# What is answered

cdef inline char* say(Answer* to, uint32_t command, size_t more) noexcept nogil:
    """A packet that begins with the handle and a NUL; returns where the other `more` bytes go, NULL if nowhere."""
    cdef char* at = write_packet(to.core, to.peer, command, to.size + 1 + more)
    if at == NULL:
        return NULL
    memcpy(at, to.handle, to.size)
    at[to.size] = 0
    return at + to.size + 1


cdef void say_data(Answer* to, uint32_t command, const char* data, size_t size, Blob* blob) noexcept nogil:
    cdef char* at
    if blob != NULL:
        at = write_reference(to.core, to.peer, command, to.size + 1, blob, data, size)
        if at != NULL:
            memcpy(at, to.handle, to.size)
            at[to.size] = 0
        return
    at = say(to, command, size)
    if at != NULL and size:
        memcpy(at, data, size)


cdef void say_only(Answer* to, uint32_t command) noexcept nogil:
    """JOB_CREATED, WORK_FAIL: the handle alone. It never ends in a NUL: libgearman would ignore it."""
    cdef char* at = write_packet(to.core, to.peer, command, to.size)
    if at != NULL:
        memcpy(at, to.handle, to.size)


cdef void say_progress(Answer* to, uint32_t numerator, uint32_t denominator) noexcept nogil:
    """The last that the worker said of it, if it did."""
    cdef char text[32]
    cdef int size
    if numerator or denominator:
        size = snprintf(text, sizeof(text), "%u%c%u", numerator, 0, denominator)
        say_data(to, CMD_WORK_STATUS, text, <size_t>size, NULL)


cdef void warn(Answer* to, const char* text) noexcept nogil:
    say_data(to, CMD_WORK_WARNING, text, strlen(text), NULL)


cdef void say_failure(Answer* to, int outcome) noexcept nogil:
    """Why it failed if that is not its worker's WORK_FAIL, then WORK_FAIL."""
    if outcome == REASON_LOST:
        warn(to, "gearfast.result: LOST The job was lost with its workers, too often to be tried again")
    elif outcome == REASON_TIMEOUT:
        warn(to, "gearfast.result: TIMEOUT No worker ended the job in time")
    elif outcome == REASON_EXPIRED:
        warn(to, "gearfast.result: EXPIRED No worker took the job in time")
    elif outcome == REASON_FULL:
        warn(to, "gearfast.result: FULL The job had to make room in a full queue")
    elif outcome == OUTCOME_CANCELLED:
        warn(to, "gearfast.result: CANCELLED The job was cancelled")
    say_only(to, CMD_WORK_FAIL)


cdef void say_result(Answer* to, Result* result) noexcept nogil:
    cdef char line[80]
    say_progress(to, result.numerator, result.denominator)
    if result.outcome == OUTCOME_DONE and result.flags & RESULT_DATA:
        say_data(to, CMD_WORK_COMPLETE, result.data, result.size, result.blob)
    elif result.outcome == OUTCOME_DONE:
        snprintf(line, sizeof(line), "gearfast.result: TOO_LARGE %u bytes were not kept", result.size)
        warn(to, line)
        say_only(to, CMD_WORK_FAIL)
    elif result.flags & RESULT_DATA and takes_exceptions(to):
        say_data(to, CMD_WORK_EXCEPTION, result.data, result.size, result.blob)
    elif result.size and not result.flags & RESULT_DATA:
        snprintf(line, sizeof(line), "gearfast.result: FAILED Its exception of %u bytes was not kept", result.size)
        warn(to, line)
        say_only(to, CMD_WORK_FAIL)
    else:
        say_failure(to, result.outcome)


cdef inline bint takes_exceptions(Answer* to) noexcept nogil:
    return to.core.exceptions or to.peer.flags & PEER_EXCEPTIONS


cdef void say_letter(Answer* to, Letter* letter) noexcept nogil:
    """A dead letter is the result of its job."""
    if letter.reason == REASON_FAILED and letter.remark != NULL and takes_exceptions(to):
        say_data(to, CMD_WORK_EXCEPTION, letter.remark.data, letter.remark.size, NULL)
    else:
        say_failure(to, letter.reason)


cdef inline bint has_no_claim(Core* core, Job* job) noexcept nogil:
    """Whether its handle is not certain yet: the store decides whether it is this job that has its unique.

    Who does not wait for it would not hear of it by the other one's.
    """
    return job.worker & CLAIMED and job.flags & JOB_DELAYED and timer_when(&core.schedule, job) == NEVER


cdef int say_job(Answer* to, Job* job, bint waits) noexcept nogil:
    """Of a job that has not ended: an Outcome."""
    if waits:
        if too_many_waiters(to.core):
            return QUEUE_FULL
        if waiter_add(to.core, to.peer, job) < 0:
            return NO_MEMORY
    say_only(to, CMD_JOB_CREATED)
    say_progress(to, job.numerator, job.denominator)
    if not waits:
        if job.flags & JOB_RUNNING:
            warn(to, "gearfast.result: NOT_ENDED The job runs")
        else:
            warn(to, "gearfast.result: NOT_ENDED The job is queued")
        say_only(to, CMD_WORK_FAIL)
    return SUBMITTED


cdef int ask(Core* core, Peer* peer, Field function, Field question) noexcept nogil:
    """A foreground job of a reserved function. SUBMITTED if it was answered, else the Outcome that wants an ERROR."""
    cdef Found found
    cdef Answer to
    cdef uint64_t number
    cdef bint waits = function.size == RESULT_NAME
    to.core = core
    to.peer = peer
    peer.flags |= PEER_CLIENT
    look_for(core, question, &found)
    number = found.job.number if found.job != NULL else number_of(&found)
    if number == 0 or found.job != NULL and not waits and has_no_claim(core, found.job):
        number = core.next_number   # a handle that no job has or will have
        core.next_number += 1
    to.size = write_handle(core, to.handle, number)
    if found.job != NULL:
        return say_job(&to, found.job, waits)
    say_only(&to, CMD_JOB_CREATED)
    if found.result != NULL:
        say_result(&to, found.result)
    elif found.letter != NULL:
        say_letter(&to, found.letter)
    else:
        warn(&to, "gearfast.result: UNKNOWN_JOB No job, result or dead letter is known by that")
        say_only(&to, CMD_WORK_FAIL)
    return SUBMITTED
