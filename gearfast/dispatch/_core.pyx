# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The dispatcher as a driver sees it, in C and without the GIL: bytes in, bytes out, who comes and goes, time.

Frames are done where they lie. What is not whole yet is kept: a small one in the peer's own buffer, a large one in a
blob, which the job that it submits then takes over.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy

from gearfast._codec cimport FAULTY, HEADER_BYTES, LINE, PACKET, Field, Frame, decode, get_u32
from gearfast.dispatch._admin cimport handle_line, line_must_wait
from gearfast.dispatch._blob cimport LARGE, blob_drop, blob_new, blob_resize
from gearfast.dispatch._buffer cimport buffer_append, buffer_drop, buffer_release
from gearfast.dispatch._commands cimport handle_packet
from gearfast.dispatch._holds cimport peer_sendable
from gearfast.dispatch._life cimport leave, run_timers
from gearfast.dispatch._notices cimport LEVEL_WARNING, note
from gearfast.dispatch._missing cimport must_wait
from gearfast.dispatch._output cimport output_drop, output_pieces
from gearfast.dispatch._peer cimport (
    peer_gone,
    peer_hold_back,
    peer_is_behind,
    peer_mark_dirty,
    peer_new,
    peer_relieve,
    peer_unpend,
)
from gearfast.dispatch._records cimport (
    PEER_ADMIN,
    PEER_CLOSING,
    PEER_FULL,
    PEER_PENDING,
    PEER_READ_ONLY,
    Blob,
    Core,
    Peer,
)
from gearfast.dispatch._takeover cimport lease_check

cdef enum:
    MOST_EFFORT = 20000         # records walked by commands in a tick, about a millisecond
    GROWTH = 65536              # least room that a large unfinished frame is given
    EAGER = 1048576             # most room that it is given at once
    SLACK = 4096                # room behind it for what follows; a rest that is not larger needs no blob
    QUIET = 8                   # reads without a large frame after which none is expected
    PIECES = 64                 # of output that are joined at a time
    FEW = 500                   # records, and slabs, that are all looked at after each call of a debug build
    SOME_SLABS = 32

cdef extern from *:
    """
    #ifdef GEARFAST_DEBUG
    #define GEARFAST_CHECKED 1
    #else
    #define GEARFAST_CHECKED 0
    #endif
    """
    const bint CHECKED "GEARFAST_CHECKED"

cdef Watch watch_core = NULL    # of a debug build: looks at all records after each call
cdef uint64_t watched_calls = 0


cdef bint is_checked() noexcept:
    """Whether this is a debug build, which looks at all records after each call."""
    return CHECKED


cdef void watch_with(Watch watch) noexcept:
    global watch_core
    watch_core = watch


cdef inline int checked(Core* core, int outcome) noexcept nogil:
    """`outcome`; in a debug build only if every record is as it has to be: the more there are, the more rarely."""
    if CHECKED and watch_core != NULL:
        look(core)
    return outcome


