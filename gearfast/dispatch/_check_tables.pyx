# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `_check.pyx` asks of hash tables, heaps, buffers and lists, and the words in which it tells what is wrong."""

from libc.stdint cimport uint32_t, uint64_t

from gearfast.dispatch._ability cimport ability_level
from gearfast.dispatch._index cimport hash_number, index_first, index_head, index_mark, index_next, index_node
from gearfast.dispatch._records cimport (
    JOB_STATE,
    Ability,
    Buffer,
    Core,
    Function,
    HandlePage,
    Heap,
    Index,
    Job,
    Node,
    Peer,
    Slab,
)
from gearfast.dispatch._slab cimport FIRST_CELL, LARGEST_CELL, SLAB_BYTES, slab_is_full

cdef enum:
    NO_SLOT = 0xFFFFFFFF
    PAGE = 64                   # jobs in a HandlePage


# Telling

cdef int fail(str what) except -1:
    raise AssertionError(what)


cdef int equal(size_t found, size_t expected, str what, str other) except -1:
    if found != expected:
        fail(f"{found} {what}, but {expected} {other}")
    return 0


cdef str name_function(Function* function):
    return f"function {(<bytes>function.name[:min(function.size, <size_t>40)])!r}"


cdef int wrong_function(Function* function, str what) except -1:
    return fail(f"{name_function(function)}: {what}")


cdef int wrong_job(Job* job, str what) except -1:
    return fail(f"job {job.number}: {what}")


cdef int wrong_peer(Peer* peer, str what) except -1:
    return fail(f"peer {peer.id & 0xFFFFFFFF} of generation {peer.id >> 32}: {what}")


cdef int wrong_ability(Ability* ability, str what) except -1:
    return wrong_peer(ability.peer, f"its registration of {name_function(ability.function)}: {what}")


# Hash tables

cdef int check_index(Index* index, str name) except -1:
    """Each node is where a search for its hash looks, half-moved tables included, and they are as many as it counts."""
    cdef size_t i
    cdef size_t count = 0
    if index.mask & (index.mask + 1) or index.old != NULL and index.old_mask & (index.old_mask + 1):
        fail(f"index of {name}: a size that is no power of two")
    if index.old != NULL and index.cursor > index.old_mask:
        fail(f"index of {name}: the move of the old table has ended, but it is still there")
    for i in range(index.mask + 1):
        count += check_chain(index, &index.slots[i], index.count - count, name)
    if index.old != NULL:
        for i in range(index.cursor, index.old_mask + 1):
            count += check_chain(index, &index.old[i], index.count - count, name)
    equal(count, index.count, f"nodes in the index of {name}", "in its count")
    return 0


cdef Py_ssize_t check_chain(Index* index, Node** head, size_t most, str name) except -1:
    cdef size_t count = 0
    cdef Node* link = head[0]
    cdef Node* node = index_node(link)
    while node != NULL:
        count += 1
        if count > most:
            fail(f"index of {name}: more nodes than its count, or a chain that never ends")
        if index_head(index, index.hash_of(index.context, node)) != head:
            fail(f"index of {name}: a node in a bucket where no search would look")
        link = node.next
        node = index_node(link)
    if link != index_mark(head) and (link != NULL or count):
        fail(f"index of {name}: a chain whose end does not tell its bucket")
    return count


# Timers

cdef int check_timers(Heap* heap, int state, str name) except -1:
    """`state`: what all jobs in this heap are, a JobFlag."""
    cdef uint32_t i
    cdef Job* job
    check_order(heap, name)
    for i in range(heap.count):
        job = <Job*>heap.entries[i].item
        if job.timer != i + 1:
            wrong_job(job, f"it is at place {i + 1} of the heap of {name}, and believes to be at {job.timer}")
        if job.flags & JOB_STATE != state:
            wrong_job(job, f"state {job.flags & JOB_STATE} with a timer in the heap of {name}")
    return 0


cdef int check_order(Heap* heap, str name) except -1:
    cdef uint32_t i
    if heap.count > heap.room:
        fail(f"heap of {name}: {heap.count} entries in room for {heap.room}")
    for i in range(1, heap.count):
        if heap.entries[(i - 1) >> 1].key > heap.entries[i].key:
            fail(f"heap of {name}: entry {i} comes before the one above it")
    return 0


cdef bint timer_is_in(Heap* heap, Job* job) noexcept:
    return 0 < job.timer <= heap.count and heap.entries[job.timer - 1].item == job


# Handles

cdef bint is_known(Core* core, Job* job) noexcept:
    """Whether the number of its handle finds this job."""
    cdef uint64_t key = job.number // PAGE
    cdef Node* node = index_first(&core.handles.pages, hash_number(0, key))
    while node != NULL:
        if (<HandlePage*>node).key == key:
            return (<HandlePage*>node).jobs[job.number % PAGE] == job
        node = index_next(node)
    return False


cdef int check_pages(Core* core) except -1:
    cdef Index* pages = &core.handles.pages
    cdef size_t i
    cdef size_t jobs = 0
    if core.handles.last != NULL and not is_page(pages, core.handles.last):
        fail("the page of handles that was used last is not among the pages")
    if core.handles.newest != NULL and not is_page(pages, core.handles.newest):
        fail("the page of the newest handle is not among the pages")
    for i in range(pages.mask + 1):
        jobs += check_page_chain(index_node(pages.slots[i]), core.handles.newest)
    if pages.old != NULL:
        for i in range(pages.cursor, pages.old_mask + 1):
            jobs += check_page_chain(index_node(pages.old[i]), core.handles.newest)
    equal(jobs, core.job_count, "jobs in the pages of handles", "job_count")
    return 0


