# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Functions: the table of names, and each one's queues of jobs.

A function exists from its first registration, submission or `create function` until `drop function`.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from gearfast.dispatch._absent cimport absence_free, absence_left
from gearfast.dispatch._gate cimport gate_clear, policy_release
from gearfast.dispatch._index cimport hash_bytes, index_first, index_insert, index_next, index_remove
from gearfast.dispatch._peer cimport side_limit
from gearfast.dispatch._records cimport Core, Function, Job, Node, Queue
from gearfast.dispatch._slab cimport slab_give, slab_take
from gearfast.dispatch._turns cimport rota_drop

cdef enum:
    STEPS = 1000                # that a search for a place in a queue may take


cdef inline size_t function_bytes(size_t size) noexcept nogil:
    """Of a record with a name of `size` bytes."""
    cdef Function some
    return <size_t>(<char*>&some.name[0] - <char*>&some) + size


cdef uint64_t hash_of_function(void* core, Node* function) noexcept nogil:
    return (<Function*>function).hash


cdef Function* find(Core* core, const char* name, size_t size, uint64_t hash) noexcept nogil:
    cdef Function* function = <Function*>index_first(&core.functions, hash)
    while function != NULL:
        if function.hash == hash and function.size == size and memcmp(function.name, name, size) == 0:
            return function
        function = <Function*>index_next(&function.node)
    return NULL


cdef Function* function_find(Core* core, const char* name, size_t size) noexcept nogil:
    """The function of this name, or NULL."""
    return find(core, name, size, hash_bytes(core.seed0, core.seed1, name, size))


cdef Function* function_get(Core* core, const char* name, size_t size) noexcept nogil:
    """The function of this name, made if need be; NULL without memory, or if functions take too much of it already."""
    cdef uint64_t hash
    cdef Function* function = core.recent
    if function != NULL and function.size == size and memcmp(function.name, name, size) == 0:
        return function
    hash = hash_bytes(core.seed0, core.seed1, name, size)
    function = find(core, name, size, hash)
    if function != NULL:
        core.recent = function
        return function
    if core.max_queued and core.name_bytes > side_limit(core):
        return NULL
    function = <Function*>slab_take(&core.slabs, function_bytes(size))
    if function == NULL:
        return NULL
    memset(function, 0, function_bytes(0))
    memcpy(function.name, name, size)
    function.size = <uint32_t>size
    function.hash = hash
    index_insert(&core.functions, &function.node, hash)
    function.prev = core.last_function
    if core.last_function != NULL:
        core.last_function.next = function
    else:
        core.first_function = function
    core.last_function = function
    core.function_count += 1
    core.name_bytes += function_bytes(size)
    if core.resolve != NULL:
        core.resolve(core, function)
    return function


cdef void function_drop(Core* core, Function* function) noexcept nogil:
    """Forget a function that has neither jobs nor workers."""
    index_remove(&core.functions, &function.node)
    if function.prev != NULL:
        function.prev.next = function.next
    else:
        core.first_function = function.next
    if function.next != NULL:
        function.next.prev = function.prev
    else:
        core.last_function = function.prev
    core.function_count -= 1
    core.name_bytes -= function_bytes(function.size)
    if core.recent == function:
        core.recent = NULL
    gate_clear(core, function)
    rota_drop(core, function)
    absence_free(core, function)
    policy_release(core, function.policy)
    free(function.history)
    slab_give(&core.slabs, function, function_bytes(function.size))


cdef void queue_push(Queue* queue, Job* job) noexcept nogil:
    """To the end."""
    job.next = NULL
    job.prev = queue.tail
    if queue.tail != NULL:
        queue.tail.next = job
    else:
        queue.head = job
    queue.tail = job


cdef void queue_insert(Queue* queue, Job* job) noexcept nogil:
    """Where it belongs by the time of its submission: looked for from both ends, then left at the end."""
    cdef Job* older = queue.head
    cdef Job* newer = queue.tail
    cdef int _
    for _ in range(STEPS):
        if older == NULL or newer.number < job.number:
            break
        if older.number > job.number:
            insert_before(queue, job, older)
            return
        if newer.prev == NULL or newer.prev.number < job.number:
            insert_before(queue, job, newer)
            return
        older = older.next
        newer = newer.prev
    queue_push(queue, job)


cdef void insert_before(Queue* queue, Job* job, Job* after) noexcept nogil:
    job.next = after
    job.prev = after.prev
    if after.prev != NULL:
        after.prev.next = job
    else:
        queue.head = job
    after.prev = job


cdef void queue_remove(Queue* queue, Job* job) noexcept nogil:
    if job.function.absence != NULL:
        absence_left(queue, job)
    if job.prev != NULL:
        job.prev.next = job.next
    else:
        queue.head = job.next
    if job.next != NULL:
        job.next.prev = job.prev
    else:
        queue.tail = job.prev
