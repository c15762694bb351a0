# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A Gearman job server as a state machine: no socket, no clock, no file, no log, no random number.

A driver gives it bytes of peers and the time; it answers which peers have output, and when it wants to be called next.
The functions of `_dispatcher.pxd` are the C face for a driver that runs without the GIL; `Dispatcher` is the Python
face of the same. One thread at a time may use a dispatcher.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from gearfast._codec cimport FAULTY, HEADER_BYTES, LINE, PACKET, Field, Frame, decode, get_u32
from gearfast.dispatch._admin cimport handle_line
from gearfast.dispatch._blob cimport LARGE, blob_drop, blob_new, blob_resize, blobs_free
from gearfast.dispatch._buffer cimport buffer_append, buffer_drop, buffer_release, pool_free
from gearfast.dispatch._commands cimport handle_packet
from gearfast.dispatch._heap cimport heap_free
from gearfast.dispatch._index cimport index_free, index_init
from gearfast.dispatch._job cimport handles_free
from gearfast.dispatch._end cimport drop_function
from gearfast.dispatch._life cimport leave, run_timers
from gearfast.dispatch._notices cimport LEVEL_WARNING, note
from gearfast.dispatch._output cimport output_drop, output_pieces
from gearfast.dispatch._peer cimport (
    peer_by_id,
    peer_gone,
    peer_hold_back,
    peer_mark_dirty,
    peer_new,
    peer_next_dirty,
    peer_relieve,
    peer_unpend,
    peer_unsent,
)
from gearfast.dispatch._records cimport (
    ORDER_FUNCTION,
    ORDER_FUNCTION_ROTATE,
    ORDER_PRIORITY,
    PEER_ADMIN,
    PEER_CLOSING,
    PEER_FULL,
    PEER_PENDING,
    PEER_READ_ONLY,
    Blob,
    Core,
    Peer,
)
from gearfast.dispatch._slab cimport slabs_free
from gearfast.dispatch._snapshot cimport list_functions, list_jobs, list_peers, read_metrics, read_stats

from gearfast import protocol
from gearfast.dispatch.schedule import next_match as utc_match
from gearfast.dispatch.schedule import parse_fields

MOST_PACKET = 0xFFFF0000    # what goes out with a workload, handle and function also fits 32 bits

cdef enum:
    MOST_EFFORT = 20000         # records walked by commands in a tick, about a millisecond
    GROWTH = 65536              # least room that a large unfinished frame is given
    EAGER = 1048576             # most room that it is given at once
    SLACK = 4096                # room behind it for what follows; a rest that is not larger needs no blob
    QUIET = 8                   # reads without a large frame after which none is expected
    PIECES = 64                 # of output that are joined at a time
    PREFIX_LIMIT = 42           # with a colon and 20 digits a handle stays under 64 bytes

cdef int64_t NS = 1000000000

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


cdef void watch_with(Watch watch) noexcept:
    global watch_core
    watch_core = watch


cdef inline int checked(Core* core, int outcome) noexcept nogil:
    """`outcome`; in a debug build only if every record is as it has to be."""
    if CHECKED and watch_core != NULL:
        watch_core(core)
    return outcome


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
    cdef size_t at = 0
    cdef int what
    while True:
        if peer_unsent(peer) > core.high_water and core.high_water and at < size \
                or core.effort > MOST_EFFORT and 0 < at < size:
            return hold_back(core, peer, data + at, size - at)
        what = decode(data + at, size - at, core.max_packet, &frame)
        if what == PACKET:
            handle_packet(core, peer, &frame)
        elif what != LINE:
            break
        else:
            core.stats.lines += 1
            if not handle_line(core, peer, frame.args[0]):
                return give_up(core, peer)
        at += frame.size
        if peer.flags & PEER_CLOSING:
            return give_up(core, peer)
    if what == FAULTY:
        note_fault(core, peer, frame.fault)
        return give_up(core, peer)
    peer.wanted = frame.size
    if at == size and peer.partial.data == NULL and not (peer.expected or core.last_large):
        return 0
    expect(core, peer, data + at, size - at)
    return keep(core, peer, data + at, size - at)


