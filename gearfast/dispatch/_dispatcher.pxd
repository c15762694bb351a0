# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""The Python face of the dispatcher."""

from gearfast.dispatch._records cimport Core, Peer


cdef class Dispatcher:
    cdef Core core
    cdef object next_match
    cdef public object on_schedule_line
    cdef object _policies
    cdef public object on_cluster
    cdef object __weakref__

    cdef Peer* find(self, peer) except NULL
