# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""The dispatcher as a driver sees it: bytes of a peer in, dirty peers out, time in, the next deadline out."""

from libc.stdint cimport int64_t

from gearfast.dispatch._records cimport Core, Peer

ctypedef void (*Watch)(Core* core) noexcept nogil

cdef bint is_checked() noexcept
cdef void watch_with(Watch watch) noexcept
cdef int feed(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil
cdef char* feed_space(Core* core, Peer* peer, size_t* room) noexcept nogil
cdef int feed_commit(Core* core, Peer* peer, size_t size) noexcept nogil
cdef size_t draw_output(Core* core, Peer* peer, char* to, size_t room) noexcept nogil
cdef Peer* join(Core* core, int fd, const char* address, size_t size, int admin) noexcept nogil
cdef void part(Core* core, Peer* peer) noexcept nogil
cdef bint is_idle(Core* core) noexcept nogil
cdef int64_t time_left(Core* core) noexcept nogil
cdef void begin_tick(Core* core, int64_t monotonic, int64_t wall) noexcept nogil
cdef int64_t end_tick(Core* core) noexcept nogil
cdef void all_are_back(Core* core) noexcept nogil
cdef void complete_frames(Core* core, Peer* peer) noexcept nogil
