# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a function has from its first job on: counters, delayed jobs, dead letters, results, how its rate is used up.

Workers that register twenty thousand functions pay for none of it.
"""

from libc.stdlib cimport calloc

from gearfast.dispatch._records cimport Function, History


cdef History* history_new(Function* function) noexcept nogil:
    function.history = <History*>calloc(1, sizeof(History))
    if function.history != NULL:
        function.history.function = function
    return function.history
