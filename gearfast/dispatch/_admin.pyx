# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The text commands of administrators, with gearmand's exact bytes.

Replies that are lists end their lines in LF and close with a line of a single dot; most others end in CR LF.
"""

from libc.stdint cimport UINT32_MAX, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport strlen

from gearfast._codec cimport Field
from gearfast.dispatch._ask cimport is_reserved
from gearfast.dispatch._dead cimport dead_line
from gearfast.dispatch._function cimport function_find, function_get
from gearfast.dispatch._job cimport (
    HANDLE_ROOM,
    Walk,
    job_by_handle,
    job_losses,
    job_unique,
    walk_begin,
    walk_next,
    write_handle,
)
from gearfast.dispatch._end cimport cancel, drop_function
from gearfast.dispatch._journal cimport journal_promise, journal_reserve
from gearfast.dispatch._notices cimport LEVEL_INFO, note
from gearfast.dispatch._peer cimport write_bytes
from gearfast.dispatch._result_lines cimport results_line
from gearfast.dispatch._records cimport (
    HIGH,
    JOB_BACKGROUND,
    JOB_CANCELLED,
    JOB_IGNORED,
    LOW,
    NORMAL,
    PEER_ADMIN,
    PEER_READ_ONLY,
    Ability,
    Core,
    Function,
    Job,
    Peer,
)
from gearfast.dispatch._words cimport is_word, put_decimal, same_letters

ctypedef void (*Verb)(Core* core, Peer* peer, Words* words) noexcept nogil

cdef enum:
    MOST_WORDS = 5

cdef struct Words:
    Field word[6]
    int count

cdef struct Entry:
    const char* name
    int least                   # words, itself included; with fewer the command is incomplete
    bint unknown_if_short       # … and then unknown rather than lacking arguments
    bint changes                # refused where a connection may only look
    bint of_jobs                # waits until all of them are back from the store
    Verb verb

cdef Entry VERBS[15]


cdef bint split(Field line, Words* words) noexcept nogil:
    """At runs of spaces, the first word as it stands (empty behind a leading space); False if there are too many."""
    cdef size_t at = 0
    cdef size_t begin
    words.count = 0
    while True:
        begin = at
        while at < line.size and line.data[at] != c' ':
            at += 1
        if words.count == MOST_WORDS:
            return False
        words.word[words.count].data = line.data + begin
        words.word[words.count].size = at - begin
        words.count += 1
        while at < line.size and line.data[at] == c' ':
            at += 1
        if at >= line.size:
            return True


cdef void say(Core* core, Peer* peer, const char* text) noexcept nogil:
    write_bytes(core, peer, text, strlen(text))


cdef void say_word(Core* core, Peer* peer, const char* text, Field word) noexcept nogil:
    say(core, peer, text)
    write_bytes(core, peer, word.data, word.size)
    say(core, peer, "\r\n")


cdef bint handle_line(Core* core, Peer* peer, Field line) noexcept nogil:
    """Do a text command; False if the connection is to be closed."""
    cdef Words words
    cdef Entry* entry
    cdef size_t i
    if is_policy(line):
        core.effort += <uint32_t>core.function_count
        verb_policy(core, peer, line)
        return True
    if is_schedule(line):
        verb_schedule(core, peer, line)
        return True
    if not split(line, &words):
        return False
    for i in range(sizeof(VERBS) // sizeof(VERBS[0])):
        entry = &VERBS[i]
        if not is_word(words.word[0], entry.name):
            continue
        if words.count < entry.least and entry.unknown_if_short:
            break
        if words.count < entry.least:
            incomplete(core, peer, &words)
        elif entry.changes and peer.flags & PEER_READ_ONLY:
            say(core, peer, "ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n")
        else:
            entry.verb(core, peer, &words)
        return True
    unknown(core, peer, &words)
    return True


cdef void unknown(Core* core, Peer* peer, Words* words) noexcept nogil:
    say_word(core, peer, "ERR UNKNOWN_COMMAND Unknown+server+command", words.word[0])


cdef void incomplete(Core* core, Peer* peer, Words* words) noexcept nogil:
    say_word(core, peer,
             "ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+", words.word[0])


# status: FUNCTION \t TOTAL \t RUNNING \t WORKERS
cdef void verb_status(Core* core, Peer* peer, Words* words) noexcept nogil:
    cdef Function* function = core.first_function
    cdef uint32_t numbers[3]
    while function != NULL:
        numbers[0] = function.total
        numbers[1] = function.running
        numbers[2] = function.workers
        say_row(core, peer, function, numbers, 3)
        function = function.next
    say(core, peer, ".\n")


cdef void say_row(Core* core, Peer* peer, Function* function, const uint32_t* numbers, int count) noexcept nogil:
    """A line of a table: the function's name and numbers, with a tab before each."""
    cdef char line[64]
    cdef size_t size = 0
    cdef int i
    for i in range(count):
        line[size] = c'\t'
        size += 1 + put_decimal(line + size + 1, numbers[i])
    line[size] = c'\n'
    core.effort += 1
    write_bytes(core, peer, function.name, function.size)
    write_bytes(core, peer, line, size + 1)


