# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What clients are told of jobs that could not be stored."""

from libc.stdint cimport uint64_t

from gearfast.dispatch._records cimport Batch, Core, Peer

cdef void refuse_held(Core* core, Peer* peer, Batch* batch) noexcept nogil
cdef void amend_held(Core* core, Peer* peer) noexcept nogil
cdef uint64_t winner_of(Core* core, uint64_t number) noexcept nogil
