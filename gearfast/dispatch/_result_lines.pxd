# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""The text command `results`: results listed, shown and dropped."""

from gearfast._codec cimport Field
from gearfast.dispatch._records cimport Core, Peer

cdef void results_line(Core* core, Peer* peer, Field* words, int count, bint read_only) noexcept nogil