# prioritystatus: FUNCTION \t HIGH \t NORMAL \t LOW \t WORKERS
cdef void verb_prioritystatus(Core* core, Peer* peer, Words* words) noexcept nogil:
    cdef Function* function = core.first_function
    cdef uint32_t numbers[4]
    while function != NULL:
        numbers[0] = function.queued[HIGH]
        numbers[1] = function.queued[NORMAL]
        numbers[2] = function.queued[LOW]
        numbers[3] = function.workers
        say_row(core, peer, function, numbers, 4)
        function = function.next
    say(core, peer, ".\n")


# workers: FD ADDRESS ID : F1 F2, newest function first
cdef void verb_workers(Core* core, Peer* peer, Words* words) noexcept nogil:
    cdef size_t i
    cdef Peer* each
    cdef Ability* ability
    cdef char number[16]
    for i in range(core.slot_count):
        each = core.slots[i].peer
        if each == NULL:
            continue
        core.effort += 1 + each.ability_count
        write_bytes(core, peer, number, snprintf(number, sizeof(number), "%d ", each.fd))
        say(core, peer, each.address)
        say(core, peer, " ")
        if each.name != NULL:
            say(core, peer, each.name)
        else:
            say(core, peer, "-")
        say(core, peer, " :")
        ability = each.abilities
        while ability != NULL:
            say(core, peer, " ")
            write_bytes(core, peer, ability.function.name, ability.function.size)
            ability = ability.peer_next
        say(core, peer, "\n")
    say(core, peer, ".\n")


# show jobs: HANDLE \t RETRIES \t IGNORED \t BACKGROUND; show unique jobs: UNIQUE
cdef void verb_show(Core* core, Peer* peer, Words* words) noexcept nogil:
    if words.count == 2 and is_word(words.word[1], "jobs"):
        show_jobs(core, peer)
    elif words.count == 3 and is_word(words.word[1], "unique") and is_word(words.word[2], "jobs"):
        show_uniques(core, peer)
    else:
        say(core, peer, "ERR UNKNOWN_SHOW_ARGUMENTS\r\n")


cdef void show_jobs(Core* core, Peer* peer) noexcept nogil:
    cdef char line[HANDLE_ROOM + 32]
    cdef size_t size
    cdef Walk walk
    cdef Job* job
    walk_begin(&walk)
    while True:
        job = walk_next(&core.handles, &walk)
        if job == NULL:
            break
        core.effort += 1
        size = write_handle(core, line, job.number)
        size += snprintf(line + size, 32, "\t%u\t%d\t%d\n", job_losses(job),
                         <int>(job.flags & JOB_IGNORED != 0), <int>(job.flags & JOB_BACKGROUND != 0))
        write_bytes(core, peer, line, size)
    say(core, peer, ".\n")


cdef void show_uniques(Core* core, Peer* peer) noexcept nogil:
    cdef Walk walk
    cdef Job* job
    walk_begin(&walk)
    while True:
        job = walk_next(&core.handles, &walk)
        if job == NULL:
            break
        core.effort += 1
        write_bytes(core, peer, job_unique(job), job.unique_size)
        say(core, peer, "\n")
    say(core, peer, ".\n")


# cancel job HANDLE
cdef void verb_cancel(Core* core, Peer* peer, Words* words) noexcept nogil:
    cdef Job* job
    if words.count != 3 or not is_word(words.word[1], "job"):
        say(core, peer, "ERR UNKNOWN_ERROR\r\n")
        return
    job = job_by_handle(core, words.word[2].data, words.word[2].size)
    if job == NULL or job.flags & JOB_CANCELLED:
        say(core, peer, "ERR UNKNOWN_JOB\r\n")
        return
    cancel(core, job)
    say(core, peer, "OK\r\n")


