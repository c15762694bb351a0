# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What each packet does, found by its number."""

from gearfast._codec cimport Frame
from gearfast.dispatch._records cimport Core, Peer

cdef void handle_packet(Core* core, Peer* peer, Frame* frame) noexcept nogil
