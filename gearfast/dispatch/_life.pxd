# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What befalls workers and clients, and with them their jobs: registration, loss, leaving, time."""

from gearfast.dispatch._records cimport Core, Function, Job, Peer

cdef int register(Core* core, Peer* peer, const char* name, size_t size, float timeout) noexcept nogil
cdef void unregister(Core* core, Peer* peer, Function* function) noexcept nogil
cdef void unregister_all(Core* core, Peer* peer) noexcept nogil
cdef void finish_allowed(Core* core, Job* job) noexcept nogil
cdef void fail_allowed(Core* core, Job* job) noexcept nogil
cdef bint try_again(Core* core, Job* job) noexcept nogil
cdef void leave(Core* core, Peer* peer) noexcept nogil
cdef bint run_timers(Core* core) noexcept nogil
