# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What `_check.pyx` asks of results."""

from gearfast.dispatch._records cimport Core

cdef Py_ssize_t check_results(Core* core) except -1
