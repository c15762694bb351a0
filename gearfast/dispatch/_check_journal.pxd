# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What `_check.pyx` asks of the journal and of output that waits for a commit."""

from gearfast.dispatch._records cimport Core

cdef int check_journal(Core* core) except -1
