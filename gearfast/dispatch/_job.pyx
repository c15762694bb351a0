# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Job records and handles.

A handle is the dispatcher's prefix, a colon and a number that counts up, so a job is found by that number: in pages
of 64 jobs, each of which is freed with its last job. Nothing hashes the text of a handle.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from gearfast._codec cimport Field
from gearfast.dispatch._blob cimport blob_drop, blob_hold
from gearfast.dispatch._index cimport (
    hash_bytes,
    hash_number,
    index_first,
    index_free,
    index_insert,
    index_next,
    index_node,
    index_remove,
)
from gearfast.dispatch._records cimport (
    ABSENT,
    APART,
    JOB_HAS_REDUCER,
    Core,
    Function,
    HandlePage,
    Handles,
    Index,
    Job,
    Large,
    Node,
)
from gearfast.dispatch._slab cimport slab_give, slab_take
from gearfast.dispatch._words cimport put_decimal

cdef enum:
    PAGE_BITS = 6
    PAGE_MASK = 63

cdef char PAIRS[200]            # "00" to "99"


cdef Job* job_new(Core* core, Field unique, Field reducer, Field workload, int form) noexcept nogil:
    """A job with the next handle and nothing else yet; NULL without memory. `reducer.data` NULL stands for none."""
    cdef Job* job = job_new_numbered(core, core.next_number, unique, reducer, workload, form)
    if job != NULL:
        core.next_number += 1
    return job


cdef Job* job_new_numbered(
        Core* core, uint64_t number, Field unique, Field reducer, Field workload, int form) noexcept nogil:
    """The same with the handle of this number. `form`: one of Form; only with a `far` may it be another than WITHIN."""
    cdef size_t extra = 1 + reducer.size if reducer.data != NULL else 0
    cdef size_t room = unique_room(unique.data, unique.size)
    cdef bint apart = form != WITHIN and workload.size < LARGE
    cdef size_t size = cell_size(room, extra, workload.size, apart)
    cdef Job* job = <Job*>slab_take(&core.slabs, size)
    cdef char* at
    if job == NULL:
        return NULL
    memset(job, 0, sizeof(Job))
    job.unique_size = <unsigned char>unique.size
    job.size = <uint32_t>workload.size
    if room:
        memcpy(job_unique(job), unique.data, unique.size)
    at = <char*>(job + 1) + room
    if extra:
        job.flags = JOB_HAS_REDUCER
        at[0] = <char>reducer.size
        memcpy(at + 1, reducer.data, reducer.size)
        at += extra
    if apart:
        job.worker = APART
    if form == AWAY:
        set_absent(core, job)
    elif workload.size >= LARGE or apart:
        if hold_workload(core, at, workload, apart) < 0:
            slab_give(&core.slabs, job, size)
            return NULL
    elif workload.size:
        memcpy(at, workload.data, workload.size)
    job.number = number
    if handles_add(core, job) < 0:
        drop_workload(core, job)
        slab_give(&core.slabs, job, size)
        return NULL
    core.job_count += 1
    core.queued_bytes += size
    return job


cdef int hold_workload(Core* core, char* at, Field workload, bint apart) noexcept nogil:
    """Write a Large for a large workload, or where its cell is; 0, or -1 without memory."""
    cdef Large large
    cdef char* cell
    if apart:
        cell = <char*>slab_take(&core.slabs, workload.size)
        if cell == NULL:
            return -1
        memcpy(cell, workload.data, workload.size)
        memcpy(at, &cell, sizeof(cell))
        core.queued_bytes += workload.size
        return 0
    large.data = workload.data
    large.blob = blob_hold(core, &large.data, workload.size)
    if large.blob == NULL:
        return -1
    memcpy(at, &large, sizeof(Large))
    core.queued_bytes += workload.size
    return 0


cdef void drop_workload(Core* core, Job* job) noexcept nogil:
    """Give back what lies outside of its record."""
    if job_is_absent(job):
        core.far.absent -= 1
        core.far.absent_bytes -= job.size
        return
    if job_is_large(job):
        blob_drop(core, job_large(job).blob)
    elif job.worker & APART:
        slab_give(&core.slabs, job_apart(job), job.size)
    else:
        return
    core.queued_bytes -= job.size


cdef void set_absent(Core* core, Job* job) noexcept nogil:
    """Its workload, which is large or apart, is nowhere."""
    memset(job_rest(job) + job_reducer_size(job), 0, sizeof(Large) if job_is_large(job) else sizeof(char*))
    job.worker |= ABSENT
    core.far.absent += 1
    core.far.absent_bytes += job.size


