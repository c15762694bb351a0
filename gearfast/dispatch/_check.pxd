# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Every promise of `_records.pxd` and `_life.pyx`, checked on the live records."""

from gearfast.dispatch._records cimport Core, Function

cdef int check_core(Core* core) except -1
cdef void assert_core(Core* core) noexcept nogil
cdef int runnable_level(Core* core, Function* function) noexcept
