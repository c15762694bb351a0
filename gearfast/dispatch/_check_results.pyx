# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `_check.pyx` asks of results: each is in its function's list and in the tables, and its job has ended."""

from libc.stdint cimport int64_t

from gearfast._codec cimport Field
from gearfast.dispatch._blob cimport LARGE
from gearfast.dispatch._check_tables cimport check_order, equal, fail, wrong_function
from gearfast.dispatch._history cimport first_result
from gearfast.dispatch._job cimport handles_get, is_dash
from gearfast.dispatch._letter cimport letter_find
from gearfast.dispatch._records cimport (
    JOB_CANCELLED,
    OUTCOME_DONE,
    OUTCOMES,
    REASON_FAILED,
    RESULT_DATA,
    RESULT_DURABLE,
    Core,
    Function,
    History,
    Job,
    Result,
)
from gearfast.dispatch._result cimport result_by_unique, result_bytes, result_find


cdef Py_ssize_t check_results(Core* core) except -1:
    """Bytes of all results."""
    cdef Function* function = core.first_function
    cdef size_t results = 0
    cdef size_t keys = 0
    cdef size_t timers = 0
    cdef size_t bytes = 0
    check_order(&core.aging, "results")
    while function != NULL:
        results += check_list(core, function, &bytes, &timers, &keys)
        function = function.next
    equal(results, core.results.count, "results in the lists of functions", "in the index")
    equal(keys, core.result_keys.count, "results with a unique", "in the index of uniques")
    equal(timers, core.aging.count, "results with a timer", "timers of results")
    return bytes


cdef Py_ssize_t check_list(Core* core, Function* function, size_t* bytes, size_t* timers, size_t* keys) except -1:
    cdef History* history = function.history
    cdef Result* result = first_result(function)
    cdef Result* before = NULL
    cdef size_t count = 0
    if history == NULL:
        return 0
    while result != NULL:
        count += 1
        if count > history.results or result.prev != before or result.function != function:
            wrong_function(function, "its results are more than it counts, another's, or a link back is wrong")
        check_result(core, result)
        bytes[0] += result_bytes(result)
        timers[0] += result.timer != 0
        keys[0] += result.unique_size != 0 and not is_dash(result.unique, result.unique_size)
        before = result
        result = result.next
    if history.last_result != before:
        wrong_function(function, "the last of its results is not its last one")
    equal(count, history.results, "results of a function", "it counts")
    return count


cdef int wrong(Result* result, str what) except -1:
    return fail(f"result of job {result.number}: {what}")


cdef int check_result(Core* core, Result* result) except -1:
    cdef int64_t limit = result.function.policy.results_for if result.function.policy != NULL else 0
    cdef Job* job = handles_get(&core.handles, result.number)
    cdef Field unique
    if result_find(core, result.number) != result:
        wrong(result, "its number does not find it")
    if job != NULL and not job.flags & JOB_CANCELLED or result.number >= core.next_number:
        wrong(result, "its job has not ended, or is still to come")
    if letter_find(core, result.number) != NULL:
        wrong(result, "its job is a dead letter too")
    if result.outcome >= OUTCOMES or result.flags & ~<int>(RESULT_DATA | RESULT_DURABLE):
        wrong(result, f"outcome {result.outcome}, flags {result.flags}")
    if not result.flags & RESULT_DATA and result.blob != NULL:
        wrong(result, "data, but not marked so")
    if result.size and result.outcome != OUTCOME_DONE and result.outcome != REASON_FAILED:
        wrong(result, f"{result.size} bytes of a job that no worker has ended")
    if result.blob != NULL and (result.size < LARGE or result.blob.references == 0):
        wrong(result, f"{result.size} bytes in a blob with {result.blob.references} references")
    unique.data = result.unique
    unique.size = result.unique_size
    if result.unique_size and not is_dash(result.unique, result.unique_size) \
            and result_by_unique(core, result.function, unique).number < result.number:
        wrong(result, "its unique finds an older one")
    if (result.timer != 0) != (limit != 0):
        wrong(result, f"{'with' if result.timer else 'without'} a timer, and kept for {limit} ns")
    if result.timer and (core.aging.entries[result.timer - 1].item != result
                         or core.aging.entries[result.timer - 1].key != result.when + limit):
        wrong(result, "with a timer that is not its own, or of another time")
    return 0
