# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What `_check.pyx` asks of hash tables, heaps, buffers and lists, and the words in which it tells what is wrong."""

from gearfast.dispatch._records cimport Ability, Buffer, Core, Function, Heap, Index, Job, Peer

cdef int fail(str what) except -1
cdef int equal(size_t found, size_t expected, str what, str other) except -1
cdef str name_function(Function* function)
cdef int wrong_function(Function* function, str what) except -1
cdef int wrong_job(Job* job, str what) except -1
cdef int wrong_peer(Peer* peer, str what) except -1
cdef int wrong_ability(Ability* ability, str what) except -1
cdef int check_index(Index* index, str name) except -1
cdef int check_order(Heap* heap, str name) except -1
cdef int check_timers(Heap* heap, int state, str name) except -1
cdef bint timer_is_in(Heap* heap, Job* job) noexcept
cdef bint is_known(Core* core, Job* job) noexcept
cdef int check_pages(Core* core) except -1
cdef int check_ready(Peer* peer, int level, size_t expected) except -1
cdef int check_buffer(Peer* peer, Buffer* buffer, str name) except -1
cdef int check_slots(Core* core) except -1
cdef int check_slabs(Core* core) except -1
cdef int check_rest(Core* core) except -1
