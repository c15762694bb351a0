# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Queues that are larger than memory.

With a ceiling, the workload of a durable job lies beside its record, not in it. While all jobs take more than half of
the ceiling, workloads of jobs that are far from the head of their queue, or wait for their time, are given back once
they are in the store: the job is absent then, and only its record stays, at its place in every list and table. The
driver is asked for workloads of jobs that come near the head, and brings them from the store (`_supply.pyx`). While the
first job of a queue is absent, its function has nothing to give, as if a gate were closed.

A sweep looks at each job about once: a queue knows the last one that was looked at, and the next sweep goes on there.
What is near the head is counted when it is looked at, and counted down when jobs leave.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport calloc, free, qsort

from gearfast._codec cimport Field
from gearfast.dispatch._bytes cimport bytes_add_number, bytes_free, bytes_number, bytes_numbers
from gearfast.dispatch._job cimport (
    AWAY,
    BESIDE,
    WITHIN,
    is_dash,
    job_by_data,
    job_is_absent,
    job_is_durable,
    job_is_large,
    job_priority,
    workload_leave,
)
from gearfast.dispatch._journal cimport batch_has, journal_bytes, sort_late
from gearfast.dispatch._letter cimport letter_find
from gearfast.dispatch._notices cimport LEVEL_INFO, note
from gearfast.dispatch._records cimport (
    APART,
    JOB_IGNORED,
    PRIORITIES,
    Absence,
    Bytes,
    Core,
    Far,
    Function,
    Job,
    Letter,
    Queue,
)

cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__GLIBC__)
    #include <malloc.h>
    #define gearfast_trim() ((void)malloc_trim(0))
    #else
    #define gearfast_trim() ((void)0)
    #endif
    """
    void gearfast_trim() nogil

cdef enum:
    NEAR = 8192                 # jobs at the head of a queue that are to be present, if they have
    NEAR_BYTES = 8388608        # not more than this, or than
    SHARE = 16                  # this part of the ceiling, of all functions together; one job at least
    ROW = 128                   # bytes of a job without its workload, about
    TABLES = 16                 # bytes that a job takes in tables
    DELAYED = 3                 # the last of Absence.swept
    ASKED = 16384               # workloads that are asked for at once
    TRIM = 33554432             # freed bytes after which malloc is asked to give memory back


cdef Far* far_new(size_t ceiling) noexcept nogil:
    """NULL without memory."""
    cdef Far* far = <Far*>calloc(1, sizeof(Far))
    if far != NULL:
        far.ceiling = ceiling
    return far


cdef void far_free(Core* core) noexcept nogil:
    """All functions must be gone."""
    if core.far != NULL:
        bytes_free(&core.far.letters)
        free(core.far)
        core.far = NULL


# A function's record

cdef Absence* absence_of(Core* core, Function* function) noexcept nogil:
    """Made when it is first wanted; NULL without memory."""
    cdef Far* far = core.far
    cdef Absence* absence = function.absence
    if absence != NULL:
        return absence
    absence = <Absence*>calloc(1, sizeof(Absence))
    if absence == NULL:
        return NULL
    absence.far = far
    absence.function = function
    function.absence = absence
    append(far, absence)
    far.functions += 1
    return absence


cdef void append(Far* far, Absence* absence) noexcept nogil:
    absence.next = NULL
    absence.prev = far.last
    if far.last != NULL:
        far.last.next = absence
    else:
        far.first = absence
    far.last = absence


cdef void unlink(Far* far, Absence* absence) noexcept nogil:
    if absence.prev != NULL:
        absence.prev.next = absence.next
    else:
        far.first = absence.next
    if absence.next != NULL:
        absence.next.prev = absence.prev
    else:
        far.last = absence.prev


cdef void absence_free(Core* core, Function* function) noexcept nogil:
    """A function goes, which has no jobs any more."""
    if core.far == NULL:
        return
    if core.far.next == function:
        core.far.next = function.next
    if function.absence != NULL:
        unlink(core.far, function.absence)
        core.far.functions -= 1
        free(function.absence)
        function.absence = NULL


cdef inline int place_of(Queue* queue, Function* function) noexcept nogil:
    """Of a queue in Absence.swept."""
    return DELAYED if queue == &function.history.delayed else <int>(queue - &function.queues[0])


cdef void absence_left(Queue* queue, Job* job) noexcept nogil:
    """A job, of a function that has the record, is about to leave this queue."""
    cdef Absence* absence = job.function.absence
    cdef int place = place_of(queue, job.function)
    if absence.swept[place] == job:
        absence.swept[place] = job.prev
    if absence.ahead[place]:
        absence.ahead[place] -= 1
    if job_is_absent(job):
        absence.absent -= 1
    if place != DELAYED:
        if absence.near[place]:
            absence.near[place] -= 1
        if absence.near[place] <= absence.low[place] and absence.absent:
            absence.far.hungry = True


cdef void absence_joined(Job* job) noexcept nogil:
    """An absent job has come into a queue."""
    cdef Absence* absence = job.function.absence
    absence.absent += 1
    absence.near[job_priority(job)] = 0     # it may be at the head
    absence.far.hungry = True


cdef void absence_restored(Job* job) noexcept nogil:
    """The same of one from the store; of very many that are far from the head nobody needs to be told."""
    cdef Absence* absence = job.function.absence
    cdef int priority = job_priority(job)
    absence.absent += 1
    if job.next != NULL:
        absence.near[priority] = 0
    if absence.near[priority] <= absence.low[priority]:
        absence.far.hungry = True


cdef void absence_reordered(Absence* absence) noexcept nogil:
    """The jobs in its function's queues have another order: what is known of places there is not true any more."""
    cdef int priority
    for priority in range(PRIORITIES):
        absence.swept[priority] = NULL
        absence.ahead[priority] = absence.kept[priority] = absence.near[priority] = 0
    absence.blocked = False
    absence.far.hungry = True


