# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What the store has to be told of jobs, in batches: one gathers while the one before it is committed.

A job is durable from its first record on until its end. The record of a job that ends while it still gathers is taken
out again, so such a job never reaches the store. A job that becomes a dead letter, one that is a job again, and the
result of one that has ended, get a record in place of the one before (`rewrite`). What a client is told of a durable
job waits for its batch (see `_holds.pyx`), unless the journal is relaxed.

How a batch ends is `_settle.pyx`'s.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memcpy, memmove

from gearfast._codec cimport Field
from gearfast.dispatch._bytes cimport (
    bytes_add_number,
    bytes_free,
    bytes_numbers,
    bytes_space,
)
from gearfast.dispatch._holds cimport hold_add, hold_reserve
from gearfast.dispatch._journal cimport batch_is_empty, journal_refuses
from gearfast.dispatch._job cimport job_is_absent, job_losses, job_unique
from gearfast.dispatch._peer cimport peer_cut
from gearfast.dispatch._record cimport (
    RECORD_DEAD,
    RECORD_REWRITE,
    Head,
    has_ended,
    record_size,
    record_write,
    result_record_size,
    result_record_write,
)
from gearfast.dispatch._records cimport (
    CLAIMED,
    DURABLE,
    FENCE_LOST,
    MOST_LOSSES,
    RESULT_DURABLE,
    Added,
    Batch,
    Bytes,
    Change,
    Core,
    Freed,
    Function,
    Job,
    Journal,
    Letter,
    Peer,
    Result,
)

cdef enum:
    MOST_UNIQUE = 64            # bytes of one
    KEEP = 1048576              # room of a batch's bytes that the next but one may take over


cdef Batch* batch_new(uint64_t number) noexcept nogil:
    cdef Batch* batch = <Batch*>calloc(1, sizeof(Batch))
    if batch != NULL:
        batch.number = number
    return batch


cdef void batch_free(Batch* batch) noexcept nogil:
    if batch == NULL:
        return
    bytes_free(&batch.records)
    bytes_free(&batch.index)
    bytes_free(&batch.late)
    bytes_free(&batch.replaced)
    bytes_free(&batch.changes)
    bytes_free(&batch.done)
    bytes_free(&batch.holders)
    bytes_free(&batch.freed)
    bytes_free(&batch.asked)
    free(batch)


cdef void clear(Bytes* bytes) noexcept nogil:
    if bytes.room > KEEP:
        bytes_free(bytes)
    bytes.size = 0


cdef void batch_clear(Batch* batch, uint64_t number) noexcept nogil:
    """Make it the batch `number`, of nothing yet. Its room stays, unless that is large."""
    batch.number = number
    clear(&batch.records)
    clear(&batch.index)
    clear(&batch.late)
    clear(&batch.replaced)
    clear(&batch.changes)
    clear(&batch.done)
    clear(&batch.holders)
    clear(&batch.freed)
    clear(&batch.asked)
    batch.claims = 0
    batch.dead = 0
    batch.dead_bytes = 0
    batch.wanted = False


cdef Journal* journal_new(uint64_t first, bint relaxed) noexcept nogil:
    """A journal whose first batch has this number (1 or more); NULL without memory."""
    cdef Journal* journal = <Journal*>calloc(1, sizeof(Journal))
    if journal == NULL:
        return NULL
    journal.gathering = batch_new(first)
    journal.spare = batch_new(0)
    journal.relaxed = relaxed
    if journal.gathering == NULL or journal.spare == NULL:
        batch_free(journal.gathering)
        batch_free(journal.spare)
        free(journal)
        return NULL
    return journal


cdef void journal_free(Core* core) noexcept nogil:
    if core.journal == NULL:
        return
    batch_free(core.journal.gathering)
    batch_free(core.journal.committing)
    batch_free(core.journal.spare)
    free(core.journal)
    core.journal = NULL


# What is told

