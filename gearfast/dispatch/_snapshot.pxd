# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""The dispatcher's state as Python objects."""

from gearfast.dispatch._records cimport Core

cdef list list_jobs(Core* core)
cdef list list_letters(Core* core)
cdef list list_results(Core* core)
cdef list list_functions(Core* core)
cdef list list_peers(Core* core)
cdef dict read_stats(Core* core)
cdef dict read_metrics(Core* core)