cdef void absence_forgets(Core* core, Job* job) noexcept nogil:
    """A durable job became a dead letter while it was absent: the store has to know, and needs its workload for that.

    Without memory it comes back as a job.
    """
    if bytes_add_number(&core.far.letters, job.number) < 0:
        core.journal.unkept += 1
    core.far.hungry = True


# Leaving

cdef inline size_t in_memory(Core* core) noexcept nogil:
    """What all jobs take, records on their way to the store included."""
    return core.queued_bytes + TABLES * core.job_count + journal_bytes(core)


cdef inline bint is_full(Core* core) noexcept nogil:
    return in_memory(core) > core.far.ceiling // 2


cdef inline size_t near_bytes(Core* core) noexcept nogil:
    """Of jobs at the head of a queue that are to be present."""
    cdef size_t share = core.far.ceiling // SHARE // max(core.far.functions, <size_t>1)
    return min(max(share, <size_t>1), <size_t>NEAR_BYTES)


cdef int form_of_restored(Core* core, Function* function, int priority, Field unique, Field workload) noexcept nogil:
    """How a job that comes back from the store is to lie in memory."""
    cdef size_t near = near_bytes(core)
    if workload.size < SMALL or is_dash(unique.data, unique.size):
        return WITHIN
    if not is_full(core) \
            or function.queued[priority] * (ROW + workload.size) < near and function.queued[priority] < NEAR:
        return BESIDE
    if absence_of(core, function) == NULL:
        return BESIDE
    if not core.far.told:
        tell(core)
    return AWAY


cdef void tell(Core* core) noexcept nogil:
    """A log is told, once."""
    cdef char line[190]
    core.far.told = True
    note(core, LEVEL_INFO, line, <size_t>snprintf(
        line, sizeof(line), "queued jobs take %zu bytes, half of store-memory or more: the workloads of those far from "
        "their turn stay in the store", in_memory(core)))


cdef bint may_leave(Job* job) noexcept nogil:
    """Whether its workload can be absent. One that stands for its unique cannot: it is compared with others."""
    return job_is_durable(job) and (job.worker & APART or job_is_large(job)) and not job_is_absent(job) \
        and not job_by_data(job)


cdef bint is_settled(Core* core, Job* job) noexcept nogil:
    """Whether the record of a durable job is in the store. The late ones that gather must be in order."""
    return not batch_has(core.journal.gathering, job.number) and (
        core.journal.committing == NULL or not batch_has(core.journal.committing, job.number))


cdef void sweep(Core* core, size_t steps) noexcept nogil:
    """Make far jobs absent while all of them take too much; about `steps` jobs are looked at."""
    cdef Far* far = core.far
    cdef Function* function
    cdef size_t left = core.function_count
    cdef int place
    if not is_full(core):
        return
    sort_late(&core.journal.gathering.late)
    while left:
        function = far.next if far.next != NULL else core.first_function
        place = DELAYED
        while place >= 0:
            if function.total > function.running:
                sweep_queue(core, function, place, &steps)
            place -= 1
        far.next = function.next
        if steps == 0 or not is_full(core):
            break
        steps -= 1
        left -= 1
    if far.freed >= TRIM:
        far.freed = 0
        gearfast_trim()


cdef inline size_t count_near(Core* core, Queue* queue, Job** far) noexcept nogil:
    """How many jobs at the head stay: twice as many as are fetched. `far`: the first one behind them, or NULL."""
    cdef Job* job = queue.head
    cdef size_t most = 2 * near_bytes(core)
    cdef size_t bytes = 0
    cdef size_t count = 0
    while job != NULL and count < 2 * NEAR and bytes < most:
        bytes += ROW + job.size
        count += 1
        job = job.next
    far[0] = job
    return count


