# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Jobs that come back from the store: with their old handles, each where it belongs by the time of its submission.

A server serves while its jobs come back. So one may come back to a function that has newer jobs already, which it goes
before, or to a job with the same unique that was submitted meanwhile.
"""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from gearfast._codec cimport Field
from gearfast.dispatch._absent cimport absence_restored, form_of_restored
from gearfast.dispatch._function cimport function_get, insert_before, queue_insert, queue_push
from gearfast.dispatch._gate cimport expiry_set
from gearfast.dispatch._grab cimport level_of_priority, rise
from gearfast.dispatch._history cimport history_of
from gearfast.dispatch._index cimport index_insert
from gearfast.dispatch._job cimport (
    WITHIN,
    handles_get,
    is_dash,
    job_add_losses,
    job_data_hash,
    job_free,
    job_is_absent,
    job_losses,
    job_new_numbered,
    job_node,
    job_priority,
    unique_hash,
)
from gearfast.dispatch._journal cimport has_lapsed
from gearfast.dispatch._letter cimport (
    letter_add,
    letter_find,
    letter_new,
    remark_put,
)
from gearfast.dispatch._record cimport (
    RECORD_CLAIM,
    RECORD_LETTER,
    RECORD_PRIORITY,
    RECORD_RESULT,
    Head,
    Record,
    has_ended,
    record_read,
)
from gearfast.dispatch._records cimport (
    CLAIMED,
    DURABLE,
    JOB_BACKGROUND,
    JOB_DELAYED,
    JOB_STATE,
    PRIORITIES,
    RESULT_DURABLE,
    Core,
    Function,
    Job,
    Letter,
    Queue,
    Result,
)
from gearfast.dispatch._result cimport result_add, result_find, result_new
from gearfast.dispatch._timers cimport timer_set


cdef inline Field field(const char* data, size_t size) noexcept nogil:
    cdef Field found
    found.data = data
    found.size = size
    return found


cdef void restore(Core* core, const char* data, size_t size, const char* ended, size_t ended_size,
                  Restored* restored) noexcept nogil:
    """Bring back the jobs of records as `journal_take` gave them, but for those whose numbers are in `ended`, rising.

    `data` is aligned to 8 bytes. Stops at the first record that is none.
    """
    cdef Record record
    cdef size_t step
    restored.wrong = NULL
    restored.at = 0
    while restored.at < size:
        step = record_read(data + restored.at, size - restored.at, &record)
        if step == 0 or record.head.flags & RECORD_PRIORITY >= PRIORITIES or record.head.number == 0:
            restored.wrong = "a record that is not whole"
            return
        if has_ended(<const uint64_t*>ended, ended_size // sizeof(uint64_t), record.head.number) \
                or handles_get(&core.handles, record.head.number) != NULL \
                or letter_find(core, record.head.number) != NULL \
                or result_find(core, record.head.number) != NULL:
            restored.skipped += 1
        elif bring_back(core, &record) < 0:
            restored.wrong = "no memory for all jobs"
            return
        else:
            restored.jobs += 1
        restored.at += step


cdef int bring_back(Core* core, Record* record) noexcept nogil:
    """0, or -1 without memory."""
    cdef Head* head = record.head
    cdef Function* function = function_get(core, record.function, head.function)
    cdef Field reducer = field(record.reducer if head.reducer else NULL, head.reducer - 1 if head.reducer else 0)
    cdef Field unique = field(record.unique, head.unique)
    cdef Field workload = field(record.workload, record.size)
    cdef int form = WITHIN
    cdef Job* job
    if function == NULL or history_of(function) == NULL:
        return -1
    if head.flags & RECORD_RESULT:
        return bring_back_result(core, function, record)
    if core.far != NULL and not head.flags & RECORD_LETTER:
        form = form_of_restored(core, function, head.flags & RECORD_PRIORITY, unique, workload)
    job = job_new_numbered(core, head.number, unique, reducer, workload, form)
    core.last_large = 0     # it did not come in a frame
    if job == NULL:
        return -1
    job.flags |= JOB_BACKGROUND | (head.flags & RECORD_PRIORITY) << 4
    job_add_losses(job, head.losses)
    job.function = function
    job.since = core.now
    if head.flags & RECORD_LETTER:
        return bring_back_letter(core, job, record)
    if head.due > core.wall and timer_set(&core.schedule, job, head.due) < 0:
        job_free(core, job)
        return -1
    if core.journal != NULL:
        job.losses |= DURABLE
        core.journal.jobs += 1
        if head.flags & RECORD_CLAIM and core.journal.claims:
            job.worker |= CLAIMED
    function.total += 1
    function.queued[job_priority(job)] += 1
    note_unique(core, job, record)
    if head.due > core.wall:
        job.flags |= JOB_DELAYED
        queue_push(&function.history.delayed, job)
        core.delayed_count += 1
        core.retrying_count += job_losses(job) != 0
        if job_is_absent(job):
            function.absence.absent += 1
        return 0
    put_in_place(core, function, job)
    if job_is_absent(job):
        absence_restored(job)
    expiry_set(core, job)
    rise(core, function, level_of_priority(core, job_priority(job)))
    return 0


cdef int bring_back_letter(Core* core, Job* job, Record* record) noexcept nogil:
    """The job of this record, which is in no list yet, is a dead letter; 0, or -1 without memory."""
    cdef Letter* letter = letter_new(core)
    if letter == NULL:
        job_free(core, job)
        return -1
    if core.journal != NULL:
        job.losses |= DURABLE
    if record.exception != NULL:
        remark_put(core, job, record.exception, record.death.exception)
    letter_add(core, letter, job, record.death.reason, record.death.when)
    return 0


cdef int bring_back_result(Core* core, Function* function, Record* record) noexcept nogil:
    """0, or -1 without memory."""
    cdef Field data = field(record.workload, record.size)
    cdef Result* result = result_new(
        core, function, record.head.number, field(record.unique, record.head.unique),
        &data if record.ending.has_data else NULL, True)
    core.last_large = 0
    if result == NULL:
        return -1
    if core.journal != NULL:
        result.flags |= RESULT_DURABLE
    result.numerator = record.ending.numerator
    result.denominator = record.ending.denominator
    result_add(core, result, record.ending.outcome, record.ending.size, record.ending.when)
    return 0


cdef void note_unique(Core* core, Job* job, Record* record) noexcept nogil:
    cdef Head* head = record.head
    cdef uint64_t hash
    if head.unique == 0:
        return
    if not is_dash(record.unique, head.unique):
        hash = unique_hash(core, job.function, record.unique, head.unique)
    elif record.size:
        hash = unique_hash(core, job.function, record.workload, record.size)
        memcpy(job_data_hash(job), &hash, sizeof(hash))
    else:
        return
    index_insert(&core.uniques, job_node(job), hash)


cdef void put_in_place(Core* core, Function* function, Job* job) noexcept nogil:
    """Behind the job that came back before it, before all that were submitted since.

    If that one has left the queue, so have those before it, as a rule: then it goes to the front.
    """
    cdef int priority = job_priority(job)
    cdef Queue* queue = &function.queues[priority]
    cdef Job* before = handles_get(&core.handles, function.history.restored[priority])
    if queue.tail == NULL or queue.tail.number < job.number or has_lapsed(core):
        queue_push(queue, job)
    elif before != NULL and before.number < job.number and before.function == function \
            and not before.flags & JOB_STATE and job_priority(before) == priority \
            and before.next != NULL and before.next.number > job.number:
        insert_before(queue, job, before.next)
    else:
        queue_insert(queue, job)
    function.history.restored[priority] = job.number
