# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""A peer's output: bytes in a buffer, and between them parts of blobs."""

from gearfast._codec cimport Field
from gearfast.dispatch._records cimport Blob, Core, Peer

cdef int output_reserve(Peer* peer) noexcept nogil
cdef void output_refer(Peer* peer, Blob* blob, const char* data, size_t size) noexcept nogil
cdef size_t output_pieces(Peer* peer, Field* pieces, size_t most) noexcept nogil
cdef void output_drop(Core* core, Peer* peer, size_t size) noexcept nogil
cdef void output_release(Core* core, Peer* peer) noexcept nogil
