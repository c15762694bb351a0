# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What cannot be answered before all jobs are back from the store."""

from gearfast._codec cimport Frame
from gearfast.dispatch._records cimport Core

cdef bint must_wait(Core* core, Frame* frame) noexcept nogil
