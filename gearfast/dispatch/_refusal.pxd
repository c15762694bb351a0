# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What clients are told of jobs that could not be stored."""

from gearfast.dispatch._records cimport Batch, Core, Peer

cdef void refuse_held(Core* core, Peer* peer, Batch* batch) noexcept nogil
