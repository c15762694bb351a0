# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A peer's output: bytes in a buffer (`Peer.out`), and between them parts of blobs (`Peer.parts`).

Each part knows how many bytes of the buffer go out after the part before it and before itself; what is in the buffer
beyond all of these follows the last part. Without parts the output is the buffer alone.
"""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove

from gearfast._codec cimport Field
from gearfast.dispatch._blob cimport blob_drop
from gearfast.dispatch._buffer cimport buffer_drop, buffer_release
from gearfast.dispatch._records cimport PEER_HOLDING, Blob, Core, Part, Parts, Peer

cdef enum:
    FIRST_ROOM = 6


cdef int output_reserve(Peer* peer) noexcept nogil:
    """Make sure that there is room for one more part; 0, or -1 without memory."""
    cdef Parts* parts = peer.parts
    cdef size_t room
    if parts == NULL:
        parts = <Parts*>malloc(sizeof(Parts) + FIRST_ROOM * sizeof(Part))
        if parts == NULL:
            return -1
        parts.first = 0
        parts.count = 0
        parts.room = FIRST_ROOM
        parts.before = 0
        peer.parts = parts
    elif parts.first + parts.count == parts.room:
        if parts.first > parts.room // 2:
            memmove(parts.list, parts.list + parts.first, parts.count * sizeof(Part))
            parts.first = 0
            return 0
        room = 2 * parts.room
        parts = <Parts*>realloc(parts, sizeof(Parts) + room * sizeof(Part))
        if parts == NULL:
            return -1
        parts.room = room
        peer.parts = parts
    return 0


cdef void output_refer(Peer* peer, Blob* blob, const char* data, size_t size) noexcept nogil:
    """Add a part of a blob, which gets one more reference; output_reserve has made room for it."""
    cdef Parts* parts = peer.parts
    cdef Part* part = &parts.list[parts.first + parts.count]
    part.blob = blob
    part.data = data
    part.size = size
    part.before = peer.out.end - peer.out.begin - parts.before
    parts.before += part.before
    parts.count += 1
    peer.referenced += size
    blob.references += 1


cdef size_t output_pieces(Peer* peer, Field* pieces, size_t most) noexcept nogil:
    """Where the output lies, its first byte first; at most `most` (two or more) pieces. Returns how many."""
    cdef Parts* parts = peer.parts
    cdef const char* at = peer.out.data + peer.out.begin if peer.out.data != NULL else NULL
    cdef size_t left = peer.out.end - peer.out.begin
    cdef size_t found = 0
    cdef size_t i
    cdef Part* part
    if parts != NULL:
        for i in range(parts.count):
            if found + 2 > most:
                return found
            part = &parts.list[parts.first + i]
            if part.before:
                pieces[found].data = at
                pieces[found].size = part.before
                at += part.before
                left -= part.before
                found += 1
            pieces[found].data = part.data
            pieces[found].size = part.size
            found += 1
    if left and found < most:
        pieces[found].data = at
        pieces[found].size = left
        found += 1
    return found


cdef void output_drop(Core* core, Peer* peer, size_t size) noexcept nogil:
    """Forget `size` bytes that were sent."""
    if peer.flags & PEER_HOLDING:
        peer.holds.list[peer.holds.first].before -= size
        peer.holds.before -= size
    cdef Parts* parts = peer.parts
    cdef Part* part
    cdef size_t some
    while size and parts != NULL:
        part = &parts.list[parts.first]
        some = min(size, part.before)
        if some:
            part.before -= some
            parts.before -= some
            size -= some
            buffer_drop(&core.pool, &peer.out, some)
        some = min(size, part.size)
        part.data += some
        part.size -= some
        size -= some
        peer.referenced -= some
        if part.size or part.before:
            return
        blob_drop(core, part.blob)
        parts.first += 1
        parts.count -= 1
        if parts.count == 0:
            free(parts)
            parts = peer.parts = NULL
    if size:
        buffer_drop(&core.pool, &peer.out, size)


cdef void output_release(Core* core, Peer* peer) noexcept nogil:
    """Forget all output."""
    cdef Parts* parts = peer.parts
    cdef size_t i
    buffer_release(&core.pool, &peer.out)
    if peer.holds != NULL:
        free(peer.holds)
        peer.holds = NULL
        peer.flags &= ~<uint32_t>PEER_HOLDING
    if parts == NULL:
        return
    for i in range(parts.count):
        blob_drop(core, parts.list[parts.first + i].blob)
    free(parts)
    peer.parts = NULL
    peer.referenced = 0
