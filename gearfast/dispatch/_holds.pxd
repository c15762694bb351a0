# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Output that waits for a commit."""

from libc.stdint cimport uint64_t

from gearfast.dispatch._peer cimport peer_unsent
from gearfast.dispatch._records cimport PEER_HOLDING, Core, Peer

cdef int hold_reserve(Peer* peer) noexcept nogil
cdef bint hold_add(Peer* peer, uint64_t batch) noexcept nogil
cdef bint hold_postpone(Peer* peer, uint64_t batch, uint64_t to) noexcept nogil
cdef void hold_release(Core* core, Peer* peer, uint64_t batch) noexcept nogil


cdef inline size_t peer_sendable(Peer* peer) noexcept nogil:
    """Bytes of output that may leave: up to the first that waits for a commit."""
    if peer.flags & PEER_HOLDING:
        return peer.holds.list[peer.holds.first].before
    return peer_unsent(peer)
