# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A Gearman job server as a state machine: no socket, no clock, no file, no log, no random number.

A driver gives it bytes of peers and the time; it answers which peers have output, and when it wants to be called next.
The functions of `_dispatcher.pxd` are the C face for a driver that runs without the GIL; `Dispatcher` is the Python
face of the same. One thread at a time may use a dispatcher.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, int64_t, uint32_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from gearfast._codec cimport FAULTY, LINE, PACKET, Frame, decode
from gearfast.dispatch._admin cimport handle_line
from gearfast.dispatch._buffer cimport buffer_append, buffer_drop, buffer_release, buffer_space, pool_free
from gearfast.dispatch._commands cimport handle_packet
from gearfast.dispatch._heap cimport heap_free
from gearfast.dispatch._index cimport index_free, index_init
from gearfast.dispatch._job cimport handles_free
from gearfast.dispatch._life cimport drop_function, leave, run_timers
from gearfast.dispatch._notices cimport LEVEL_WARNING, note
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
    PREFIX_LIMIT = 42           # with a colon and 20 digits a handle stays under 64 bytes

cdef int64_t NS = 1000000000


cdef int feed(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Take bytes of a peer; 0, or -1 if it is to be closed (what was answered before is sent first)."""
    if peer.flags & PEER_CLOSING:
        return -1
    core.stats.received += size
    if peer.partial.end == peer.partial.begin:
        return run(core, peer, data, size)
    if buffer_append(&core.pool, &peer.partial, data, size) < 0:
        return give_up(core, peer)
    return run_partial(core, peer)


cdef char* feed_space(Core* core, Peer* peer, size_t* room) noexcept nogil:
    """Where a driver may receive the rest of a large frame into, or NULL where it should call `feed`."""
    cdef size_t held = peer.partial.end - peer.partial.begin
    cdef char* at
    if peer.wanted < held + GROWTH or peer.flags & PEER_CLOSING:
        return NULL
    room[0] = peer.wanted - held
    if room[0] > peer.partial.room - peer.partial.end:
        # Memory follows the bytes that have come, not the length that was announced.
        room[0] = min(room[0], max(held, <size_t>GROWTH))
    at = buffer_space(&core.pool, &peer.partial, room[0])
    return at


cdef int feed_commit(Core* core, Peer* peer, size_t size) noexcept nogil:
    """`size` bytes were received into feed_space; as `feed`."""
    peer.partial.end += size
    core.stats.received += size
    return run_partial(core, peer)


cdef int run_partial(Core* core, Peer* peer) noexcept nogil:
    cdef size_t held = peer.partial.end - peer.partial.begin
    if held < peer.wanted or peer.flags & (PEER_PENDING | PEER_FULL):
        return 0
    return run(core, peer, peer.partial.data + peer.partial.begin, held)


cdef int run(Core* core, Peer* peer, const char* data, size_t size) noexcept nogil:
    """Do every whole frame in `data`, which may be the peer's own buffer, and keep the rest.

    Whole frames are kept too, one being done at least, while the peer does not take its output or when commands of
    this tick have walked through very much.
    """
    cdef Frame frame
    cdef size_t at = 0
    cdef int what
    while True:
        if peer_unsent(peer) > core.high_water and core.high_water and at < size \
                or core.effort > MOST_EFFORT and 0 < at < size:
            peer_hold_back(core, peer)
            return keep(core, peer, data, size, at, 0)
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
    return keep(core, peer, data, size, at, frame.size)


cdef int keep(Core* core, Peer* peer, const char* data, size_t size, size_t done, size_t wanted) noexcept nogil:
    """Keep what is not done; the next try is worth while with `wanted` bytes."""
    peer.wanted = wanted
    if peer.partial.data != NULL:
        buffer_drop(&core.pool, &peer.partial, done)
    elif done < size and buffer_append(&core.pool, &peer.partial, data + done, size - done) < 0:
        return give_up(core, peer)
    return 0


cdef void resume(Core* core) noexcept nogil:
    """Go on with the frames that were left to this tick."""
    cdef Peer* last = core.pending_tail
    cdef Peer* peer
    core.effort = 0
    while last != NULL:
        peer = core.pending
        peer_unpend(core, peer)
        if not peer.flags & PEER_CLOSING:
            run_partial(core, peer)
        if peer == last:
            return


cdef int give_up(Core* core, Peer* peer) noexcept nogil:
    """No more input of this peer; it is closed after its output."""
    peer.flags |= PEER_CLOSING
    peer.held = 0       # it gets no job any more
    buffer_release(&core.pool, &peer.partial)
    peer.wanted = 0
    peer_mark_dirty(core, peer)
    return -1


cdef size_t draw_output(Core* core, Peer* peer, char* to, size_t room) noexcept nogil:
    """Move up to `room` bytes of a peer's output to `to`; how many they were. For a driver that changes what it sends.
    """
    cdef size_t size = min(room, peer.out.end - peer.out.begin)
    if size:
        memcpy(to, peer.out.data + peer.out.begin, size)
        buffer_drop(&core.pool, &peer.out, size)
        peer_relieve(core, peer)
    return size


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


cdef int64_t advance(Core* core, int64_t monotonic, int64_t wall) noexcept nogil:
    """Set the time (both ns) and do what is due; returns ns until the next call is wanted, -1 if none is."""
    core.now = monotonic
    core.wall = wall
    resume(core)
    return 0 if run_timers(core) else time_left(core)


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
    of all jobs together, above which submissions get ERROR QUEUE_ERROR; 0 no limit.
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

    def take_output(self, peer):
        """All unsent output of a peer."""
        cdef Peer* found = self.find(peer)
        cdef bytes data = PyBytes_FromStringAndSize(found.out.data + found.out.begin, found.out.end - found.out.begin)
        buffer_release(&self.core.pool, &found.out)
        peer_relieve(&self.core, found)
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
        `running`, `delayed`, `queued_bytes` of all jobs and `max_queued`, their ceiling.

        `functions`, by name: jobs `submitted`, `coalesced`, `refused` (queue full), ended as `completed`, `failed`,
        `exceptions`, `dropped`; `requeued` (with a lost worker), `timeouts`; `queued` by priority, `running`,
        `workers`, `oldest_seconds` (how long the oldest queued job has waited), and two histograms, `waiting` (from the
        queue to a worker) and `processing` (from there to its end): `counts` for each of `bounds`, their sum in
        `seconds`.
        A dropped function takes its counters with it.

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
