# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A function's counters begin with its first job: workers that register twenty thousand functions pay for none."""

from libc.stdlib cimport calloc

from gearfast.dispatch._records cimport Function, Tally


cdef Tally* tally_new(Function* function) noexcept nogil:
    function.tally = <Tally*>calloc(1, sizeof(Tally))
    return function.tally
