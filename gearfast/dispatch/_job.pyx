# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Job records and handles.

A handle is the dispatcher's prefix, a colon and a number that counts up, so a job is found by that number: in pages
of 512 jobs, each of which is freed with its last job. Nothing hashes the text of a handle.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from gearfast._codec cimport Field
from gearfast.dispatch._blob cimport LARGE, blob_drop, blob_hold
from gearfast.dispatch._index cimport hash_number, index_free, index_head, index_insert, index_remove
from gearfast.dispatch._records cimport JOB_LARGE, Core, HandlePage, Handles, Index, Job, Large, Node

cdef enum:
    PAGE_BITS = 9
    PAGE_MASK = 511


cdef Job* job_new(Core* core, Field unique, Field reducer, Field workload) noexcept nogil:
    """A job with a handle and nothing else yet; NULL without memory. `reducer.data` NULL stands for none."""
    cdef Large large
    cdef size_t size = workload.size
    cdef size_t tail
    cdef Job* job
    cdef char* at
    large.blob = NULL
    if size >= LARGE:
        large.data = workload.data
        large.blob = blob_hold(core, &large.data, size)
        if large.blob == NULL:
            return NULL
        workload.data = <const char*>&large
        workload.size = sizeof(Large)
    tail = unique.size + (reducer.size if reducer.data != NULL else 0) + workload.size
    job = <Job*>malloc(sizeof(Job) + (sizeof(Node) if unique.size else 0) + tail)
    if job == NULL:
        if large.blob != NULL:
            blob_drop(core, large.blob)
        return NULL
    memset(job, 0, sizeof(Job))
    job.unique_size = <unsigned char>unique.size
    job.size = size
    if large.blob != NULL:
        job.flags = JOB_LARGE
    at = <char*>(job + 1) + (sizeof(Node) if unique.size else 0)
    if unique.size:
        memcpy(at, unique.data, unique.size)
    if reducer.data != NULL:
        job.has_reducer = 1
        job.reducer_size = <unsigned short>reducer.size
        memcpy(at + unique.size, reducer.data, reducer.size)
    if workload.size:
        memcpy(at + tail - workload.size, workload.data, workload.size)
    job.number = core.next_number
    if handles_add(&core.handles, job) < 0:
        if large.blob != NULL:
            blob_drop(core, large.blob)
        free(job)
        return NULL
    core.next_number += 1
    core.job_count += 1
    return job


cdef void job_free(Core* core, Job* job) noexcept nogil:
    """Forget a job that is in no list any more."""
    handles_remove(&core.handles, job)
    core.job_count -= 1
    if job.flags & JOB_LARGE:
        blob_drop(core, job_large(job).blob)
    free(job)


cdef HandlePage* find_page(Handles* handles, uint64_t key) noexcept nogil:
    cdef uint64_t hash = hash_number(0, key)
    cdef Node* node
    if handles.last != NULL and handles.last.node.hash == hash:
        return handles.last
    node = index_head(&handles.pages, hash)[0]
    while node != NULL and node.hash != hash:
        node = node.next
    if node != NULL:
        handles.last = <HandlePage*>node
    return <HandlePage*>node


cdef int handles_add(Handles* handles, Job* job) noexcept nogil:
    """0, or -1 without memory."""
    cdef HandlePage* page = find_page(handles, job.number >> PAGE_BITS)
    if page == NULL:
        page = <HandlePage*>calloc(1, sizeof(HandlePage))
        if page == NULL:
            return -1
        index_insert(&handles.pages, &page.node, hash_number(0, job.number >> PAGE_BITS))
        handles.last = page
    page.jobs[job.number & PAGE_MASK] = job
    page.used += 1
    return 0


cdef Job* handles_get(Handles* handles, uint64_t number) noexcept nogil:
    cdef HandlePage* page = find_page(handles, number >> PAGE_BITS)
    return page.jobs[number & PAGE_MASK] if page != NULL else NULL


cdef void handles_remove(Handles* handles, Job* job) noexcept nogil:
    cdef HandlePage* page = find_page(handles, job.number >> PAGE_BITS)
    page.jobs[job.number & PAGE_MASK] = NULL
    page.used -= 1
    if page.used == 0:
        index_remove(&handles.pages, &page.node)
        handles.last = NULL
        free(page)


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
            walk.node = pages.old[walk.bucket] if walk.old else pages.slots[walk.bucket]
            walk.bucket += 1
            walk.entry = 0
        page = <HandlePage*>walk.node
        while walk.entry <= PAGE_MASK:
            job = page.jobs[walk.entry]
            walk.entry += 1
            if job != NULL:
                return job
        walk.entry = 0
        walk.node = walk.node.next


cdef void handles_free(Handles* handles) noexcept nogil:
    """Free the index; its pages must be gone."""
    index_free(&handles.pages)


cdef size_t write_handle(Core* core, char* at, uint64_t number) noexcept nogil:
    """Write a handle; returns its bytes, less than HANDLE_ROOM."""
    cdef char digits[20]
    cdef int n = 20
    while True:
        n -= 1
        digits[n] = <char>(c'0' + number % 10)
        number = number // 10
        if number == 0:
            break
    memcpy(at, core.prefix, core.prefix_size)
    memcpy(at + core.prefix_size, &digits[n], 20 - n)
    return core.prefix_size + 20 - n


cdef Job* job_by_handle(Core* core, const char* handle, size_t size) noexcept nogil:
    """The job of a handle, or NULL if it is unknown or not written as this server writes it."""
    cdef size_t i
    cdef uint64_t number = 0
    cdef char digit
    if size <= core.prefix_size or size > core.prefix_size + 20:
        return NULL
    if memcmp(handle, core.prefix, core.prefix_size) != 0 or handle[core.prefix_size] == c'0':
        return NULL
    for i in range(core.prefix_size, size):
        digit = handle[i]
        if digit < c'0' or digit > c'9' or number > (<uint64_t>-1 - <uint64_t>(digit - c'0')) // 10:
            return NULL
        number = number * 10 + <uint64_t>(digit - c'0')
    return handles_get(&core.handles, number)
