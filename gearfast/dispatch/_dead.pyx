# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The text command `dead`, with which an administrator sees dead letters, queues them again, and drops them.

dead                                  lines of HANDLE, FUNCTION, UNIQUE, TRIES, REASON, TIME; then a line of a dot
dead FUNCTION                         those of one function
dead show HANDLE                      lines of KEY, VALUE: all there is of one; then the dot
dead requeue HANDLE | FUNCTION | *    OK and how many
dead drop HANDLE | FUNCTION | *       the same

Columns stand with tabs between, oldest first of each function; TIME is in seconds since 1970. Controls, spaces and `%`
in names, workloads and exceptions are percent-escapes.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, strlen

from gearfast._codec cimport Field
from gearfast.dispatch._absent cimport absence_joined
from gearfast.dispatch._function cimport function_find
from gearfast.dispatch._grab cimport enqueue
from gearfast.dispatch._history cimport first_letter
from gearfast.dispatch._index cimport index_insert
from gearfast.dispatch._job cimport (
    HANDLE_ROOM,
    handles_add,
    job_by_data,
    job_data_hash,
    job_in_uniques,
    job_is_absent,
    job_losses,
    job_node,
    job_priority,
    job_unique,
    job_workload,
    number_of_handle,
    unique_hash,
    write_handle,
)
from gearfast.dispatch._journal cimport journal_revive
from gearfast.dispatch._letter cimport letter_drop, letter_find, letter_open
from gearfast.dispatch._peer cimport write_bytes
from gearfast.dispatch._records cimport (
    DURABLE,
    JOB_BACKGROUND,
    JOB_HAS_REDUCER,
    JOB_PRIORITY,
    Core,
    Function,
    Job,
    Letter,
    Peer,
)
from gearfast.dispatch._submit cimport job_for
from gearfast.dispatch._words cimport is_word

cdef enum:
    PIECE = 4096                # bytes that are escaped at a time

cdef const char* REASON_NAMES[5]
REASON_NAMES[:] = ["lost", "timeout", "failed", "expired", "full"]
cdef const char* PRIORITY_NAMES[3]
PRIORITY_NAMES[:] = ["high", "normal", "low"]
cdef const char* HEX = "0123456789ABCDEF"


cdef const char* reason_name(Letter* letter) noexcept nogil:
    return REASON_NAMES[letter.reason]


# Back into its queue

cdef Revived letter_requeue(Core* core, Letter* letter) noexcept nogil:
    """The job goes to the end of its queue, as if it had never been tried; whatever limits that queue has."""
    cdef Job* job = letter.job
    cdef Function* function = job.function
    cdef Field unique, key
    cdef uint64_t hash
    unique.data = job_unique(job)
    unique.size = job.unique_size
    key = unique
    if job_by_data(job):
        key.data = job_workload(job)
        key.size = job.size
    job.flags = (job.flags & (JOB_HAS_REDUCER | JOB_PRIORITY)) | JOB_BACKGROUND
    if job_in_uniques(job) and job_for(core, function, unique, key) != NULL:
        return UNIQUE_IN_USE
    if handles_add(core, job) < 0:
        return NO_ROOM
    core.job_count += 1
    letter_open(core, letter)
    job.losses &= DURABLE
    function.total += 1
    function.queued[job_priority(job)] += 1
    if job_in_uniques(job):
        hash = unique_hash(core, function, key.data, key.size)
        if job_by_data(job):
            memcpy(job_data_hash(job), &hash, sizeof(hash))
        index_insert(&core.uniques, job_node(job), hash)
    if core.journal != NULL:
        journal_revive(core, job)
    if job_is_absent(job):
        absence_joined(job)
    enqueue(core, job)
    return REVIVED


# Text

cdef void say(Core* core, Peer* peer, const char* text) noexcept nogil:
    write_bytes(core, peer, text, strlen(text))