cdef inline bint nobody_waits(Core* core, Job* job) noexcept nogil:
    """A relaxed journal does not let anybody wait, but for whether a unique is claimed: that decides about the handle.

    `job`: of which a client is told, NULL: none.
    """
    return core.journal.relaxed and (job == NULL or not job.worker & CLAIMED)


cdef int journal_reserve(Core* core, Peer* peer, Job* job) noexcept nogil:
    """Make sure that `journal_promise` has the memory it needs; 0, or -1."""
    return 0 if nobody_waits(core, job) else reserve(core, peer)


cdef int reserve(Core* core, Peer* peer) noexcept nogil:
    if hold_reserve(peer) < 0 or bytes_space(&core.journal.gathering.holders, sizeof(uint64_t)) == NULL:
        return -1
    if core.journal.committing != NULL \
            and bytes_space(&core.journal.committing.holders, sizeof(uint64_t)) == NULL:
        return -1
    return 0


cdef Added* note_place(Batch* batch, Bytes* where, uint64_t number) noexcept nogil:
    """The next record is this job's; NULL without memory."""
    cdef Added* added = <Added*>bytes_space(where, sizeof(Added))
    if added != NULL:
        added.number = number
        added.at = batch.records.size
        where.size += sizeof(Added)
    return added


cdef int journal_add(Core* core, Job* job, int64_t due) noexcept nogil:
    """A job becomes durable: its record goes with this batch. 0, or -1 without memory. `due`: wall ns, 0 at once."""
    cdef Batch* batch = core.journal.gathering
    cdef size_t size = record_size(job, NULL)
    cdef size_t count = batch.index.size // sizeof(Added)
    cdef char* at = bytes_space(&batch.records, size)
    cdef Added* added
    if at == NULL:
        return -1
    if job.number + 1 == core.next_number and (
            count == 0 or (<Added*>batch.index.data)[count - 1].number < job.number):
        added = note_place(batch, &batch.index, job.number)
    else:
        added = note_place(batch, &batch.late, job.number)
    if added == NULL:
        return -1
    record_write(<Head*>at, job, size, due, NULL)
    batch.records.size += size
    if job.worker & CLAIMED:
        batch.claims += 1
    job.losses |= DURABLE
    core.journal.jobs += 1
    core.journal.added += 1
    return 0


cdef void journal_ask(Core* core, Peer* peer, Field unique) noexcept nogil:
    """What this peer is told next of a unique that is not here waits until the store was asked for it.

    Without memory for that it is told what this server knows.
    """
    cdef Batch* batch = core.journal.gathering
    cdef char* at = bytes_space(&batch.asked, 1 + unique.size) if unique.size <= MOST_UNIQUE else NULL
    if at == NULL or reserve(core, peer) < 0:
        return
    at[0] = <char>unique.size
    memcpy(at + 1, unique.data, unique.size)
    batch.asked.size += 1 + unique.size
    batch.wanted = True
    wait_for(core, peer, batch.number)


cdef void journal_promise(Core* core, Peer* peer, Job* job) noexcept nogil:
    """What is written to this peer from now on is true only with all that the journal was told.

    journal_reserve has made sure of memory.
    """
    cdef Journal* journal = core.journal
    cdef uint64_t batch = journal.gathering.number
    if nobody_waits(core, job):
        return
    if batch_is_empty(journal.gathering):
        if journal.committing == NULL:
            return
        batch = journal.committing.number
    wait_for(core, peer, batch)


cdef void wait_for(Core* core, Peer* peer, uint64_t number) noexcept nogil:
    cdef Batch* batch = core.journal.gathering
    if number != batch.number:
        batch = core.journal.committing
    if hold_add(peer, number):
        bytes_add_number(&batch.holders, peer.id)


