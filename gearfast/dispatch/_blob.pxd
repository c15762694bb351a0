# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""Large pieces of data that are held by reference instead of being copied."""

from gearfast.dispatch._records cimport Blob, Core

cdef enum:
    LARGE = 32768               # bytes from which on a workload or a body is held by reference

cdef Blob* blob_new(Core* core, size_t room) noexcept nogil
cdef Blob* blob_resize(Core* core, Blob* blob, size_t room) noexcept nogil
cdef Blob* blob_hold(Core* core, const char** data, size_t size) noexcept nogil
cdef void blob_drop(Core* core, Blob* blob) noexcept nogil
cdef void blobs_free(Core* core) noexcept nogil
