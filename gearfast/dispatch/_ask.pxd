# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""The function that the server answers itself: what became of a job."""

from libc.string cimport memcmp

from gearfast._codec cimport Field
from gearfast.dispatch._records cimport Core, Peer

cdef enum:
    RESULT_NAME = 15            # bytes of `gearfast.result`
    RESULT_NOW_NAME = 19        # and of `gearfast.result.now`

cdef int ask(Core* core, Peer* peer, Field function, Field question) noexcept nogil
cdef bint is_answerable(Core* core, Field question) noexcept nogil


cdef inline bint is_reserved(Field function) noexcept nogil:
    """Whether the server answers this function itself. Nearly all names differ from these in their length."""
    return (function.size == RESULT_NAME or function.size == RESULT_NOW_NAME) \
        and memcmp(function.data, b"gearfast.result.now", function.size) == 0