cdef inline Added* find_added(Batch* batch, uint64_t number) noexcept nogil:
    """Where the record of this job is; NULL if it is none of this batch, a late one, or taken out."""
    cdef Added* index = <Added*>batch.index.data
    cdef size_t low = 0
    cdef size_t high = batch.index.size // sizeof(Added)
    cdef size_t middle
    if high == 0 or number < index[0].number or number > index[high - 1].number:
        return NULL
    while high - low > 1:
        middle = (low + high) // 2
        if index[middle].number <= number:
            low = middle
        else:
            high = middle
    if index[low].number != number or batch.dead and (
            (<Head*>(batch.records.data + index[low].at)).flags & RECORD_DEAD):
        return NULL
    return &index[low]


cdef bint batch_has(Batch* batch, uint64_t number) noexcept nogil:
    """Whether this batch, which was taken, makes this job durable."""
    return find_added(batch, number) != NULL or late_has(&batch.late, number)


cdef void journal_change(Core* core, Job* job) noexcept nogil:
    """A durable job was lost with its worker, or waits for another time."""
    cdef Batch* batch = core.journal.gathering
    cdef Added* added = find_added(batch, job.number)
    cdef Head* head
    cdef Change* change
    if added != NULL:
        head = <Head*>(batch.records.data + added.at)
        head.losses = <uint16_t>job_losses(job)
        return
    change = <Change*>bytes_space(&batch.changes, sizeof(Change))
    if change == NULL:
        return      # the store knows an older number of losses: not worth an error
    change.number = job.number
    change.due = 0
    change.losses = job_losses(job)
    change.fill = 0
    batch.changes.size += sizeof(Change)


cdef void journal_end(Core* core, Job* job) noexcept nogil:
    """A durable job has ended, or is wanted by nobody any more."""
    cdef Batch* batch = core.journal.gathering
    cdef Added* added = find_added(batch, job.number)
    job.losses &= MOST_LOSSES
    core.journal.jobs -= 1
    core.journal.ended += 1
    if added != NULL:
        take_back(batch, <Head*>(batch.records.data + added.at))
        core.journal.spared += 1
        return
    if bytes_add_number(&batch.done, job.number) < 0:
        core.journal.unkept += 1
    if job.worker & CLAIMED:
        free_claim(core, job)


cdef void free_claim(Core* core, Job* job) noexcept nogil:
    """The unique of a job that has ended may be used again. Without memory to tell it, the store is not told."""
    cdef Bytes* freed = &core.journal.gathering.freed
    cdef Function* function = job.function
    cdef char* at = bytes_space(freed, sizeof(Freed) + function.size + job.unique_size)
    cdef Freed head
    job.worker &= ~<uint32_t>CLAIMED
    if at == NULL:
        core.journal.unkept += 1
        return
    head.number = job.number
    head.function = function.size
    head.unique = job.unique_size
    memcpy(at, &head, sizeof(Freed))
    memcpy(at + sizeof(Freed), function.name, function.size)
    memcpy(at + sizeof(Freed) + function.size, job_unique(job), job.unique_size)
    freed.size += sizeof(Freed) + function.size + job.unique_size


cdef void take_back(Batch* batch, Head* head) noexcept nogil:
    """A record of the batch that gathers is not to be stored."""
    head.flags |= RECORD_DEAD
    batch.dead += 1
    batch.dead_bytes += head.size


cdef Head* rewrite(Core* core, uint64_t number, size_t size, uint8_t* flags) noexcept nogil:
    """Where a record is to be written in place of the one that a durable job has; NULL without memory.

    `flags`: what it is to have beside its own.
    """
    cdef Batch* batch = core.journal.gathering
    cdef Added* added = find_added(batch, number)
    cdef char* at = bytes_space(&batch.records, size)
    cdef Change* change = <Change*>bytes_space(&batch.changes, sizeof(Change))
    if at == NULL or change == NULL or bytes_space(&batch.replaced, sizeof(uint64_t)) == NULL \
            or note_place(batch, &batch.late, number) == NULL:
        return NULL
    if added != NULL:
        take_back(batch, <Head*>(batch.records.data + added.at))
        flags[0] = 0
    else:
        bytes_add_number(&batch.replaced, number)
        flags[0] = RECORD_REWRITE
    batch.records.size += size
    # Losses that were told before are in the record now.
    change.number = number
    change.due = 0
    change.losses = 0
    change.fill = 0
    batch.changes.size += sizeof(Change)
    return <Head*>at


