# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What `_check.pyx` asks of hash tables, heaps, buffers and lists, and the words in which it tells what is wrong."""

from libc.stdint cimport uint32_t, uint64_t

from gearfast.dispatch._index cimport hash_number, index_head
from gearfast.dispatch._records cimport (
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
    Timer,
)

cdef enum:
    NO_SLOT = 0xFFFFFFFF
    PAGE = 512                  # jobs in a HandlePage


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
        count += check_chain(index, index.slots[i], &index.slots[i], index.count - count, name)
    if index.old != NULL:
        for i in range(index.cursor, index.old_mask + 1):
            count += check_chain(index, index.old[i], &index.old[i], index.count - count, name)
    equal(count, index.count, f"nodes in the index of {name}", "in its count")
    return 0


cdef Py_ssize_t check_chain(Index* index, Node* node, Node** head, size_t most, str name) except -1:
    cdef size_t count = 0
    while node != NULL:
        count += 1
        if count > most:
            fail(f"index of {name}: more nodes than its count, or a chain that never ends")
        if index_head(index, node.hash) != head:
            fail(f"index of {name}: a node in a bucket where no search would look")
        node = node.next
    return count


# Timers

cdef int check_heap(Heap* heap, int state, str name) except -1:
    cdef size_t i
    cdef Timer* timer
    if heap.count > heap.room:
        fail(f"heap of {name}: {heap.count} timers in room for {heap.room}")
    for i in range(heap.count):
        timer = heap.timers[i]
        if timer.place != i:
            fail(f"heap of {name}: timer {i} believes to be at {timer.place}")
        if i and heap.timers[(i - 1) >> 1].when > timer.when:
            fail(f"heap of {name}: timer {i} is due before the one above it")
        if timer.job.timer != timer:
            wrong_job(timer.job, f"its timer in the heap of {name} is not the one it knows")
        if timer.job.state != state:
            wrong_job(timer.job, f"state {timer.job.state} with a timer in the heap of {name}")
    return 0


cdef bint timer_is_in(Heap* heap, Timer* timer) noexcept:
    return timer.place < heap.count and heap.timers[timer.place] == timer


# Handles

cdef bint is_known(Core* core, Job* job) noexcept:
    """Whether the number of its handle finds this job."""
    cdef uint64_t hash = hash_number(0, job.number // PAGE)
    cdef Node* node = index_head(&core.handles.pages, hash)[0]
    while node != NULL:
        if node.hash == hash:
            return (<HandlePage*>node).jobs[job.number % PAGE] == job
        node = node.next
    return False


cdef int check_pages(Core* core) except -1:
    cdef Index* pages = &core.handles.pages
    cdef size_t i
    cdef size_t jobs = 0
    if core.handles.last != NULL and not is_page(pages, core.handles.last):
        fail("the page of handles that was used last is not among the pages")
    for i in range(pages.mask + 1):
        jobs += check_page_chain(pages.slots[i])
    if pages.old != NULL:
        for i in range(pages.cursor, pages.old_mask + 1):
            jobs += check_page_chain(pages.old[i])
    equal(jobs, core.job_count, "jobs in the pages of handles", "job_count")
    return 0


cdef bint is_page(Index* pages, HandlePage* page) noexcept:
    """By address only, since a page that is gone must not be read."""
    cdef size_t i
    cdef Node* node
    for i in range(pages.mask + 1):
        node = pages.slots[i]
        while node != NULL and node != &page.node:
            node = node.next
        if node != NULL:
            return True
    if pages.old == NULL:
        return False
    for i in range(pages.cursor, pages.old_mask + 1):
        node = pages.old[i]
        while node != NULL and node != &page.node:
            node = node.next
        if node != NULL:
            return True
    return False


cdef Py_ssize_t check_page_chain(Node* node) except -1:
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
            if job.number % PAGE != <uint64_t>i or hash_number(0, job.number // PAGE) != node.hash:
                wrong_job(job, f"it lies at place {i} of a page of handles, which is not its own")
        if used != page.used or used == 0:
            fail(f"a page of handles holds {used} jobs and counts {page.used}")
        jobs += used
        node = node.next
    return jobs


# Peers

cdef int check_pairing_heap(Peer* peer, int level, size_t expected) except -1:
    cdef Ability* ability = peer.ready[level]
    cdef Ability* child
    cdef Ability* before
    cdef size_t count = 0
    if ability != NULL and (ability.back != NULL or ability.sibling != NULL):
        wrong_ability(ability, "the root of a heap with something beside or above it")
    while ability != NULL:
        count += 1
        if count > expected:
            wrong_peer(peer, f"more registrations in the heap of level {level} than have it")
        if ability.peer != peer or ability.level != level:
            wrong_ability(ability, f"level {ability.level} in the heap of level {level} of peer {peer.id}")
        before = ability
        child = ability.child
        while child != NULL:
            if child.back != before:
                wrong_ability(child, "its link back in its heap is wrong")
            if child.place <= ability.place:
                wrong_ability(child, f"place {child.place} below place {ability.place} in its heap")
            before = child
            child = child.sibling
        ability = next_in_heap(ability)
    equal(count, expected, f"registrations in the heap of level {level}", "with that level")
    return 0


cdef Ability* next_in_heap(Ability* ability) noexcept:
    """The next one, children first. Links back are right this far."""
    if ability.child != NULL:
        return ability.child
    while ability != NULL and ability.sibling == NULL:
        while ability.back != NULL and ability.back.child != ability:
            ability = ability.back
        ability = ability.back
    return ability.sibling if ability != NULL else NULL


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


cdef int check_rest(Core* core) except -1:
    """Spare blocks and notices."""
    cdef void* block = core.pool.head
    cdef size_t count = 0
    cdef uint32_t i
    while block != NULL and count <= core.pool.count:
        count += 1
        block = (<void**>block)[0]
    equal(count, core.pool.count, "spare blocks in their list", "in its count")
    if core.notice_count > sizeof(core.notices) // sizeof(core.notices[0]):
        fail(f"{core.notice_count} notices")
    for i in range(core.notice_count):
        if core.notices[i].size > sizeof(core.notices[i].text):
            fail(f"a notice of {core.notices[i].size} bytes")
    return 0
