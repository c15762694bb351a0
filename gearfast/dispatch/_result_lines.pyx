# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The text command `results`, with which an administrator sees kept results, and drops them.

results                               lines of HANDLE, FUNCTION, UNIQUE, OUTCOME, SIZE, TIME; then a line of a dot
results FUNCTION                      those of one function
results show HANDLE                   lines of KEY, VALUE: all there is of one; then the dot
results drop HANDLE | FUNCTION | *    OK and how many

Columns, order, time and escapes are as of `dead` (`_dead.pyx`). SIZE is what the worker sent, kept or not.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf

from gearfast._codec cimport Field
from gearfast.dispatch._dead cimport say, say_done, say_escaped, say_time
from gearfast.dispatch._function cimport function_find
from gearfast.dispatch._history cimport first_result
from gearfast.dispatch._job cimport HANDLE_ROOM, number_of_handle, write_handle
from gearfast.dispatch._peer cimport write_bytes
from gearfast.dispatch._records cimport OUTCOME_DONE, RESULT_DATA, Core, Function, Peer, Result
from gearfast.dispatch._result cimport outcome_name, result_drop, result_find
from gearfast.dispatch._words cimport is_word


cdef void say_results(Core* core, Peer* peer, Function* function) noexcept nogil:
    """A line for each of a function."""
    cdef char line[HANDLE_ROOM]
    cdef Result* result = first_result(function)
    while result != NULL:
        core.effort += 1
        write_bytes(core, peer, line, write_handle(core, line, result.number))
        say(core, peer, "\t")
        say_escaped(core, peer, function.name, function.size)
        say(core, peer, "\t")
        say_escaped(core, peer, result.unique, result.unique_size)
        write_bytes(core, peer, line, <size_t>snprintf(
            line, sizeof(line), "\t%s\t%u\t", outcome_name(result), result.size))
        say_time(core, peer, result.when)
        say(core, peer, "\n")
        result = result.next


cdef void say_result(Core* core, Peer* peer, Result* result) noexcept nogil:
    """All of one, a line for each thing; `result` or `exception` only if that was kept."""
    cdef char line[HANDLE_ROOM + 64]
    say(core, peer, "handle\t")
    write_bytes(core, peer, line, write_handle(core, line, result.number))
    say(core, peer, "\nfunction\t")
    say_escaped(core, peer, result.function.name, result.function.size)
    say(core, peer, "\nunique\t")
    say_escaped(core, peer, result.unique, result.unique_size)
    write_bytes(core, peer, line, <size_t>snprintf(
        line, sizeof(line), "\noutcome\t%s\nsize\t%u\nnumerator\t%u\ndenominator\t%u\ntime\t", outcome_name(result),
        result.size, result.numerator, result.denominator))
    say_time(core, peer, result.when)
    if result.flags & RESULT_DATA:
        say(core, peer, "\nresult\t" if result.outcome == OUTCOME_DONE else "\nexception\t")
        say_escaped(core, peer, result.data, result.size)
        core.effort += result.size // 1000
    say(core, peer, "\n.\n")


cdef inline Result* result_of(Core* core, Field handle) noexcept nogil:
    cdef uint64_t number = number_of_handle(core, handle.data, handle.size)
    return result_find(core, number) if number else NULL


cdef size_t drop_all(Core* core, Function* function) noexcept nogil:
    """How many they were."""
    cdef size_t done = 0
    while first_result(function) != NULL:
        core.effort += 1
        result_drop(core, first_result(function))
        done += 1
    return done


cdef void drop_some(Core* core, Peer* peer, Field which) noexcept nogil:
    cdef Result* result = result_of(core, which)
    cdef Function* function
    cdef size_t done = 0
    if result != NULL:
        result_drop(core, result)
        say_done(core, peer, 1)
        return
    if which.size == 1 and which.data[0] == c'*':
        function = core.first_function
        while function != NULL:
            done += drop_all(core, function)
            function = function.next
        core.effort += <uint32_t>core.function_count
        say_done(core, peer, done)
        return
    function = function_find(core, which.data, which.size)
    if function == NULL:
        say(core, peer, "ERR UNKNOWN_JOB\r\n")
    else:
        say_done(core, peer, drop_all(core, function))


cdef void results_line(Core* core, Peer* peer, Field* words, int count, bint read_only) noexcept nogil:
    """`words`: those behind `results`."""
    cdef Function* function
    cdef Result* result
    if count == 0:
        function = core.first_function
        while function != NULL:
            say_results(core, peer, function)
            function = function.next
        core.effort += <uint32_t>core.function_count
        say(core, peer, ".\n")
    elif count == 1:
        function = function_find(core, words[0].data, words[0].size)
        if function != NULL:
            say_results(core, peer, function)
        say(core, peer, ".\n")
    elif count == 2 and is_word(words[0], "show"):
        result = result_of(core, words[1])
        if result == NULL:
            say(core, peer, "ERR UNKNOWN_JOB\r\n")
        else:
            say_result(core, peer, result)
    elif count == 2 and is_word(words[0], "drop"):
        if read_only:
            say(core, peer, "ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n")
        else:
            drop_some(core, peer, words[1])
    else:
        say(core, peer, "ERR INVALID_ARGUMENTS results,+results+FUNCTION,+results+show+HANDLE,"
                        "+results+drop+HANDLE|FUNCTION|*\r\n")
