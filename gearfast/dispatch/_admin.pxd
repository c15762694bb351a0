# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""The text commands of administrators."""

from gearfast._codec cimport Field
from gearfast.dispatch._records cimport Core, Peer

cdef bint handle_line(Core* core, Peer* peer, Field line) noexcept nogil
cdef bint line_must_wait(Field line) noexcept nogil