# create function FUNCTION
cdef void verb_create(Core* core, Peer* peer, Words* words) noexcept nogil:
    if words.count != 3 or not is_word(words.word[1], "function"):
        incomplete(core, peer, words)
    elif is_reserved(words.word[2]) or function_get(core, words.word[2].data, words.word[2].size) == NULL:
        say(core, peer, "ERR UNKNOWN_ERROR\r\n")
    else:
        say(core, peer, "OK\r\n")


# drop function FUNCTION, in any case: a line for each match
cdef void verb_drop(Core* core, Peer* peer, Words* words) noexcept nogil:
    cdef Function* function = core.first_function
    cdef Function* after
    cdef Field name = words.word[2]
    cdef bint found = False
    if words.count != 3 or not is_word(words.word[1], "function"):
        incomplete(core, peer, words)
        return
    while function != NULL:
        after = function.next
        core.effort += 1
        if function.size == name.size and same_letters(function.name, name.data, name.size):
            found = True
            if function.workers or function.running:
                say(core, peer, "ERR there are still connected workers or executing clients\r\n")
            else:
                drop_function(core, function)
                say(core, peer, "OK\r\n")
        function = after
    if not found:
        say(core, peer, "ERR function not found\r\n")


# maxqueue FUNCTION [HIGH [NORMAL [LOW]]]; one number stands for all priorities, none for no limit
cdef void verb_maxqueue(Core* core, Peer* peer, Words* words) noexcept nogil:
    cdef Function* function = function_find(core, words.word[1].data, words.word[1].size)
    cdef int priority
    if function != NULL:
        for priority in range(3):
            if words.count == 3:
                function.limit[priority] = parse_limit(words.word[2])
            else:
                function.limit[priority] = parse_limit(words.word[2 + priority]) if words.count > 2 + priority else 0
    say(core, peer, "OK\r\n")


cdef uint32_t parse_limit(Field text) noexcept nogil:
    """A limit; what is negative or no number is none."""
    cdef size_t i
    cdef uint64_t number = 0
    for i in range(text.size):
        if text.data[i] < c'0' or text.data[i] > c'9':
            break
        number = number * 10 + <uint32_t>(text.data[i] - c'0')
        if number > UINT32_MAX:
            return UINT32_MAX
    return <uint32_t>number


cdef void say_ok(Core* core, Peer* peer, const char* text) noexcept nogil:
    say(core, peer, "OK ")
    say(core, peer, text)
    say(core, peer, "\n")


cdef void verb_getpid(Core* core, Peer* peer, Words* words) noexcept nogil:
    cdef char number[24]
    snprintf(number, sizeof(number), "%ld", core.pid)
    say_ok(core, peer, number)


cdef void verb_version(Core* core, Peer* peer, Words* words) noexcept nogil:
    say_ok(core, peer, core.version)


cdef void verb_verbose(Core* core, Peer* peer, Words* words) noexcept nogil:
    say_ok(core, peer, core.verbose)


cdef inline bint begins(Field line, const char* word) noexcept nogil:
    """Its first word is this one; it may have any number of them."""
    cdef size_t size = strlen(word)
    return line.size >= size and same_letters(line.data, word, size) and (line.size == size or line.data[size] == c' ')


cdef inline bint is_policy(Field line) noexcept nogil:
    return begins(line, "policy")


cdef inline bint is_schedule(Field line) noexcept nogil:
    return begins(line, "schedule")


# policy [get FUNCTION | set PATTERN KEY=VALUE ... | unset PATTERN]: see policy_lines.py
cdef void verb_policy(Core* core, Peer* peer, Field line) noexcept with gil:
    try:
        owner = <object>core.owner
        before = owner.policies
        text = owner._policy_line(<bytes>line.data[:line.size], peer.flags & PEER_READ_ONLY != 0)
        write_bytes(core, peer, text, len(text))
        if owner.policies is not before:
            told = b"Text command: " + <bytes>line.data[:line.size]
            note(core, LEVEL_INFO, told, len(told))
    except Exception:   # memory
        say(core, peer, "ERR UNKNOWN_ERROR\r\n")


