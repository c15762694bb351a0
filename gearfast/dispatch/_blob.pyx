# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Blobs: large pieces of data that are held by reference instead of being copied.

A large frame is received into a blob of its own. The job that it submits, and every peer that is still to be sent a
part of it, hold a reference to that blob; it is freed with the last one. What holds a reference keeps the whole blob
in memory, so data that fills less than half of its blob is copied into one of its own.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

from gearfast.dispatch._records cimport Blob, Core

cdef enum:
    PAGE = 4096                 # rooms are multiples of it, so that spare blobs fit again
    SPARE_ROOM = 262144         # larger ones are never kept
    SPARE_BYTES = 1048576       # of room in spare blobs


cdef inline size_t whole_pages(size_t room) noexcept nogil:
    return (sizeof(Blob) + room + PAGE - 1) // PAGE * PAGE - sizeof(Blob)


cdef Blob* take_spare(Core* core, size_t room) noexcept nogil:
    """A spare blob that has the room, and not much more."""
    cdef Blob** link = &core.spare_blobs
    cdef Blob* blob
    while link[0] != NULL:
        blob = link[0]
        if room <= blob.room <= room + room // 4:
            link[0] = blob.next
            core.spare_bytes -= blob.room
            return blob
        link = &blob.next
    return NULL


cdef Blob* blob_new(Core* core, size_t room) noexcept nogil:
    """An empty blob with one reference, the caller's; NULL without memory."""
    cdef Blob* blob = NULL
    room = whole_pages(room)
    if room <= SPARE_ROOM:
        blob = take_spare(core, room)
    if blob == NULL:
        blob = <Blob*>malloc(sizeof(Blob) + room)
        if blob == NULL:
            return NULL
        blob.room = room
    blob.next = NULL
    blob.begin = 0
    blob.end = 0
    blob.references = 1
    core.blob_count += 1
    core.blob_bytes += blob.room
    return blob


cdef Blob* blob_resize(Core* core, Blob* blob, size_t room) noexcept nogil:
    """Change the room of a blob that only the caller holds; NULL without memory, and the blob is as it was."""
    cdef Blob* moved
    room = whole_pages(room)
    moved = <Blob*>realloc(blob, sizeof(Blob) + room)
    if moved != NULL:
        core.blob_bytes += room - moved.room
        moved.room = room
    return moved


cdef Blob* blob_hold(Core* core, const char** data, size_t size) noexcept nogil:
    """A blob that holds the data of the frame at hand, with a reference for the caller; `data` then points into it.

    NULL without memory.
    """
    cdef Blob* blob = core.input
    core.last_large = size
    if blob != NULL and blob.room // 2 <= size:
        blob.references += 1
        return blob
    blob = blob_new(core, size)
    if blob != NULL:
        memcpy(blob.data, data[0], size)
        blob.end = size
        data[0] = blob.data
    return blob


cdef void blob_drop(Core* core, Blob* blob) noexcept nogil:
    """Give one reference back."""
    blob.references -= 1
    if blob.references:
        return
    core.blob_count -= 1
    core.blob_bytes -= blob.room
    if blob.room > SPARE_ROOM or core.spare_bytes + blob.room > SPARE_BYTES:
        free(blob)
        return
    blob.next = core.spare_blobs
    core.spare_blobs = blob
    core.spare_bytes += blob.room


cdef void blobs_free(Core* core) noexcept nogil:
    """Free the spare ones."""
    cdef Blob* blob
    while core.spare_blobs != NULL:
        blob = core.spare_blobs
        core.spare_blobs = blob.next
        free(blob)
    core.spare_bytes = 0