cdef int hold_back(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Keep whole frames until the next tick, or until the peer takes its output."""
    peer_hold_back(core, peer)
    peer.wanted = 0
    peer.whole = 0
    core.last_large = 0
    return keep(core, peer, data, size)


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
    core.effort = 0
    while last != NULL:
        peer = core.pending
        peer_unpend(core, peer)
        if not peer.flags & PEER_CLOSING:
            run_partial(core, peer)
        if peer == last or core.effort > MOST_EFFORT:
            return


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
    room = min(room, peer_unsent(peer))
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


cdef int64_t advance(Core* core, int64_t monotonic, int64_t wall) noexcept nogil:
    """Set the time (both ns) and do what is due; returns ns until the next call is wanted, -1 if none is."""
    cdef bint more
    core.now = monotonic
    core.wall = wall
    resume(core)
    more = run_timers(core)
    checked(core, 0)
    return 0 if more else time_left(core)


cdef bint is_idle(Core* core) noexcept nogil:
    return core.job_count == core.delayed_count + core.ignored_count


cdef int64_t time_left(Core* core) noexcept nogil:
    """ns from the time that was set last until something is due, -1 if nothing ever is."""
    cdef int64_t wait = INT64_MAX
    if core.pending != NULL:
        return 0
    if core.timeouts.count:
        wait = core.timeouts.entries[0].key - core.now
    if core.schedule.count:
        wait = min(wait, core.schedule.entries[0].key - core.wall)
    if wait == INT64_MAX:
        return -1
    return max(wait, <int64_t>0)


cdef class Dispatcher:
    """The Python face; see the module.

    `handle_prefix`: up to 42 bytes, put before `:N` in handles. `first_handle`: N of the first job, to be chosen so
    that handles never repeat. `seed`: 128 bits for the hash of names, unknown to clients. `max_packet`: bytes.
    `max_unsent`: bytes of output that a peer may leave unread before it is to be closed; 0 no limit. `high_water`:
    bytes of unsent output above which what a peer asks for waits until it takes some; 0 no limit. `max_queued`: bytes
    of all jobs together, above which submissions get ERROR QUEUE_ERROR; 0 no limit. What waits for jobs, and names of
    functions with their registrations, may take a quarter of that each (1 MiB at least): then the same.
    `job_retries`: at the N-th loss of its worker a job fails; 0 counts as 1; -1 never. `wakeup`: sleeping workers
    woken for a job; 0 all. `order`: "priority" (first high, then normal, then low over all functions of a worker,
    then rotation: gearmand 2.x), "function" (newest registration first: 1.1.20) or "function-rotate" (1.1.20 -R).
    `exceptions`: every connection gets WORK_EXCEPTION. `version`, `pid`, `verbose`: answers of admin commands.
    `admin_writes`: whether a connection may by default use admin commands that change things. `next_match`: called
    for SUBMIT_JOB_SCHED with minute, hour, day, month, weekday (each int or None) and a time in seconds since 1970;
    returns the next match, or raises ValueError.
    Raises ValueError for a setting out of its range.
    """

    def __cinit__(self):
        memset(&self.core, 0, sizeof(Core))
        self.core.owner = <void*>self
        self.core.free_slot = 0xFFFFFFFF
        if index_init(&self.core.functions) < 0 or index_init(&self.core.uniques) < 0 \
                or index_init(&self.core.abilities) < 0 or index_init(&self.core.handles.pages) < 0:
            raise MemoryError

    def __init__(self, *, bytes handle_prefix=b"H:local", first_handle=1, seed=0, max_packet=protocol.MAX_PACKET,
                 max_unsent=0, high_water=0, max_queued=0, int job_retries=-1, int wakeup=0, str order="priority",
                 bint exceptions=False, version="0", pid=0, verbose="ERROR", bint admin_writes=True, next_match=None):
        orders = {"priority": ORDER_PRIORITY, "function": ORDER_FUNCTION, "function-rotate": ORDER_FUNCTION_ROTATE}
        if len(handle_prefix) > PREFIX_LIMIT or b"\0" in handle_prefix or b" " in handle_prefix:
            raise ValueError(f"handle_prefix must be at most {PREFIX_LIMIT} bytes without NUL and space")
        if not 1 <= first_handle < 1 << 63:
            raise ValueError(f"first_handle must be 1 to 2**63 - 1, not {first_handle}")
        if not protocol.HEADER_SIZE <= max_packet <= MOST_PACKET:
            raise ValueError(f"max_packet must be {protocol.HEADER_SIZE} to {MOST_PACKET} bytes, not {max_packet}")
        if not -1 <= job_retries <= 65535:
            raise ValueError(f"job_retries must be -1 to 65535, not {job_retries}")
        if wakeup < 0:
            raise ValueError(f"wakeup must be 0 or more, not {wakeup}")
        if order not in orders:
            raise ValueError(f"order must be one of {sorted(orders)}, not {order!r}")
        handle_prefix += b":"
        self.core.prefix_size = len(handle_prefix)
        memcpy(self.core.prefix, <const char*>handle_prefix, self.core.prefix_size)
        self.core.next_number = first_handle
        self.core.seed0 = seed & 0xFFFFFFFFFFFFFFFF
        self.core.seed1 = (seed >> 64) & 0xFFFFFFFFFFFFFFFF
        self.core.max_packet = max_packet
        self.core.max_unsent = max_unsent
        self.core.high_water = high_water
        self.core.max_queued = max_queued
        self.core.retries_limit = job_retries
        self.core.wakeup = wakeup
        self.core.order = orders[order]
        self.core.exceptions = exceptions
        self.core.read_only = not admin_writes
        self.core.pid = pid
        self.next_match = next_match if next_match is not None else utc_match
        copy_text(self.core.version, sizeof(self.core.version), version)
        copy_text(self.core.verbose, sizeof(self.core.verbose), verbose)

    def __dealloc__(self):
        cdef size_t i
        if self.core.abandoned:
            return
        for i in range(self.core.slot_count):
            if self.core.slots[i].peer != NULL:
                part(&self.core, self.core.slots[i].peer)
        while peer_next_dirty(&self.core) != NULL:
            pass
        while self.core.first_function != NULL:
            drop_function(&self.core, self.core.first_function)
        free(self.core.slots)
        heap_free(&self.core.timeouts)
        heap_free(&self.core.schedule)
        handles_free(&self.core)
        index_free(&self.core.functions)
        index_free(&self.core.uniques)
        index_free(&self.core.abilities)
        blobs_free(&self.core)
        pool_free(&self.core.pool)
        slabs_free(&self.core.slabs)

    cdef Peer* find(self, peer) except NULL:
        cdef Peer* found = peer_by_id(&self.core, peer)
        if found == NULL:
            raise KeyError(f"there is no peer {peer}")
        return found

    def connect(self, str address="", *, int fd=-1, admin=None):
        """A new connection; returns its number. `admin`: True may do all, False may only look, None the default."""
        cdef bytes text = address.encode("utf-8", "replace")
        cdef Peer* peer = join(&self.core, fd, text, len(text), -1 if admin is None else bool(admin))
        if peer == NULL:
            raise MemoryError
        return peer.id

    def receive(self, peer, data):
        """Take bytes of a peer; False if it is to be closed once its output is sent."""
        cdef Peer* found = self.find(peer)
        cdef Py_buffer view
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            return feed(&self.core, found, <const char*>view.buf, view.len) == 0
        finally:
            PyBuffer_Release(&view)

    def waits(self, peer):
        """Whether whole frames of a peer wait for the next tick, or until it takes its output."""
        return self.find(peer).flags & (PEER_PENDING | PEER_FULL) != 0

    def complete(self, peer):
        """Do all frames of a peer that wait for the next tick or for room in its output: it sends no more."""
        cdef Peer* found = self.find(peer)
        cdef size_t high_water = self.core.high_water
        self.core.high_water = 0
        while found.flags & (PEER_PENDING | PEER_FULL) and not found.flags & PEER_CLOSING:
            peer_unpend(&self.core, found)
            self.core.effort = 0
            run_partial(&self.core, found)
        self.core.high_water = high_water
        checked(&self.core, 0)

    def disconnect(self, peer):
        """The connection is gone: its jobs are queued again, what it waited for is forgotten."""
        part(&self.core, self.find(peer))

    def take_dirty(self):
        """Numbers of the peers that have output or are to be closed, each once."""
        cdef list numbers = []
        cdef Peer* peer
        while True:
            peer = peer_next_dirty(&self.core)
            if peer == NULL:
                return numbers
            numbers.append(peer.id)

    def take_output(self, peer, most=None):
        """Unsent output of a peer: all of it, or its first `most` bytes."""
        cdef Peer* found = self.find(peer)
        cdef size_t size = peer_unsent(found) if most is None else min(peer_unsent(found), <size_t>most)
        cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
        draw_output(&self.core, found, PyBytes_AS_STRING(data), size)
        return data

    def closing(self, peer):
        """Whether a peer is to be closed once its output is sent."""
        return self.find(peer).flags & PEER_CLOSING != 0

    def tick(self, monotonic_ns, wall_ns):
        """Set the time and do what is due; returns ns until the next call is wanted, -1 if none is."""
        return advance(&self.core, monotonic_ns, wall_ns)

    @property
    def pending(self):
        """Some peer has frames that wait for the next `tick`."""
        return self.core.pending != NULL

    def drain(self):
        """Give out no more jobs, so that a server can end when those that are running are done. Not to be undone."""
        self.core.draining = True

    def _next_match(self, fields, after):
        return self.next_match(*parse_fields(fields), after)

    @property
    def idle(self):
        """No job is queued or running. Those that wait for their time, or that nobody wants any more, do not count."""
        return is_idle(&self.core)

    @property
    def job_count(self):
        """Jobs queued, waiting for their time, or running."""
        return self.core.job_count

    @property
    def running_count(self):
        """Jobs that a worker has."""
        return self.core.running_count

    @property
    def peer_count(self):
        """Connections."""
        return self.core.peer_count

    def jobs(self):
        """All jobs as dicts, in the order of their handles."""
        return list_jobs(&self.core)

    def functions(self):
        """All functions as dicts, oldest first."""
        return list_functions(&self.core)

    def peers(self):
        """All connections as dicts."""
        return list_peers(&self.core)

    def stats(self):
        """Counters since the start, by name."""
        return read_stats(&self.core)

    def metrics(self):
        """All counters at this moment, as a dict of plain numbers:

        `server`: `connections` by role (client, worker, both, silent: has done neither), `connected` (ever),
        `received_bytes`, `answered_bytes` (sent or about to be), packets received by command (`commands`),
        `text_commands`, `errors` by code, connections closed for `bad_bytes` and for `overflows` of output, `jobs`,
        `running`, `delayed`, `waiting_requests`, `queued_bytes` of all jobs and `max_queued`, their ceiling.

        `functions`, by name: jobs `submitted`, `coalesced`, `refused` (queue full), ended as `completed`, `failed`,
        `exceptions`, `dropped` (all other ways); `requeued` (with a lost worker), `timeouts`; `queued` by priority,
        `running`, `workers`, `oldest_seconds` (how long the oldest queued job has waited), and two histograms,
        `waiting` (from the queue to a worker) and `processing` (from there to its end): `counts` for each of `bounds`,
        their sum in `seconds`. A dropped function takes its counters with it.

        `bounds`: upper bounds of the histograms' buckets in seconds, each not included; the last is infinity.
        """
        return read_metrics(&self.core)

    def take_notices(self):
        """What a log should tell, as (level, text); a shutdown asked for is ("SHUTDOWN", "now" or "graceful")."""
        cdef uint32_t i
        cdef list found = []
        levels = ("WARNING", "NOTICE", "INFO")
        for i in range(self.core.notice_count):
            text = PyBytes_FromStringAndSize(self.core.notices[i].text, self.core.notices[i].size)
            found.append((levels[self.core.notices[i].level], text.decode("utf-8", "backslashreplace")))
        self.core.notice_count = 0
        if self.core.notices_lost:
            found.append(("WARNING", f"{self.core.notices_lost} more messages were left out"))
            self.core.notices_lost = 0
        if self.core.shutdown:
            found.append(("SHUTDOWN", "now" if self.core.shutdown == 1 else "graceful"))
            self.core.shutdown = 0
        return found


cdef int copy_text(char* at, size_t room, str text) except -1:
    cdef bytes data = text.encode("ascii", "replace")[:room - 1]
    memcpy(at, <const char*>data, len(data) + 1)
    return 0


if CHECKED:
    import gearfast.dispatch._check     # no-cython-lint: it sets the watch