cdef int journal_rewrite(Core* core, Job* job, Letter* letter) noexcept nogil:
    """A record in place of the one that a durable job, or its dead letter, has; -1 without memory for it.

    `letter`: as which it is kept from now on, NULL: as a job.
    """
    cdef size_t size = record_size(job, letter)
    cdef uint8_t flags
    cdef Head* head = rewrite(core, job.number, size, &flags)
    if head == NULL:
        return -1
    record_write(head, job, size, 0, letter)
    head.flags |= flags
    return 0


cdef int journal_rewrite_result(Core* core, Result* result) noexcept nogil:
    """A result in place of what the store has of its job; -1 without memory for it."""
    cdef size_t size = result_record_size(result)
    cdef uint8_t flags
    cdef Head* head = rewrite(core, result.number, size, &flags)
    if head == NULL:
        return -1
    result_record_write(head, result, size)
    head.flags |= flags
    result.flags |= RESULT_DURABLE
    return 0


cdef void journal_keep(Core* core, Job* job, Result* result) noexcept nogil:
    """A durable job has ended with this result. Without memory to tell it, the store is only told of the end."""
    if journal_rewrite_result(core, result) < 0:
        return
    job.losses &= MOST_LOSSES
    core.journal.jobs -= 1
    core.journal.ended += 1
    if job.worker & CLAIMED:
        free_claim(core, job)


cdef void journal_end_result(Core* core, Result* result) noexcept nogil:
    """A durable result goes."""
    if bytes_add_number(&core.journal.gathering.done, result.number) < 0:
        core.journal.unkept += 1


cdef void journal_bury(Core* core, Letter* letter) noexcept nogil:
    """A durable job has become a dead letter. Without memory to tell it, it comes back as a job."""
    core.journal.jobs -= 1
    if letter.job.worker & CLAIMED:
        free_claim(core, letter.job)
    if job_is_absent(letter.job):
        return      # its record is written once its workload is back
    if journal_rewrite(core, letter.job, letter) < 0:
        letter.job.losses &= MOST_LOSSES
        core.journal.unkept += 1


cdef void journal_end_letter(Core* core, Letter* letter) noexcept nogil:
    """A durable dead letter goes."""
    letter.job.losses &= MOST_LOSSES
    if bytes_add_number(&core.journal.gathering.done, letter.job.number) < 0:
        core.journal.unkept += 1


cdef void journal_revive(Core* core, Job* job) noexcept nogil:
    """A dead letter is a job again: durable if it was, or if there is a store to keep it. Nobody was promised that."""
    if not job.losses & DURABLE:
        if not journal_refuses(core):
            journal_add(core, job, 0)
    elif job_is_absent(job):
        journal_change(core, job)       # the store still has it as a job
        core.journal.jobs += 1
    elif journal_rewrite(core, job, NULL) == 0:
        core.journal.jobs += 1
    else:
        job.losses &= MOST_LOSSES


cdef void journal_fence(Core* core, Peer* peer) noexcept nogil:
    """What this worker asks next is answered once the store knows of the jobs that have ended here."""
    cdef Batch* gathering = core.journal.gathering
    cdef Batch* committing = core.journal.committing
    cdef uint64_t fence = peer.fence
    if fence == FENCE_LOST:
        peer_cut(core, peer)    # the one honest answer
        return
    if journal_reserve(core, peer, NULL) < 0 or core.journal.relaxed:
        return
    if fence == gathering.number or committing != NULL and fence == committing.number:
        wait_for(core, peer, fence)
    else:
        peer.fence = 0      # that batch is settled


# Batches on their way