cdef void look(Core* core) noexcept nogil:
    global watched_calls
    cdef size_t records = core.job_count + core.abilities.count + core.function_count + core.peer_count
    cdef size_t slabs = max(core.slabs.count, <size_t>SOME_SLABS) - SOME_SLABS
    watched_calls += 1
    if watched_calls % (1 + records // FEW + slabs) == 0:
        watch_core(core)


cdef inline int feed_small(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    if peer.partial.end == peer.partial.begin:
        return run(core, peer, data, size)
    if buffer_append(&core.pool, &peer.partial, data, size) < 0:
        return give_up(core, peer)
    return run_partial(core, peer)


cdef int feed(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Take bytes of a peer; 0, or -1 if it is to be closed (what was answered before is sent first)."""
    return checked(core, take(core, peer, data, size))


cdef int take(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    if peer.flags & PEER_CLOSING:
        return -1
    core.stats.received += size
    if peer.whole:
        return feed_large(core, peer, data, size)
    return feed_small(core, peer, data, size)


cdef int feed_large(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """As feed, while a large frame is unfinished: only its own bytes go into its blob."""
    cdef size_t held, some
    while size and peer.whole:
        if peer.large == NULL and begin_large(core, peer) < 0:
            return give_up(core, peer)
        held = peer.large.end - peer.large.begin
        some = min(size, peer.whole - held)
        if some > peer.large.room - peer.large.end and grow_large(core, peer, some) < 0:
            return give_up(core, peer)
        memcpy(peer.large.data + peer.large.end, data, some)
        peer.large.end += some
        data += some
        size -= some
        if run_large(core, peer) < 0:
            return -1
    return feed_small(core, peer, data, size) if size else 0


cdef char* feed_space(Core* core, Peer* peer, size_t* room) noexcept nogil:
    """Where a driver is to receive what may be a large frame, or NULL where it should call `feed`.

    After it, the driver has to call feed_commit, or to let the peer go.
    """
    cdef size_t held, left
    if peer.expected == 0 or peer.flags & (PEER_CLOSING | PEER_PENDING | PEER_FULL):
        return NULL
    if peer.large == NULL and begin_large(core, peer) < 0:
        return NULL
    held = peer.large.end - peer.large.begin
    left = peer.large.room - peer.large.end
    if left < held and held + left < peer.whole and grow_large(core, peer, 0) < 0:
        return NULL
    room[0] = peer.large.room - peer.large.end
    return peer.large.data + peer.large.end


cdef int feed_commit(Core* core, Peer* peer, size_t size) noexcept nogil:
    """`size` bytes, or none, were received into feed_space; as `feed`."""
    peer.large.end += size
    core.stats.received += size
    return checked(core, run_large(core, peer))


cdef int begin_large(Core* core, Peer* peer) noexcept nogil:
    """A blob for a frame that is large or will probably be; what came of it moves there. -1 without memory.

    Memory follows the bytes that have come, not the length that was announced: beyond the least room it is at most
    what this peer's last large frame had, until more than half of it is used (see trim_large).
    """
    cdef size_t held = peer.partial.end - peer.partial.begin
    cdef size_t room = min(peer.expected, <size_t>EAGER)
    if peer.whole:
        room = min(max(max(room, <size_t>GROWTH), 2 * held), peer.whole)
    return move_large(core, peer, peer.partial.data + peer.partial.begin, held, room + SLACK)


cdef int move_large(Core* core, Peer* peer, const char* data, size_t size, size_t room) noexcept nogil:
    """The unfinished frame goes to a new blob with this room; -1 without memory."""
    cdef Blob* blob = blob_new(core, room)
    if blob == NULL:
        return -1
    if size:
        memcpy(blob.data, data, size)
    blob.end = size
    peer.large = blob
    if peer.partial.data != NULL:
        buffer_release(&core.pool, &peer.partial)
    return 0


cdef int grow_large(Core* core, Peer* peer, size_t more) noexcept nogil:
    """Room for `more` bytes, and for as many as there are, but not beyond the frame; -1 without memory."""
    cdef Blob* blob = peer.large
    cdef size_t held = blob.end - blob.begin
    cdef size_t room = min(max(max(2 * held, held + GROWTH), held + more), peer.whole)
    blob = blob_resize(core, blob, blob.begin + room + SLACK)
    if blob == NULL:
        return -1
    peer.large = blob
    return 0


cdef void trim_large(Core* core, Peer* peer) noexcept nogil:
    """Give back most of the room for which nothing came."""
    cdef Blob* blob = peer.large
    cdef size_t room = blob.begin + max(2 * (blob.end - blob.begin), <size_t>GROWTH)
    if blob.room > room + room // 4 + 2 * SLACK:    # a spare blob may have a quarter more than was asked for
        blob = blob_resize(core, blob, room + SLACK)
        if blob != NULL:
            peer.large = blob


cdef int run_large(Core* core, Peer* peer) noexcept nogil:
    cdef Blob* blob = peer.large
    cdef size_t held = blob.end - blob.begin
    cdef int result
    if peer.whole and held < peer.wanted:
        trim_large(core, peer)
        return 0
    core.input = blob
    result = run(core, peer, blob.data + blob.begin, held)
    core.input = NULL
    return result


cdef int run_partial(Core* core, Peer* peer) noexcept nogil:
    cdef size_t held = peer.partial.end - peer.partial.begin
    if held < peer.wanted or peer.flags & (PEER_PENDING | PEER_FULL):
        return 0
    return run(core, peer, peer.partial.data + peer.partial.begin, held)


cdef int run(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Do every whole frame in `data`, which may be the peer's own buffer or blob, and keep the rest.

    Whole frames are kept too, one being done at least, while the peer does not take its output or when commands of
    this tick have walked through very much.
    """
    cdef Frame frame
    cdef const char* end = data + size
    cdef int what = PACKET
    if size and peer_is_behind(core, peer):
        return hold_back(core, peer, data, size)
    while data < end:
        what = decode(data, end - data, core.max_packet, &frame)
        if what == PACKET:
            if core.restoring and must_wait(core, &frame):
                return hold_back_unknown(core, peer, data, end - data)
            handle_packet(core, peer, &frame)
        elif what != LINE:
            break
        elif core.restoring and line_must_wait(frame.args[0]):
            return hold_back_unknown(core, peer, data, end - data)
        else:
            core.stats.lines += 1
            if not handle_line(core, peer, frame.args[0]):
                return give_up(core, peer)
        data += frame.size
        if peer.flags & PEER_CLOSING:
            return give_up(core, peer)
        if data < end and (core.effort > MOST_EFFORT or peer_is_behind(core, peer)):
            return hold_back(core, peer, data, end - data)
    if what == FAULTY:
        note_fault(core, peer, frame.fault)
        return give_up(core, peer)
    if data == end and peer.partial.data == NULL and not (peer.expected or core.last_large):
        return 0
    peer.wanted = frame.size if data < end else HEADER_BYTES
    expect(core, peer, data, end - data)
    return keep(core, peer, data, end - data)


cdef int hold_back(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Keep whole frames until the next tick, or until the peer takes its output."""
    peer_hold_back(core, peer)
    peer.wanted = 0
    peer.whole = 0
    core.last_large = 0
    return keep(core, peer, data, size)


cdef int hold_back_unknown(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Keep frames that ask for what may still be in the store, until all jobs are back (see `all_are_back`)."""
    peer_unpend(core, peer)
    peer.flags |= PEER_FULL
    peer.wanted = 0
    peer.whole = 0
    core.last_large = 0
    return keep(core, peer, data, size)


cdef void all_are_back(Core* core) noexcept nogil:
    """All jobs of the store are here: frames that waited for them go on."""
    cdef size_t i
    cdef Peer* peer
    core.restoring = False
    for i in range(core.slot_count):
        peer = core.slots[i].peer
        if peer != NULL and peer.flags & PEER_FULL:
            peer_relieve(core, peer)
            peer_mark_dirty(core, peer)     # so that its driver looks at it, and reads from it again


cdef void expect(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Whether the frame of which this has come is large, and whether the next one may be."""
    if core.last_large:
        peer.expected = core.last_large
        core.last_large = 0
        peer.quiet = 0
    elif peer.expected:
        peer.quiet += 1
        if peer.quiet > QUIET:
            peer.expected = 0
    peer.whole = HEADER_BYTES + get_u32(data + 8) if size >= HEADER_BYTES and data[0] == 0 else 0
    if peer.whole < LARGE:
        peer.whole = 0
        return
    peer.quiet = 0
    if not peer.expected:
        peer.expected = GROWTH


cdef int keep(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Keep the last `size` bytes of what was there: all that was not dispatched."""
    cdef Blob* blob = core.input
    cdef int result = 0
    if peer.partial.data != NULL:
        buffer_drop(&core.pool, &peer.partial, peer.partial.end - peer.partial.begin - size)
        return 0
    if blob != NULL:
        blob.begin = blob.end - size
        if peer.whole and size > SLACK and blob.references == 1 and (
                blob.begin == 0 or blob.begin + peer.whole <= blob.room):
            trim_large(core, peer)
            return 0
        peer.large = NULL
    if peer.whole and size > SLACK:
        result = move_large(core, peer, data, size, min(peer.whole, max(2 * size, <size_t>GROWTH)) + SLACK)
    elif size:
        result = buffer_append(&core.pool, &peer.partial, data, size)
    if blob != NULL:
        blob_drop(core, blob)
    return result if result == 0 else give_up(core, peer)


cdef void resume(Core* core) noexcept nogil:
    """Go on with the frames that were left to this tick, in turn: with some of the peers if all would be too much."""
    cdef Peer* last = core.pending_tail
    cdef Peer* peer
    while last != NULL:
        peer = core.pending
        peer_unpend(core, peer)
        if not peer.flags & PEER_CLOSING:
            run_partial(core, peer)
        if peer == last or core.effort > MOST_EFFORT:
            return


cdef void complete_frames(Core* core, Peer* peer) noexcept nogil:
    """Do all frames of a peer that wait for the next tick or for room in its output."""
    cdef size_t high_water = core.high_water
    core.high_water = 0
    while peer.flags & (PEER_PENDING | PEER_FULL) and not peer.flags & PEER_CLOSING:
        peer_unpend(core, peer)
        core.effort = 0
        run_partial(core, peer)
    core.high_water = high_water
    checked(core, 0)


cdef int give_up(Core* core, Peer* peer) noexcept nogil:
    """No more input of this peer; it is closed after its output."""
    peer.flags |= PEER_CLOSING
    peer.held = 0       # it gets no job any more
    buffer_release(&core.pool, &peer.partial)
    if peer.large != NULL:
        blob_drop(core, peer.large)
        peer.large = NULL
    peer.wanted = 0
    peer.whole = 0
    peer.expected = 0
    core.last_large = 0
    peer_mark_dirty(core, peer)
    return -1


cdef size_t draw_output(Core* core, Peer* peer, char* to, size_t room) noexcept nogil:
    """Move up to `room` bytes of a peer's output to `to`; how many they were. For a driver that changes what it sends.
    """
    cdef Field pieces[PIECES]
    cdef size_t done = 0
    cdef size_t count, i, size, some
    room = min(room, peer_sendable(peer))
    while done < room:
        count = output_pieces(peer, pieces, PIECES)
        size = 0
        for i in range(count):
            some = min(pieces[i].size, room - done - size)
            memcpy(to + done + size, pieces[i].data, some)
            size += some
        output_drop(core, peer, size)
        done += size
    peer_relieve(core, peer)
    return done


cdef void note_fault(Core* core, Peer* peer, int fault) noexcept nogil:
    cdef char line[190]
    cdef const char* why = "wrong magic"
    core.stats.faults += 1
    if fault == 2:
        why = "unknown command"
    elif fault == 3:
        why = "too few arguments"
    elif fault == 4:
        why = "argument too large"
    elif fault == 5:
        why = "packet too large"
    elif fault == 6:
        why = "line too long"
    note(core, LEVEL_WARNING, line, <size_t>snprintf(
        line, sizeof(line), "protocol failure, closing connection %.100s: %s", peer.address, why))


cdef Peer* join(Core* core, int fd, const char* address, size_t size, int admin) noexcept nogil:
    """A new connection; NULL without memory. `admin`: 1 may do all, 0 may only look, -1 the default."""
    cdef Peer* peer = peer_new(core, fd, address, size)
    if peer != NULL:
        if admin > 0:
            peer.flags |= PEER_ADMIN
        elif admin == 0 or core.read_only:
            peer.flags |= PEER_READ_ONLY
    return peer


cdef void part(Core* core, Peer* peer) noexcept nogil:
    """The connection is gone."""
    leave(core, peer)
    peer_gone(core, peer)
    checked(core, 0)


cdef void begin_tick(Core* core, int64_t monotonic, int64_t wall) noexcept nogil:
    """Set the time (both ns), and go on with what was left of the last tick."""
    core.now = monotonic
    core.wall = wall
    core.effort = 0
    lease_check(core)   # before anything is given out
    if core.pending != NULL:
        resume(core)
    checked(core, 0)


cdef int64_t end_tick(Core* core) noexcept nogil:
    """Do what is due; returns ns until the next tick is wanted, -1 if none is.

    After what has come in is dispatched: if this process stood still, it may have been in time.
    """
    cdef bint more = (core.timeouts.count or core.schedule.count or core.policies != NULL) and run_timers(core)
    checked(core, 0)
    return 0 if more else time_left(core)


cdef bint is_idle(Core* core) noexcept nogil:
    return core.job_count == core.delayed_count - core.retrying_count + core.ignored_count


cdef int64_t time_left(Core* core) noexcept nogil:
    """ns from the time that was set last until something is due, -1 if nothing ever is."""
    cdef int64_t wait = INT64_MAX
    if core.pending != NULL:
        return 0
    if core.timeouts.count:
        wait = core.timeouts.entries[0].key - core.now
    if core.policies != NULL:
        if core.expiries.count:
            wait = min(wait, core.expiries.entries[0].key - core.now)
        if core.gates.count:
            wait = min(wait, core.gates.entries[0].key - core.now)
        if core.wakings.count:
            wait = min(wait, core.wakings.entries[0].key - core.now)
        if core.fading.count:
            wait = min(wait, core.fading.entries[0].key - core.wall)
        if core.aging.count:
            wait = min(wait, core.aging.entries[0].key - core.wall)
    if core.schedule.count:
        wait = min(wait, core.schedule.entries[0].key - core.wall)
    if wait == INT64_MAX:
        return -1
    return max(wait, <int64_t>0)