cdef void say_escaped(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Controls, spaces and `%` as `%XX`."""
    cdef char piece[PIECE + 3]
    cdef size_t count = 0
    cdef size_t i
    cdef unsigned char letter
    for i in range(size):
        letter = <unsigned char>data[i]
        if letter > 32 and letter != 127 and letter != c'%':
            piece[count] = data[i]
            count += 1
        else:
            piece[count] = c'%'
            piece[count + 1] = HEX[letter >> 4]
            piece[count + 2] = HEX[letter & 15]
            count += 3
        if count >= PIECE:
            write_bytes(core, peer, piece, count)
            count = 0
    write_bytes(core, peer, piece, count)


cdef void say_time(Core* core, Peer* peer, int64_t wall) noexcept nogil:
    cdef char line[40]
    cdef long long ms = wall // 1000000
    write_bytes(core, peer, line, <size_t>snprintf(line, sizeof(line), "%lld.%03lld", ms // 1000, ms % 1000))


cdef void say_letters(Core* core, Peer* peer, Function* function) noexcept nogil:
    """A line for each of a function."""
    cdef char line[HANDLE_ROOM]
    cdef Letter* letter = first_letter(function)
    cdef Job* job
    while letter != NULL:
        job = letter.job
        core.effort += 1
        write_bytes(core, peer, line, write_handle(core, line, job.number))
        say(core, peer, "\t")
        say_escaped(core, peer, function.name, function.size)
        say(core, peer, "\t")
        say_escaped(core, peer, job_unique(job), job.unique_size)
        write_bytes(core, peer, line, <size_t>snprintf(
            line, sizeof(line), "\t%u\t%s\t", job_losses(job), reason_name(letter)))
        say_time(core, peer, letter.when)
        say(core, peer, "\n")
        letter = letter.next


cdef void say_letter(Core* core, Peer* peer, Letter* letter) noexcept nogil:
    """All of one, a line for each thing."""
    cdef Job* job = letter.job
    cdef char line[HANDLE_ROOM + 64]
    say(core, peer, "handle\t")
    write_bytes(core, peer, line, write_handle(core, line, job.number))
    say(core, peer, "\nfunction\t")
    say_escaped(core, peer, job.function.name, job.function.size)
    say(core, peer, "\nunique\t")
    say_escaped(core, peer, job_unique(job), job.unique_size)
    write_bytes(core, peer, line, <size_t>snprintf(
        line, sizeof(line), "\npriority\t%s\ntries\t%u\nreason\t%s\ntime\t", PRIORITY_NAMES[job_priority(job)],
        job_losses(job), reason_name(letter)))
    say_time(core, peer, letter.when)
    say(core, peer, "\nworkload\t")
    if not job_is_absent(job):
        say_escaped(core, peer, job_workload(job), job.size)
    if letter.remark != NULL:
        say(core, peer, "\nexception\t")
        say_escaped(core, peer, letter.remark.data, letter.remark.size)
    say(core, peer, "\n.\n")
    core.effort += job.size // 1000


# Which ones

cdef inline Letter* letter_of(Core* core, Field handle) noexcept nogil:
    cdef uint64_t number = number_of_handle(core, handle.data, handle.size)
    return letter_find(core, number) if number else NULL


cdef bint act(Core* core, Letter* letter, bint requeue) noexcept nogil:
    """Whether it was done."""
    core.effort += 1
    if requeue:
        return letter_requeue(core, letter) == REVIVED
    letter_drop(core, letter)
    return True


cdef size_t act_on_function(Core* core, Function* function, bint requeue) noexcept nogil:
    """How many of a function's it was done to. It ends: who comes to be while it goes on comes last, and stays."""
    cdef Letter* letter = first_letter(function)
    cdef Letter* after
    cdef size_t done = 0
    cdef uint32_t left = function.history.letters if letter != NULL else 0
    while letter != NULL and left:
        after = letter.next
        done += act(core, letter, requeue)
        letter = after
        left -= 1
    return done


cdef void say_done(Core* core, Peer* peer, size_t count) noexcept nogil:
    cdef char line[32]
    write_bytes(core, peer, line, <size_t>snprintf(line, sizeof(line), "OK %zu\r\n", count))


cdef void change(Core* core, Peer* peer, Field which, bint requeue) noexcept nogil:
    cdef Letter* letter = letter_of(core, which)
    cdef Function* function
    cdef size_t done = 0
    if letter != NULL:
        if act(core, letter, requeue):
            say_done(core, peer, 1)
        else:
            say(core, peer, "ERR NOT_QUEUED A+job+with+its+unique+is+queued+or+running\r\n")
        return
    if which.size == 1 and which.data[0] == c'*':
        function = core.first_function
        while function != NULL:
            done += act_on_function(core, function, requeue)
            function = function.next
        core.effort += <uint32_t>core.function_count
        say_done(core, peer, done)
        return
    function = function_find(core, which.data, which.size)
    if function == NULL:
        say(core, peer, "ERR UNKNOWN_JOB\r\n")
    else:
        say_done(core, peer, act_on_function(core, function, requeue))


cdef void dead_line(Core* core, Peer* peer, Field* words, int count, bint read_only) noexcept nogil:
    """`words`: those behind `dead`."""
    cdef Function* function
    cdef Letter* letter
    cdef bint requeue
    if count == 0:
        function = core.first_function
        while function != NULL:
            say_letters(core, peer, function)
            function = function.next
        core.effort += <uint32_t>core.function_count
        say(core, peer, ".\n")
    elif count == 1:
        function = function_find(core, words[0].data, words[0].size)
        if function != NULL:
            say_letters(core, peer, function)
        say(core, peer, ".\n")
    elif count == 2 and is_word(words[0], "show"):
        letter = letter_of(core, words[1])
        if letter == NULL:
            say(core, peer, "ERR UNKNOWN_JOB\r\n")
        else:
            say_letter(core, peer, letter)
    elif count == 2 and (is_word(words[0], "requeue") or is_word(words[0], "drop")):
        requeue = is_word(words[0], "requeue")
        if read_only:
            say(core, peer, "ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n")
        else:
            change(core, peer, words[1], requeue)
    else:
        say(core, peer, "ERR INVALID_ARGUMENTS dead,+dead+FUNCTION,+dead+show+HANDLE,"
                        "+dead+requeue+HANDLE|FUNCTION|*,+dead+drop+HANDLE|FUNCTION|*\r\n")