cdef bint is_page(Index* pages, HandlePage* page) noexcept:
    """By address only, since a page that is gone must not be read."""
    cdef size_t i
    cdef Node* node
    for i in range(pages.mask + 1):
        node = index_node(pages.slots[i])
        while node != NULL and node != &page.node:
            node = index_next(node)
        if node != NULL:
            return True
    if pages.old == NULL:
        return False
    for i in range(pages.cursor, pages.old_mask + 1):
        node = index_node(pages.old[i])
        while node != NULL and node != &page.node:
            node = index_next(node)
        if node != NULL:
            return True
    return False


cdef Py_ssize_t check_page_chain(Node* node, HandlePage* newest) except -1:
    """The pages of one bucket; returns how many jobs they hold."""
    cdef HandlePage* page
    cdef Job* job
    cdef uint32_t used
    cdef size_t jobs = 0
    cdef int i
    while node != NULL:
        page = <HandlePage*>node
        used = 0
        for i in range(PAGE):
            job = page.jobs[i]
            if job == NULL:
                continue
            used += 1
            if job.number % PAGE != <uint64_t>i or job.number // PAGE != page.key:
                wrong_job(job, f"it lies at place {i} of a page of handles, which is not its own")
        if used != page.used or used == 0 and page != newest:
            fail(f"a page of handles holds {used} jobs and counts {page.used}")
        jobs += used
        node = index_next(node)
    return jobs


# Peers

cdef int check_ready(Peer* peer, int level, size_t expected) except -1:
    """The heap of a worker's registrations of one level, which has none of a worker with one function."""
    cdef Heap* heap = &peer.ready[level]
    cdef uint32_t i
    cdef Ability* ability
    check_order(heap, f"a worker's registrations of level {level}")
    equal(heap.count, expected, f"registrations in the heap of level {level}", "with that level")
    for i in range(heap.count):
        ability = <Ability*>heap.entries[i].item
        if ability.peer != peer or ability_level(ability) != level:
            wrong_ability(ability, f"level {ability_level(ability)} in the heap of level {level} of peer {peer.id}")
        if ability.spot != i + 1 or ability.place != heap.entries[i].key:
            wrong_ability(ability, f"at {i + 1} with key {heap.entries[i].key} in its heap, which it does not know")
    return 0


cdef int check_buffer(Peer* peer, Buffer* buffer, str name) except -1:
    if not buffer.begin <= buffer.end <= buffer.room:
        wrong_peer(peer, f"{name}: bytes {buffer.begin} to {buffer.end} in room for {buffer.room}")
    if (buffer.data == NULL) != (buffer.room == 0):
        wrong_peer(peer, f"{name}: room for {buffer.room} bytes, {'no' if buffer.data == NULL else 'some'} memory")
    return 0


cdef int check_slots(Core* core) except -1:
    cdef uint32_t slot = core.free_slot
    cdef size_t count = 0
    while slot != NO_SLOT:
        count += 1
        if slot >= core.slot_count or count > core.slot_count:
            fail("the list of free slots for peers leaves their table, or never ends")
        if core.slots[slot].peer != NULL:
            wrong_peer(core.slots[slot].peer, "its slot counts as free")
        slot = core.slots[slot].next_free
    equal(count, core.slot_count - core.peer_count, "free slots in their list", "slots without a peer")
    return 0


cdef int check_slabs(Core* core) except -1:
    """The lists of slabs with free cells, and of empty ones."""
    cdef int i
    cdef size_t count = 0
    cdef Slab* slab
    cdef Slab* before
    for i in range(LARGEST_CELL // 8 + 1):
        before = NULL
        slab = core.slabs.open[i]
        while slab != NULL:
            if slab.prev != before or slab.cell != 8 * i or slab_is_full(slab):
                fail(f"a slab for {slab.cell} bytes does not belong into the list of those for {8 * i}")
            check_cells(slab)
            before = slab
            slab = slab.next
    slab = core.slabs.spare
    while slab != NULL and count <= core.slabs.spare_count:
        count += 1
        if slab.used:
            fail("a spare slab is in use")
        slab = slab.next
    equal(count, core.slabs.spare_count, "spare slabs in their list", "in its count")
    return 0


cdef int check_cells(Slab* slab) except -1:
    cdef size_t most = (SLAB_BYTES - FIRST_CELL) // slab.cell
    cdef size_t fresh = (slab.fresh - FIRST_CELL) // slab.cell
    cdef size_t count = 0
    cdef void* cell = slab.spare
    while cell != NULL and count <= most:
        count += 1
        if <size_t>cell & ~<size_t>(SLAB_BYTES - 1) != <size_t>slab:
            fail("a free cell of another slab")
        cell = (<void**>cell)[0]
    equal(count + slab.used, fresh, f"free and used cells of {slab.cell} bytes", "were ever handed out")
    return 0


cdef int check_rest(Core* core) except -1:
    """Spare blocks and notices."""
    cdef size_t i
    blocks = {<size_t>core.pool.blocks[i] for i in range(core.pool.count)}
    equal(len(blocks), core.pool.count, "different spare blocks in their list", "in its count")
    if core.notice_count > sizeof(core.notices) // sizeof(core.notices[0]):
        fail(f"{core.notice_count} notices")
    for i in range(core.notice_count):
        if core.notices[i].size > sizeof(core.notices[i].text):
            fail(f"a notice of {core.notices[i].size} bytes")
    return 0
