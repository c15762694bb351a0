# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What `_check.pyx` asks of blobs and of what holds references to them."""

from gearfast.dispatch._records cimport Core

cdef int check_blobs(Core* core) except -1