cdef int by_number_and_place(const void* one, const void* other) noexcept nogil:
    cdef Added* a = <Added*>one
    cdef Added* b = <Added*>other
    if a.number != b.number:
        return 1 if a.number > b.number else -1
    return 1 if a.at > b.at else -1


cdef int by_number(const void* one, const void* other) noexcept nogil:
    cdef uint64_t a = (<uint64_t*>one)[0]
    cdef uint64_t b = (<uint64_t*>other)[0]
    return 1 if a > b else -1 if a < b else 0


cdef void sort_late(Bytes* late) noexcept nogil:
    if late.size:
        qsort(late.data, late.size // sizeof(Added), sizeof(Added), by_number_and_place)


cdef bint late_has(Bytes* late, uint64_t number) noexcept nogil:
    """Whether a job is among these, which were sorted."""
    cdef Added* list = <Added*>late.data
    cdef size_t low = 0
    cdef size_t high = late.size // sizeof(Added)
    cdef size_t count = high
    cdef size_t middle
    while low < high:
        middle = (low + high) // 2
        if list[middle].number < number:
            low = middle + 1
        else:
            high = middle
    return low < count and list[low].number == number


cdef bint numbers_have(Bytes* numbers, uint64_t number) noexcept nogil:
    """The same of numbers."""
    return has_ended(<uint64_t*>numbers.data, bytes_numbers(numbers), number)


cdef void put_in_order(Batch* batch) noexcept nogil:
    """Of several late records of a job the last one stays; numbers of jobs rise, each once."""
    cdef Added* late = <Added*>batch.late.data
    cdef uint64_t* numbers = <uint64_t*>batch.replaced.data
    cdef size_t count = batch.late.size // sizeof(Added)
    cdef size_t kept = 0
    cdef size_t i
    sort_late(&batch.late)
    for i in range(count):
        if i + 1 < count and late[i + 1].number == late[i].number:
            take_back(batch, <Head*>(batch.records.data + late[i].at))
            continue
        late[kept] = late[i]
        kept += 1
    batch.late.size = kept * sizeof(Added)
    count = bytes_numbers(&batch.replaced)
    if count == 0:
        return
    qsort(numbers, count, sizeof(uint64_t), by_number)
    kept = 0
    for i in range(count):
        if kept == 0 or numbers[kept - 1] != numbers[i]:
            numbers[kept] = numbers[i]
            kept += 1
    batch.replaced.size = kept * sizeof(uint64_t)


cdef void take_out_dead(Batch* batch) noexcept nogil:
    """Move the records together that are still wanted."""
    cdef char* data = batch.records.data
    cdef size_t at = 0
    cdef size_t to = 0
    cdef size_t size
    cdef size_t i
    cdef size_t left = 0
    cdef Added* index = <Added*>batch.index.data
    cdef size_t count = batch.index.size // sizeof(Added)
    for i in range(count):
        if (<Head*>(data + index[i].at)).flags & RECORD_DEAD:
            continue
        index[left].number = index[i].number
        left += 1
    while at < batch.records.size:
        size = (<Head*>(data + at)).size
        if not (<Head*>(data + at)).flags & RECORD_DEAD:
            if to != at:
                memmove(data + to, data + at, size)
            to += size
        at += size
    batch.records.size = to
    batch.index.size = left * sizeof(Added)
    batch.dead = 0
    batch.dead_bytes = 0


cdef Batch* journal_take(Core* core) noexcept nogil:
    """The batch that has gathered, for the driver to commit; NULL if there is none, or the last one is not settled."""
    cdef Journal* journal = core.journal
    cdef Batch* batch = journal.gathering
    if journal.committing != NULL or batch_is_empty(batch):
        return NULL
    put_in_order(batch)
    if batch.dead:
        take_out_dead(batch)
    journal.committing = batch
    journal.gathering = journal.spare
    journal.spare = NULL
    batch_clear(journal.gathering, batch.number + 1)
    return batch