# schedule [add ... | set ... | remove ... | pause ... | resume ... | run ...]: of who keeps them beside a dispatcher
cdef void verb_schedule(Core* core, Peer* peer, Field line) noexcept with gil:
    cdef Words words
    try:
        answer = (<object>core.owner).on_schedule_line
        if answer is None:
            words.word[0].data = line.data
            words.word[0].size = strlen("schedule")
            words.count = 1
            unknown(core, peer, &words)
            return
        text, changed = answer(<bytes>line.data[:line.size], peer.flags & PEER_READ_ONLY != 0)
        core.effort += <uint32_t>(len(text) // 8)
        # What it says of a change is true once the store knows of it.
        if changed and core.journal != NULL and journal_reserve(core, peer, NULL) == 0:
            journal_promise(core, peer, NULL)
        write_bytes(core, peer, text, len(text))
    except Exception:   # memory
        say(core, peer, "ERR UNKNOWN_ERROR\r\n")


# cluster: the servers that share the store, a line for each; none without such a store
cdef void verb_cluster(Core* core, Peer* peer, Words* words) noexcept with gil:
    try:
        tell = (<object>core.owner).on_cluster
        text = tell() if tell is not None else b""
        write_bytes(core, peer, text, len(text))
        say(core, peer, ".\n")
    except Exception:   # memory
        say(core, peer, "ERR UNKNOWN_ERROR\r\n")


# dead [FUNCTION | show HANDLE | requeue ... | drop ...]: see _dead.pyx
cdef void verb_dead(Core* core, Peer* peer, Words* words) noexcept nogil:
    dead_line(core, peer, words.word + 1, words.count - 1, peer.flags & PEER_READ_ONLY != 0)


# results [FUNCTION | show HANDLE | drop ...]: see _result_lines.pyx
cdef void verb_results(Core* core, Peer* peer, Words* words) noexcept nogil:
    results_line(core, peer, words.word + 1, words.count - 1, peer.flags & PEER_READ_ONLY != 0)


cdef bint line_must_wait(Field line) noexcept nogil:
    """Whether a text command tells of, or ends, jobs that may still be in the store."""
    cdef size_t i
    for i in range(sizeof(VERBS) // sizeof(VERBS[0])):
        if VERBS[i].of_jobs and begins(line, VERBS[i].name):
            return True
    return is_schedule(line)


# shutdown [graceful]: only where a connection was given that right, else unknown as in gearmand since 1.1.15
cdef void verb_shutdown(Core* core, Peer* peer, Words* words) noexcept nogil:
    if not peer.flags & PEER_ADMIN:
        unknown(core, peer, words)
    elif words.count == 1:
        core.shutdown = 1
        say(core, peer, "OK\r\n")
    elif words.count == 2 and is_word(words.word[1], "graceful"):
        core.shutdown = 2
        say(core, peer, "OK\r\n")
    else:
        incomplete(core, peer, words)


cdef Entry entry(const char* name, int least, bint unknown_if_short, bint changes, bint of_jobs, Verb verb):
    cdef Entry made
    made.name = name
    made.least = least
    made.unknown_if_short = unknown_if_short
    made.changes = changes
    made.of_jobs = of_jobs
    made.verb = verb
    return made


cdef void fill_table():
    VERBS[0] = entry("status", 1, False, False, True, verb_status)
    VERBS[1] = entry("prioritystatus", 1, False, False, True, verb_prioritystatus)
    VERBS[2] = entry("workers", 1, False, False, False, verb_workers)
    VERBS[3] = entry("show", 2, True, False, True, verb_show)
    VERBS[4] = entry("cancel", 3, True, True, True, verb_cancel)
    VERBS[5] = entry("create", 3, False, True, False, verb_create)
    VERBS[6] = entry("drop", 3, False, True, True, verb_drop)
    VERBS[7] = entry("maxqueue", 2, False, True, False, verb_maxqueue)
    VERBS[8] = entry("getpid", 1, False, False, False, verb_getpid)
    VERBS[9] = entry("version", 1, False, False, False, verb_version)
    VERBS[10] = entry("verbose", 1, False, False, False, verb_verbose)
    VERBS[11] = entry("shutdown", 1, False, False, False, verb_shutdown)
    VERBS[12] = entry("dead", 1, False, False, True, verb_dead)
    VERBS[13] = entry("results", 1, False, False, True, verb_results)
    VERBS[14] = entry("cluster", 1, False, False, False, verb_cluster)


fill_table()
