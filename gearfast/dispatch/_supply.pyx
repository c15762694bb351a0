# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Workloads that come back from the store: into their jobs, whose workers are then woken.

A job whose record cannot be read will never be able to run. So that its queue goes on it is dropped, and who waits for
it is told; what the store has of it stays there.
"""

from libc.stdint cimport uint64_t

from gearfast.dispatch._absent cimport ask
from gearfast.dispatch._end cimport drop_failed
from gearfast.dispatch._grab cimport rise_again
from gearfast.dispatch._job cimport handles_get, job_is_absent, job_is_durable, workload_return
from gearfast.dispatch._journal cimport journal_rewrite
from gearfast.dispatch._letter cimport letter_find
from gearfast.dispatch._notices cimport LEVEL_WARNING, note_job
from gearfast.dispatch._record cimport Record, record_read
from gearfast.dispatch._records cimport MOST_LOSSES, Absence, Bytes, Core, Job, Letter


cdef int supply_ask(Core* core, Bytes* numbers) noexcept nogil:
    """Which workloads are wanted (see `ask`). Where none is, nobody has to wait for any."""
    if ask(core, numbers) < 0:
        return -1
    if not core.far.asking:
        wake_all(core)
    return 0


cdef int supply(Core* core, const char* data, size_t size) noexcept nogil:
    """Fill in the workloads of these records, which lie one behind the other and aligned to 8 bytes: a Supplied."""
    cdef Record record
    cdef size_t at = 0
    cdef size_t step
    cdef int outcome = SUPPLY_DONE
    while at < size:
        step = record_read(data + at, size - at, &record)
        if step == 0:
            outcome = SUPPLY_NO_RECORD
            break
        if fill(core, &record) < 0:
            outcome = SUPPLY_NO_MEMORY
            break
        at += step
    wake_all(core)
    return outcome


cdef int fill(Core* core, Record* record) noexcept nogil:
    """0, or -1 without memory. A job that is gone, or present, is let be."""
    cdef uint64_t number = record.head.number
    cdef Job* job = handles_get(&core.handles, number)
    cdef Letter* letter = letter_find(core, number) if job == NULL else NULL
    if letter != NULL:
        job = letter.job
    if job == NULL or not job_is_absent(job):
        return 0
    if record.size != job.size:
        give_up(core, number)
        return 0
    if workload_return(core, job, record.workload) < 0:
        return -1
    core.far.fetched += 1
    if letter == NULL:
        job.function.absence.absent -= 1
    elif job_is_durable(job) and journal_rewrite(core, job, letter) < 0:
        job.losses &= MOST_LOSSES
        core.journal.unkept += 1
    return 0


cdef void give_up(Core* core, uint64_t number) noexcept nogil:
    """The record of this job cannot be read."""
    cdef Job* job = handles_get(&core.handles, number)
    if job == NULL or not job_is_absent(job):
        return
    core.far.lost += 1
    note_job(core, LEVEL_WARNING, "Dropped a job whose record in the store cannot be read: ", job)
    if job_is_durable(job):
        job.losses &= MOST_LOSSES       # not to be told to the store: what it has stays
        core.journal.jobs -= 1
    drop_failed(core, job)


cdef void supply_end(Core* core, const uint64_t* missing, size_t count) noexcept nogil:
    """All that was asked for has come, but for these, which never will."""
    cdef size_t i
    for i in range(count):
        give_up(core, missing[i])
    core.far.asking = False
    core.far.hungry = True      # to look again, since something has changed
    wake_all(core)


cdef void wake_all(Core* core) noexcept nogil:
    """Functions that were blocked may have something to give again."""
    cdef Absence* absence = core.far.first
    while absence != NULL:
        if absence.blocked:
            absence.blocked = False
            rise_again(core, absence.function)
        absence = absence.next
