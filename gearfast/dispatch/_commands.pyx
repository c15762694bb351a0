# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What each packet does: one function a command, found in `HANDLERS` by its number; its wire form is its comment.

A function parses its arguments, calls the rules (`_submit`, `_grab`, `_end`, `_life`) and answers.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, UINT32_MAX, int64_t, uint8_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, strlen

from gearfast._codec cimport (
    CMD_CAN_DO,
    CMD_CAN_DO_TIMEOUT,
    CMD_CANT_DO,
    CMD_ECHO_REQ,
    CMD_ECHO_RES,
    CMD_ERROR,
    CMD_GET_STATUS,
    CMD_GET_STATUS_UNIQUE,
    CMD_GRAB_JOB,
    CMD_GRAB_JOB_ALL,
    CMD_GRAB_JOB_UNIQ,
    CMD_OPTION_REQ,
    CMD_OPTION_RES,
    CMD_PRE_SLEEP,
    CMD_RESET_ABILITIES,
    CMD_SET_CLIENT_ID,
    CMD_STATUS_RES,
    CMD_STATUS_RES_UNIQUE,
    CMD_SUBMIT_JOB,
    CMD_SUBMIT_JOB_BG,
    CMD_SUBMIT_JOB_EPOCH,
    CMD_SUBMIT_JOB_HIGH,
    CMD_SUBMIT_JOB_HIGH_BG,
    CMD_SUBMIT_JOB_LOW,
    CMD_SUBMIT_JOB_LOW_BG,
    CMD_SUBMIT_JOB_SCHED,
    CMD_SUBMIT_REDUCE_JOB,
    CMD_SUBMIT_REDUCE_JOB_BACKGROUND,
    CMD_WORK_COMPLETE,
    CMD_WORK_DATA,
    CMD_WORK_EXCEPTION,
    CMD_WORK_FAIL,
    CMD_WORK_STATUS,
    CMD_WORK_WARNING,
    Field,
    Frame,
)
from gearfast.dispatch._ask cimport ask, is_reserved
from gearfast.dispatch._blob cimport LARGE
from gearfast.dispatch._function cimport function_find
from gearfast.dispatch._job cimport HANDLE_ROOM, job_by_handle, job_is_of, job_waiting, write_handle
from gearfast.dispatch._end cimport fail_waiters, finish
from gearfast.dispatch._grab cimport grab, sleep_or_wake
from gearfast.dispatch._life cimport fail_allowed, finish_allowed, register, try_again, unregister, unregister_all
from gearfast.dispatch._journal cimport journal_ask, journal_fence, may_ask
from gearfast.dispatch._letter cimport remark_put
from gearfast.dispatch._submit cimport (
    NO_MEMORY,
    NOT_STORED,
    QUEUE_FULL,
    RESERVED,
    UNIQUE_TOO_LARGE,
    Submission,
    job_by_unique,
    submit,
)
from gearfast.dispatch._notices cimport LEVEL_WARNING, note
from gearfast.dispatch._peer cimport Body, body_drop, body_hold, write_body, write_packet
from gearfast.dispatch._records cimport (
    ARGUMENT_TOO_LARGE,
    HIGH,
    INVALID_ARGUMENT,
    INVALID_COMMAND,
    INVALID_MAGIC,
    JOB_CANCELLED,
    JOB_NOT_FOUND,
    JOB_RUNNING,
    LOW,
    NORMAL,
    OUTCOME_DONE,
    PEER_ALL_YOURS,
    PEER_EXCEPTIONS,
    PEER_LINES,
    QUEUE_ERROR,
    UNKNOWN_OPTION,
    Core,
    Function,
    Job,
    Peer,
    Waiter,
)
from gearfast.dispatch._result cimport result_keep
from gearfast.dispatch._words cimport is_word

ctypedef void (*Handler)(Core* core, Peer* peer, Frame* frame) noexcept nogil

cdef enum:
    ARGUMENT_LIMIT = 8191       # of what is echoed as an argument that ends in a NUL
    NAME_LIMIT = 127            # of a client id
    TEXT_LIMIT = 63             # of a handle or an option
    CALENDAR_EFFORT = 2000      # what a schedule costs, in records walked

