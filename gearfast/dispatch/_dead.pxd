# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""The text command `dead`: dead letters listed, shown, queued again and dropped."""

from libc.stdint cimport int64_t

from gearfast._codec cimport Field
from gearfast.dispatch._records cimport Core, Function, Letter, Peer

cdef enum Revived:
    REVIVED = 0
    UNIQUE_IN_USE = 1
    NO_ROOM = 2

cdef Revived letter_requeue(Core* core, Letter* letter) noexcept nogil
cdef const char* reason_name(Letter* letter) noexcept nogil
cdef void say(Core* core, Peer* peer, const char* text) noexcept nogil
cdef void say_escaped(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil
cdef void say_time(Core* core, Peer* peer, int64_t wall) noexcept nogil
cdef void say_done(Core* core, Peer* peer, size_t count) noexcept nogil
cdef void say_letters(Core* core, Peer* peer, Function* function) noexcept nogil
cdef void say_letter(Core* core, Peer* peer, Letter* letter) noexcept nogil
cdef void dead_line(Core* core, Peer* peer, Field* words, int count, bint read_only) noexcept nogil
