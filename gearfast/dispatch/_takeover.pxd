# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""A journal whose jobs are this server's for a time only: the lease."""

from libc.stdint cimport int64_t, uint64_t

from gearfast.dispatch._records cimport Core

cdef void lapse(Core* core) noexcept nogil
cdef void lease_set(Core* core, int64_t until) noexcept nogil
cdef void lease_lost(Core* core, uint64_t number, uint64_t batch) noexcept nogil


cdef inline void lease_check(Core* core) noexcept nogil:
    """The time was set: durable jobs may not be this server's any more."""
    if core.journal != NULL and core.journal.lease_until and core.now >= core.journal.lease_until \
            and not core.journal.lapsed:
        lapse(core)
