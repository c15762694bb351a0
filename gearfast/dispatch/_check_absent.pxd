# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What `_check.pyx` asks of absent workloads."""

from gearfast.dispatch._records cimport Core

cdef int check_absent(Core* core) except -1
