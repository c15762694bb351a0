# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""A batch as Python sees it."""

from gearfast.dispatch._records cimport Batch as BatchRecord

cdef object make_batch(BatchRecord* record)