cdef void workload_leave(Core* core, Job* job) noexcept nogil:
    """The workload of a job, which is large or apart, becomes absent."""
    drop_workload(core, job)
    set_absent(core, job)


cdef int workload_return(Core* core, Job* job, const char* data) noexcept nogil:
    """That of an absent job is back; 0, or -1 without memory."""
    cdef Field workload
    workload.data = data
    workload.size = job.size
    if hold_workload(core, job_rest(job) + job_reducer_size(job), workload, not job_is_large(job)) < 0:
        return -1
    core.last_large = 0     # it did not come in a frame
    job.worker &= ~<uint32_t>ABSENT
    core.far.absent -= 1
    core.far.absent_bytes -= job.size
    return 0


cdef inline size_t job_cell(Job* job) noexcept nogil:
    """Bytes of its record."""
    return cell_size(job_unique_room(job), job_reducer_size(job), job.size, job.worker & APART != 0)


cdef void job_free(Core* core, Job* job) noexcept nogil:
    """Forget a job that is in no list any more."""
    handles_remove(core, job)
    core.job_count -= 1
    job_release(core, job)


cdef void job_release(Core* core, Job* job) noexcept nogil:
    """The same of one whose handle does not find it any more."""
    cdef size_t size = job_cell(job)
    core.queued_bytes -= size
    drop_workload(core, job)
    slab_give(&core.slabs, job, size)


cdef size_t job_bytes(Job* job) noexcept nogil:
    """What a job takes, its records in tables and lists aside."""
    cdef bint outside = (job_is_large(job) or job.worker & APART) and not job_is_absent(job)
    return job_cell(job) + (job.size if outside else 0)


cdef uint64_t unique_hash(Core* core, Function* function, const char* key, size_t size) noexcept nogil:
    """Of a unique or, if that is `-`, of a workload. The function takes part: many may well use the same uniques."""
    return hash_bytes(core.seed0 ^ function.hash, core.seed1, key, size)


cdef uint64_t hash_of_job(void* core, Node* node) noexcept nogil:
    """A job's hash in Core.uniques. A workload may be long, so its hash was kept."""
    cdef Job* job = node_job(node)
    cdef uint64_t hash
    if not job_by_data(job):
        return unique_hash(<Core*>core, job.function, job_unique(job), job.unique_size)
    memcpy(&hash, job_data_hash(job), sizeof(hash))
    return hash


cdef uint64_t hash_of_page(void* core, Node* page) noexcept nogil:
    return hash_number(0, (<HandlePage*>page).key)


cdef HandlePage* find_page(Handles* handles, uint64_t key) noexcept nogil:
    cdef Node* node
    if handles.last != NULL and handles.last.key == key:
        return handles.last
    node = index_first(&handles.pages, hash_number(0, key))
    while node != NULL and (<HandlePage*>node).key != key:
        node = index_next(node)
    if node != NULL:
        handles.last = <HandlePage*>node
    return <HandlePage*>node


cdef int handles_add(Core* core, Job* job) noexcept nogil:
    """0, or -1 without memory."""
    cdef Handles* handles = &core.handles
    cdef HandlePage* page = find_page(handles, job.number >> PAGE_BITS)
    if page == NULL:
        page = <HandlePage*>slab_take(&core.slabs, sizeof(HandlePage))
        if page == NULL:
            return -1
        memset(page, 0, sizeof(HandlePage))
        page.key = job.number >> PAGE_BITS
        index_insert(&handles.pages, &page.node, hash_number(0, page.key))
        if handles.newest != NULL and handles.newest.used == 0:
            drop_page(core, handles.newest)
        handles.newest = page
        handles.last = page
    page.jobs[job.number & PAGE_MASK] = job
    page.used += 1
    return 0


cdef Job* handles_get(Handles* handles, uint64_t number) noexcept nogil:
    cdef HandlePage* page = find_page(handles, number >> PAGE_BITS)
    return page.jobs[number & PAGE_MASK] if page != NULL else NULL


cdef void handles_remove(Core* core, Job* job) noexcept nogil:
    cdef Handles* handles = &core.handles
    cdef HandlePage* page = find_page(handles, job.number >> PAGE_BITS)
    page.jobs[job.number & PAGE_MASK] = NULL
    page.used -= 1
    if page.used == 0 and page != handles.newest:
        drop_page(core, page)