cdef const char* CODES[7]
CODES[:] = [
    "INVALID_MAGIC", "INVALID_COMMAND", "INVALID_ARGUMENT", "ARGUMENT_TOO_LARGE", "QUEUE_ERROR", "JOB_NOT_FOUND",
    "UNKNOWN_OPTION",
]

cdef Handler HANDLERS[43]
cdef uint8_t PRIORITY_OF[43]
cdef uint8_t BACKGROUND[43]

cdef int64_t NS = 1000000000


cdef void handle_packet(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    """Do what a whole packet asks for."""
    core.stats.commands[frame.command] += 1
    if frame.is_response:
        refuse(core, peer, INVALID_MAGIC, "Request magic expected")
    else:
        HANDLERS[frame.command](core, peer, frame)


cdef void refuse(Core* core, Peer* peer, int why, const char* text) noexcept nogil:
    """ERROR: code, text. The connection stays usable."""
    cdef const char* code = CODES[why]
    cdef size_t code_size = strlen(code)
    cdef size_t text_size = strlen(text)
    cdef char line[128]
    cdef char* at = write_packet(core, peer, CMD_ERROR, code_size + 1 + text_size)
    core.stats.errors[why] += 1
    if at == NULL:
        return
    memcpy(at, code, code_size + 1)
    memcpy(at + code_size + 1, text, text_size)
    note(core, LEVEL_WARNING, line, <size_t>snprintf(line, sizeof(line), "GEARMAN_%s:%s", code, text))


cdef void unexpected(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    refuse(core, peer, INVALID_COMMAND, "Command not expected")


cdef enum Parsed:
    NOT_A_NUMBER = 0
    A_NUMBER = 1
    TOO_LARGE = 2


cdef inline bint is_digit(char letter) noexcept nogil:
    return c'0' <= letter <= c'9'


cdef int parse_number(const Field* text, int64_t* value) noexcept nogil:
    """As C's strtoll: white space, a sign, digits; the rest is ignored, and what is too large is saturated."""
    cdef size_t i = 0
    cdef bint negative = False
    cdef int found = NOT_A_NUMBER
    cdef int64_t number = 0
    cdef int digit
    while i < text.size and (text.data[i] == c' ' or 9 <= text.data[i] <= 13):
        i += 1
    if i < text.size and (text.data[i] == c'-' or text.data[i] == c'+'):
        negative = text.data[i] == c'-'
        i += 1
    while i < text.size and is_digit(text.data[i]):
        digit = text.data[i] - c'0'
        if negative and number == INT64_MAX // 10 and digit == 8:
            value[0] = INT64_MIN    # the one number whose opposite does not fit
            return TOO_LARGE if i + 1 < text.size and is_digit(text.data[i + 1]) else A_NUMBER
        if number > (INT64_MAX - digit) // 10:
            value[0] = INT64_MIN if negative else INT64_MAX
            return TOO_LARGE
        number = number * 10 + digit
        found = A_NUMBER
        i += 1
    value[0] = -number if negative else number
    return found


cdef uint32_t parse_u32(const Field* text) noexcept nogil:
    """A status number as gearmand prints it: negative ones wrap, larger ones stay at the largest."""
    cdef int64_t value
    parse_number(text, &value)
    if value > <int64_t>UINT32_MAX:
        return UINT32_MAX
    return <uint32_t>value


cdef inline Field until_nul(Field text) noexcept nogil:
    cdef const char* nul = <const char*>memchr(text.data, 0, text.size)
    if nul != NULL:
        text.size = nul - text.data
    return text


# Client: submissions

cdef void answer(Core* core, Peer* peer, int outcome) noexcept nogil:
    if outcome == UNIQUE_TOO_LARGE:
        refuse(core, peer, ARGUMENT_TOO_LARGE, "Unique value too large")
    elif outcome == QUEUE_FULL:
        refuse(core, peer, QUEUE_ERROR, "Job queue is full")
    elif outcome == NOT_STORED:
        refuse(core, peer, QUEUE_ERROR, "The job could not be stored")
    elif outcome == RESERVED:
        refuse(core, peer, INVALID_ARGUMENT, "The server answers this function itself, in the foreground only")
    elif outcome == NO_MEMORY:
        refuse(core, peer, QUEUE_ERROR, "QUEUE_ERROR")


cdef inline void begin(Submission* wanted, Frame* frame) noexcept nogil:
    """What all submissions have: function and unique first, workload last."""
    wanted.function = frame.args[0]
    wanted.unique = frame.args[1]
    wanted.reducer.data = NULL
    wanted.reducer.size = 0
    wanted.workload = frame.args[frame.count - 1]
    wanted.priority = PRIORITY_OF[frame.command]
    wanted.background = BACKGROUND[frame.command]
    wanted.due = 0


# SUBMIT_JOB, _HIGH, _LOW, _BG, _HIGH_BG, _LOW_BG: function, unique, workload
cdef void cmd_submit_job(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Submission wanted
    cdef int outcome
    begin(&wanted, frame)
    outcome = submit(core, peer, &wanted)
    if outcome == RESERVED and not wanted.background:
        outcome = ask(core, peer, wanted.function, wanted.workload)
    answer(core, peer, outcome)


# SUBMIT_REDUCE_JOB, _BACKGROUND: function, unique, reducer, aggregator, workload
cdef void cmd_submit_reduce_job(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Submission wanted
    begin(&wanted, frame)
    if frame.args[2].size:
        wanted.reducer = frame.args[2]
    if wanted.reducer.size > 64:
        answer(core, peer, UNIQUE_TOO_LARGE)
    else:
        answer(core, peer, submit(core, peer, &wanted))


# SUBMIT_JOB_EPOCH: function, unique, seconds since 1970, workload
cdef void cmd_submit_job_epoch(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Submission wanted
    cdef int64_t seconds
    begin(&wanted, frame)
    if parse_number(&frame.args[2], &seconds) == TOO_LARGE:
        refuse(core, peer, INVALID_ARGUMENT, "Time is beyond 64 bits")
        return
    submit_at(core, peer, &wanted, seconds)


cdef void submit_at(Core* core, Peer* peer, Submission* wanted, int64_t seconds) noexcept nogil:
    if seconds > core.wall // NS:
        wanted.due = seconds * NS if seconds < INT64_MAX // NS else INT64_MAX
    answer(core, peer, submit(core, peer, wanted))


# SUBMIT_JOB_SCHED: function, unique, minute, hour, day, month, weekday, workload
cdef void cmd_submit_job_sched(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Submission wanted
    cdef int64_t seconds
    begin(&wanted, frame)
    core.effort += CALENDAR_EFFORT
    seconds = next_match(core, frame)
    if seconds < 0:
        refuse(core, peer, INVALID_ARGUMENT,
               "Schedule wants minute 0-59, hour 0-23, day 1-31, month 1-12, weekday 0-6, or * for any")
    else:
        submit_at(core, peer, &wanted, seconds)


cdef int64_t next_match(Core* core, Frame* frame) noexcept with gil:
    """Seconds since 1970 of the schedule's next match, -1 if there is none. Calendars are Python's business."""
    cdef int i
    cdef list fields = []
    try:
        for i in range(2, 7):
            fields.append((<bytes>frame.args[i].data[:frame.args[i].size]).decode("ascii"))
        return (<object>core.owner)._next_match(fields, core.wall / 1e9)
    except Exception:   # of a calendar that the server was given: no schedule, and no end of the server
        return -1


# Client: questions

# GET_STATUS: handle -> STATUS_RES: handle, known, running, numerator, denominator
cdef void cmd_get_status(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Field handle = until_nul(frame.args[0])
    answer_status(core, peer, CMD_STATUS_RES, handle, job_by_handle(core, handle.data, handle.size))


# GET_STATUS_UNIQUE: unique -> STATUS_RES_UNIQUE: unique, known, running, numerator, denominator, waiting clients
cdef void cmd_get_status_unique(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Field unique = until_nul(frame.args[0])
    cdef Job* job = job_by_unique(core, unique.data, unique.size)
    if job == NULL and may_ask(core, unique):
        journal_ask(core, peer, unique)
    answer_status(core, peer, CMD_STATUS_RES_UNIQUE, unique, job)


cdef void answer_status(Core* core, Peer* peer, int command, Field key, Job* job) noexcept nogil:
    cdef char text[64]
    cdef int size
    cdef uint32_t waiting
    cdef bint known = job != NULL and not job.flags & JOB_CANCELLED
    cdef char* at
    if peer.fence:
        journal_fence(core, peer)
    size = snprintf(
        text, sizeof(text), "%c%c%c%c%u%c%u", <int>(c'1' if known else c'0'), 0,
        <int>(c'1' if known and job.flags & JOB_RUNNING else c'0'), 0,
        <uint32_t>(job.numerator if known else 0), 0, <uint32_t>(job.denominator if known else 0),
    )
    if command == CMD_STATUS_RES_UNIQUE:
        waiting = job_waiting(job) if known else 0
        size += 1 + snprintf(text + size + 1, sizeof(text) - size - 1, "%u", waiting)
    key.size = min(key.size, <size_t>ARGUMENT_LIMIT)
    at = write_packet(core, peer, command, key.size + 1 + size)
    if at == NULL:
        return
    memcpy(at, key.data, key.size)
    at[key.size] = 0
    memcpy(at + key.size + 1, text, size)


# ECHO_REQ: data -> ECHO_RES: data
cdef void cmd_echo_req(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Body body
    if peer.fence:
        journal_fence(core, peer)
    body_hold(core, &body, frame.args[0].data, frame.args[0].size)
    write_body(core, peer, CMD_ECHO_RES, &body)
    body_drop(core, &body)


# OPTION_REQ: option -> OPTION_RES: option
cdef void cmd_option_req(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Field option = until_nul(frame.args[0])
    cdef char* at
    if option.size <= TEXT_LIMIT and is_word(option, "exceptions"):
        peer.flags |= PEER_EXCEPTIONS
    elif is_word(option, "all_yours"):
        peer.flags |= PEER_ALL_YOURS
    elif is_word(option, "results"):
        pass    # a question only: whether the server answers gearfast.result
    else:
        refuse(core, peer, UNKNOWN_OPTION, "Server does not recognize given option")
        return
    at = write_packet(core, peer, CMD_OPTION_RES, frame.args[0].size)
    if at != NULL:
        memcpy(at, frame.args[0].data, frame.args[0].size)


# Worker: abilities

# CAN_DO: function
cdef void cmd_can_do(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    add_ability(core, peer, frame.args[0], 0)


cdef void add_ability(Core* core, Peer* peer, Field function, float timeout) noexcept nogil:
    """A worker may say that it can do what the server answers itself, but gets no such job: no reply is due to it."""
    cdef const char* told = "a worker registers a function that the server answers itself: it gets no jobs of it"
    if is_reserved(function):
        note(core, LEVEL_WARNING, told, strlen(told))
    elif register(core, peer, function.data, function.size, timeout) < 0:
        refuse(core, peer, QUEUE_ERROR, "No memory for further functions")


# CAN_DO_TIMEOUT: function, milliseconds
cdef void cmd_can_do_timeout(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef int64_t ms
    if parse_number(&frame.args[1], &ms) == TOO_LARGE:
        refuse(core, peer, INVALID_ARGUMENT, "Time-out is beyond 64 bits")
        return
    if ms <= 0:
        ms = 0
    elif ms < 1000:
        ms = 1000
    add_ability(core, peer, frame.args[0], <float>ms)


# CANT_DO: function
cdef void cmd_cant_do(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Function* function = function_find(core, frame.args[0].data, frame.args[0].size)
    if function != NULL:
        unregister(core, peer, function)


# RESET_ABILITIES
cdef void cmd_reset_abilities(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    unregister_all(core, peer)


# SET_CLIENT_ID: id
cdef void cmd_set_client_id(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef size_t size = min(frame.args[0].size, <size_t>NAME_LIMIT)
    cdef char* name = <char*>malloc(size + 1)
    if name == NULL:
        return
    memcpy(name, frame.args[0].data, size)
    name[size] = 0
    free(peer.name)
    peer.name = name


# Worker: jobs

# GRAB_JOB, GRAB_JOB_UNIQ, GRAB_JOB_ALL -> JOB_ASSIGN, JOB_ASSIGN_UNIQ, JOB_ASSIGN_ALL or NO_JOB
cdef void cmd_grab_job(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    if core.wakeup or peer.flags & PEER_LINES:
        core.effort += peer.ability_count       # of one that was asleep all are looked at
    grab(core, peer, frame.command)


# PRE_SLEEP -> nothing, or NOOP if there is work
cdef void cmd_pre_sleep(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    if core.wakeup or peer.flags & (PEER_ALL_YOURS | PEER_LINES):
        core.effort += peer.ability_count
    sleep_or_wake(core, peer)


cdef inline Job* own_job(Core* core, Peer* peer, Field handle) noexcept nogil:
    """The job of this handle if this worker has it."""
    cdef Job* job = job_by_handle(core, handle.data, handle.size)
    return job if job != NULL and job_is_of(job, peer) else NULL


cdef void relay(Core* core, Job* job, Frame* frame) noexcept nogil:
    """The packet's body, as sent, to all that wait for the job."""
    cdef Field* last = &frame.args[frame.count - 1]
    cdef const char* body = frame.args[0].data
    cdef size_t size = last.data + last.size - body
    cdef Waiter* waiter = job.waiters
    cdef char* at
    core.effort += job_waiting(job)
    if size >= LARGE and waiter != NULL:
        relay_large(core, waiter, frame.command, body, size)
        return
    while waiter != NULL:
        at = write_packet(core, waiter.peer, frame.command, size)
        if at != NULL:
            memcpy(at, body, size)
        waiter = waiter.job_next


cdef void relay_large(Core* core, Waiter* waiter, int command, const char* data, size_t size) noexcept nogil:
    cdef Body body
    body_hold(core, &body, data, size)
    while waiter != NULL:
        write_body(core, waiter.peer, command, &body)
        waiter = waiter.job_next
    body_drop(core, &body)


cdef inline void end_job(Core* core, Job* job) noexcept nogil:
    """Its worker has ended it."""
    if job.function.policy == NULL:
        finish(core, job)
    else:
        finish_allowed(core, job)


cdef inline void fail_job(Core* core, Job* job) noexcept nogil:
    """Its worker has ended it as failed."""
    if job.function.policy == NULL:
        finish(core, job)
    else:
        fail_allowed(core, job)


# WORK_DATA, WORK_WARNING: handle, data
cdef void cmd_work_data(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Job* job = own_job(core, peer, frame.args[0])
    if job == NULL:
        refuse(core, peer, JOB_NOT_FOUND, "Job does not exist on server")
    else:
        relay(core, job, frame)


# WORK_STATUS: handle, numerator, denominator
cdef void cmd_work_status(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Job* job = own_job(core, peer, frame.args[0])
    if job == NULL:
        refuse(core, peer, JOB_NOT_FOUND, "Job given in work result not found")
        return
    job.numerator = parse_u32(&frame.args[1])
    job.denominator = parse_u32(&frame.args[2])
    relay(core, job, frame)


# WORK_COMPLETE: handle, result
cdef void cmd_work_complete(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Job* job = own_job(core, peer, frame.args[0])
    if job == NULL:
        refuse(core, peer, JOB_NOT_FOUND, "Job given in work result not found")
        return
    core.stats.completed += 1
    job.function.history.completed += 1
    relay(core, job, frame)
    if job.function.policy != NULL and job.function.policy.results:
        result_keep(core, job, OUTCOME_DONE, &frame.args[1], True)
    end_job(core, job)


# WORK_FAIL: handle. With the policy retry_on_fail only the last one ends the job
cdef void cmd_work_fail(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Field handle = until_nul(frame.args[0])
    cdef Job* job
    if handle.size > TEXT_LIMIT:
        refuse(core, peer, ARGUMENT_TOO_LARGE,
               "Error occurred due to GEARMAND_JOB_HANDLE_SIZE being too small from snprintf")
        return
    job = own_job(core, peer, handle)
    if job == NULL:
        refuse(core, peer, JOB_NOT_FOUND, "Job given in work result not found")
        return
    if try_again(core, job):
        return
    core.stats.failed += 1
    job.function.history.failed += 1
    fail_waiters(core, job)
    fail_job(core, job)


# WORK_EXCEPTION: handle, exception. As WORK_FAIL
cdef void cmd_work_exception(Core* core, Peer* peer, Frame* frame) noexcept nogil:
    cdef Job* job = own_job(core, peer, frame.args[0])
    if job == NULL:
        refuse(core, peer, JOB_NOT_FOUND, "An exception was received for a job that does not exist")
        return
    if job.function.policy != NULL and (job.function.policy.keep or job.function.policy.results):
        remark_put(core, job, frame.args[1].data, frame.args[1].size)
    if try_again(core, job):
        return
    core.stats.exceptions += 1
    job.function.history.exceptions += 1
    relay_exception(core, job, frame)
    fail_job(core, job)


cdef void relay_exception(Core* core, Job* job, Frame* frame) noexcept nogil:
    """WORK_EXCEPTION to those that asked for it, WORK_FAIL to the others."""
    cdef char handle[HANDLE_ROOM]
    cdef size_t handle_size = write_handle(core, handle, job.number)
    cdef Waiter* waiter = job.waiters
    cdef char* at
    cdef Body body
    if waiter == NULL:
        return
    body_hold(core, &body, frame.args[0].data, frame.args[1].data + frame.args[1].size - frame.args[0].data)
    while waiter != NULL:
        if core.exceptions or waiter.peer.flags & PEER_EXCEPTIONS:
            write_body(core, waiter.peer, CMD_WORK_EXCEPTION, &body)
        else:
            at = write_packet(core, waiter.peer, CMD_WORK_FAIL, handle_size)
            if at != NULL:
                memcpy(at, handle, handle_size)
        waiter = waiter.job_next
    body_drop(core, &body)


cdef void handles(int command, Handler handler):
    HANDLERS[command] = handler


cdef void submission(int command, Handler handler, int priority, bint background):
    HANDLERS[command] = handler
    PRIORITY_OF[command] = <uint8_t>priority
    BACKGROUND[command] = background


cdef void fill_table():
    cdef int number
    for number in range(43):
        HANDLERS[number] = unexpected
    submission(CMD_SUBMIT_JOB, cmd_submit_job, NORMAL, False)
    submission(CMD_SUBMIT_JOB_HIGH, cmd_submit_job, HIGH, False)
    submission(CMD_SUBMIT_JOB_LOW, cmd_submit_job, LOW, False)
    submission(CMD_SUBMIT_JOB_BG, cmd_submit_job, NORMAL, True)
    submission(CMD_SUBMIT_JOB_HIGH_BG, cmd_submit_job, HIGH, True)
    submission(CMD_SUBMIT_JOB_LOW_BG, cmd_submit_job, LOW, True)
    submission(CMD_SUBMIT_JOB_EPOCH, cmd_submit_job_epoch, NORMAL, True)
    submission(CMD_SUBMIT_JOB_SCHED, cmd_submit_job_sched, NORMAL, True)
    submission(CMD_SUBMIT_REDUCE_JOB, cmd_submit_reduce_job, NORMAL, False)
    submission(CMD_SUBMIT_REDUCE_JOB_BACKGROUND, cmd_submit_reduce_job, NORMAL, True)
    handles(CMD_GET_STATUS, cmd_get_status)
    handles(CMD_GET_STATUS_UNIQUE, cmd_get_status_unique)
    handles(CMD_ECHO_REQ, cmd_echo_req)
    handles(CMD_OPTION_REQ, cmd_option_req)
    handles(CMD_CAN_DO, cmd_can_do)
    handles(CMD_CAN_DO_TIMEOUT, cmd_can_do_timeout)
    handles(CMD_CANT_DO, cmd_cant_do)
    handles(CMD_RESET_ABILITIES, cmd_reset_abilities)
    handles(CMD_SET_CLIENT_ID, cmd_set_client_id)
    handles(CMD_GRAB_JOB, cmd_grab_job)
    handles(CMD_GRAB_JOB_UNIQ, cmd_grab_job)
    handles(CMD_GRAB_JOB_ALL, cmd_grab_job)
    handles(CMD_PRE_SLEEP, cmd_pre_sleep)
    handles(CMD_WORK_DATA, cmd_work_data)
    handles(CMD_WORK_WARNING, cmd_work_data)
    handles(CMD_WORK_STATUS, cmd_work_status)
    handles(CMD_WORK_COMPLETE, cmd_work_complete)
    handles(CMD_WORK_FAIL, cmd_work_fail)
    handles(CMD_WORK_EXCEPTION, cmd_work_exception)


fill_table()
