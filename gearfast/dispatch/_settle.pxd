# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""How a batch ends: all that it told is in the store, or nothing of it."""

from gearfast.dispatch._records cimport Core

cdef void journal_settle(Core* core, bint stored) noexcept nogil