cdef void sweep_queue(Core* core, Function* function, int place, size_t* steps) noexcept nogil:
    """Go on where the last sweep ended, or, if so much has left the queue since, begin behind what is near again."""
    cdef Queue* queue
    cdef Absence* absence = function.absence
    cdef Job* job
    cdef size_t kept = 0
    if function.history == NULL:
        return
    queue = &function.history.delayed if place == DELAYED else &function.queues[place]
    job = queue.head
    if absence != NULL and absence.swept[place] != NULL and 2 * absence.ahead[place] >= absence.kept[place]:
        job = absence.swept[place].next
    elif place != DELAYED:
        kept = count_near(core, queue, &job)
        steps[0] -= min(steps[0], kept)
    if job == NULL:
        return
    absence = absence_of(core, function)
    if absence == NULL:
        return
    if kept or absence.swept[place] == NULL:
        absence.swept[place] = NULL
        absence.kept[place] = absence.ahead[place] = kept
    while job != NULL and steps[0] and is_full(core):
        if job_is_durable(job) and not is_settled(core, job):
            return
        if may_leave(job):
            workload_leave(core, job)
            if not core.far.told:
                tell(core)
            core.far.freed += job.size
            absence.absent += 1
            if place != DELAYED:
                absence.near[place] = <uint32_t>min(<size_t>absence.near[place], absence.ahead[place])
        absence.swept[place] = job
        absence.ahead[place] += 1
        steps[0] -= 1
        job = job.next


# Coming back

cdef int by_number(const void* one, const void* other) noexcept nogil:
    cdef uint64_t a = (<uint64_t*>one)[0]
    cdef uint64_t b = (<uint64_t*>other)[0]
    return 1 if a > b else -1 if a < b else 0


cdef int ask(Core* core, Bytes* numbers) noexcept nogil:
    """Which workloads are wanted, rising; -1 without memory for their numbers. What is left over is asked for later."""
    cdef Far* far = core.far
    cdef size_t left = far.functions
    cdef size_t bytes = max(far.ceiling // SHARE, <size_t>1)
    cdef Absence* absence
    far.hungry = False
    if ask_letters(core, numbers) < 0:
        return -1
    while left and far.first != NULL and bytes and bytes_numbers(numbers) < ASKED:
        absence = far.first
        unlink(far, absence)
        append(far, absence)
        if absence.absent and ask_function(core, absence, numbers, &bytes) < 0:
            return -1
        left -= 1
    if left and far.first != NULL:
        far.hungry = True
    qsort(numbers.data, bytes_numbers(numbers), sizeof(uint64_t), by_number)
    far.asking = numbers.size != 0
    return 0


cdef int ask_letters(Core* core, Bytes* numbers) noexcept nogil:
    cdef Far* far = core.far
    cdef Letter* letter
    cdef size_t i
    for i in range(bytes_numbers(&far.letters)):
        letter = letter_find(core, bytes_number(&far.letters, i))
        if letter != NULL and job_is_absent(letter.job) and bytes_add_number(numbers, letter.job.number) < 0:
            return -1
    far.letters.size = 0
    return 0


cdef int ask_function(Core* core, Absence* absence, Bytes* numbers, size_t* bytes) noexcept nogil:
    cdef int priority
    cdef Job* head
    for priority in range(PRIORITIES):
        head = absence.function.queues[priority].head
        if head == NULL or absence.near[priority] > absence.low[priority] and not job_is_absent(head):
            continue
        if ask_queue(core, absence, priority, numbers, bytes) < 0:
            return -1
    return 0


cdef int ask_queue(Core* core, Absence* absence, int priority, Bytes* numbers, size_t* bytes) noexcept nogil:
    """Look at the jobs that are near the head of a queue."""
    cdef Job* job = absence.function.queues[priority].head
    cdef size_t most = near_bytes(core)
    cdef size_t seen = 0
    cdef uint32_t count = 0
    cdef uint32_t present = 0
    cdef bint all_present = True
    while job != NULL and count < NEAR and seen < most:
        if job_is_absent(job) and not job.flags & JOB_IGNORED:
            all_present = False
            if bytes[0] == 0 or bytes_numbers(numbers) >= ASKED:
                absence.far.hungry = True
                break
            if bytes_add_number(numbers, job.number) < 0:
                return -1
            bytes[0] -= min(bytes[0], <size_t>job.size)
        present += all_present
        seen += ROW + job.size
        count += 1
        job = job.next
    absence.near[priority] = present
    absence.low[priority] = count // 2
    return 0
