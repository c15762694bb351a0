# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What `_check.pyx` asks of policies."""

from gearfast.dispatch._records cimport Core, Function, Job

cdef int check_policies(Core* core) except -1
cdef int check_expiry(Core* core, Job* job) except -1
cdef bint is_closed(Core* core, Function* function) noexcept