cdef void drop_page(Core* core, HandlePage* page) noexcept nogil:
    index_remove(&core.handles.pages, &page.node)
    core.handles.last = NULL
    slab_give(&core.slabs, page, sizeof(HandlePage))


cdef void walk_begin(Walk* walk) noexcept nogil:
    walk.node = NULL
    walk.bucket = 0
    walk.entry = 0
    walk.old = False


cdef Job* walk_next(Handles* handles, Walk* walk) noexcept nogil:
    """The next of all jobs, in no order; NULL at the end. No job may come or go during a walk."""
    cdef Index* pages = &handles.pages
    cdef HandlePage* page
    cdef Job* job
    while True:
        while walk.node == NULL:
            if walk.bucket > (pages.old_mask if walk.old else pages.mask):
                if walk.old or pages.old == NULL:
                    return NULL
                walk.old = True
                walk.bucket = pages.cursor
            walk.node = index_node(pages.old[walk.bucket] if walk.old else pages.slots[walk.bucket])
            walk.bucket += 1
            walk.entry = 0
        page = <HandlePage*>walk.node
        while walk.entry <= PAGE_MASK:
            job = page.jobs[walk.entry]
            walk.entry += 1
            if job != NULL:
                return job
        walk.entry = 0
        walk.node = index_next(walk.node)


cdef void handles_free(Core* core) noexcept nogil:
    """Free the index; all jobs must be gone."""
    if core.handles.newest != NULL:
        drop_page(core, core.handles.newest)
    index_free(&core.handles.pages)


cdef inline void put_four(char* at, uint32_t number) noexcept nogil:
    """Four decimal digits."""
    cdef uint32_t high = number // 100
    memcpy(at, PAIRS + 2 * high, 2)
    memcpy(at + 2, PAIRS + 2 * (number - 100 * high), 2)


cdef size_t write_handle(Core* core, char* at, uint64_t number) noexcept nogil:
    """Write a handle; returns its bytes, less than HANDLE_ROOM.

    Handles that follow each other differ in their last digits, so all but the last four are kept as text.
    """
    cdef Handles* handles = &core.handles
    cdef uint64_t high = number // 10000
    if high == 0:
        memcpy(at, core.prefix, core.prefix_size)
        return core.prefix_size + put_decimal(at + core.prefix_size, number)
    if high != handles.spelled:
        memcpy(handles.spelling, core.prefix, core.prefix_size)
        handles.spelled_size = core.prefix_size + put_decimal(handles.spelling + core.prefix_size, high)
        handles.spelled = high
    memcpy(at, handles.spelling, handles.spelled_size)
    put_four(at + handles.spelled_size, <uint32_t>(number - 10000 * high))
    return handles.spelled_size + 4


cdef Job* job_by_handle(Core* core, const char* handle, size_t size) noexcept nogil:
    """The job of a handle, or NULL if it is unknown or not written as this server writes it."""
    cdef Handles* handles = &core.handles
    cdef size_t i = handles.spelled_size
    cdef uint32_t last
    if handles.spelled and size == i + 4 and memcmp(handle, handles.spelling, i) == 0:
        last = 0
        while i < size and c'0' <= handle[i] <= c'9':
            last = 10 * last + <uint32_t>(handle[i] - c'0')
            i += 1
        return handles_get(handles, 10000 * handles.spelled + last) if i == size else NULL
    return job_of_any_handle(core, handle, size)


cdef Job* job_of_any_handle(Core* core, const char* handle, size_t size) noexcept nogil:
    cdef uint64_t number = number_of_handle(core, handle, size)
    return handles_get(&core.handles, number) if number else NULL


cdef uint64_t number_of_handle(Core* core, const char* handle, size_t size) noexcept nogil:
    """N of a handle, 0 if it is not written as this server writes it."""
    cdef size_t i
    cdef uint64_t number = 0
    cdef char digit
    if size <= core.prefix_size or size > core.prefix_size + 20:
        return 0
    if memcmp(handle, core.prefix, core.prefix_size) != 0 or handle[core.prefix_size] == c'0':
        return 0
    for i in range(core.prefix_size, size):
        digit = handle[i]
        if digit < c'0' or digit > c'9' or number > (<uint64_t>-1 - <uint64_t>(digit - c'0')) // 10:
            return 0
        number = number * 10 + <uint64_t>(digit - c'0')
    return number


cdef void fill_pairs():
    cdef int i
    for i in range(100):
        PAIRS[2 * i] = <char>(c'0' + i // 10)
        PAIRS[2 * i + 1] = <char>(c'0' + i % 10)


fill_pairs()
