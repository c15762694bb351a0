# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Policies in C: one record for all functions that are allowed the same."""

from gearfast.dispatch._records cimport Core

cdef int resolve_all(Core* core) except -1
