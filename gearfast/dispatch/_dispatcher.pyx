# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A Gearman job server as a state machine: no socket, no clock, no file, no log, no random number.

A driver gives it bytes of peers and the time; it answers which peers have output, and when it wants to be called next.
This is the Python face; `_core.pyx` is the same for a driver that runs without the GIL. One thread at a time may use a
dispatcher.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from gearfast.dispatch._ability cimport hash_of_ability
from gearfast.dispatch._absent cimport absence_waits, far_free, far_new
from gearfast.dispatch._blob cimport blobs_free
from gearfast.dispatch._buffer cimport pool_free
from gearfast.dispatch._bytes cimport bytes_free
from gearfast.dispatch._core cimport (
    all_are_back,
    begin_tick,
    complete_frames,
    draw_output,
    end_tick,
    feed,
    is_checked,
    is_idle,
    join,
    part,
)
from gearfast.dispatch._end cimport drop_function
from gearfast.dispatch._batch cimport make_batch
from gearfast.dispatch._function cimport hash_of_function
from gearfast.dispatch._heap cimport heap_free
from gearfast.dispatch._holds cimport peer_sendable
from gearfast.dispatch._index cimport hash_bytes, index_free, index_init
from gearfast.dispatch._job cimport (
    HANDLE_ROOM,
    handles_free,
    handles_get,
    hash_of_job,
    hash_of_page,
    job_add_losses,
    job_losses,
    write_handle,
)
from gearfast.dispatch._letter cimport hash_of_letter, hash_of_remark
from gearfast.dispatch._journal cimport journal_free, journal_new, journal_take, journal_waits
from gearfast.dispatch._peer cimport peer_by_id, peer_next_dirty
from gearfast.dispatch._policy cimport resolve_all
from gearfast.dispatch._records cimport (
    HIGH,
    JOB_DELAYED,
    JOB_IGNORED,
    LOW,
    MOST_LOSSES,
    ORDER_FUNCTION,
    ORDER_FUNCTION_ROTATE,
    ORDER_PRIORITY,
    PEER_CLOSING,
    PEER_FULL,
    PEER_HOLDING,
    PEER_PENDING,
    Blob,
    Bytes,
    Core,
    Job,
    Peer,
    Verdict,
)
from gearfast.dispatch._records cimport Batch as BatchRecord
from gearfast.dispatch._restore cimport Restored, restore
from gearfast.dispatch._result cimport hash_of_result, hash_of_result_key
from gearfast.dispatch._settle cimport journal_settle
from gearfast.dispatch._slab cimport slabs_free
from gearfast.dispatch._submit cimport NO_MEMORY, QUEUE_FULL, SUBMITTED, UNIQUE_TOO_LARGE, Submission, submit
from gearfast.dispatch._supply cimport SUPPLY_DONE, SUPPLY_NO_MEMORY, SUPPLY_NO_RECORD, supply, supply_ask, supply_end
from gearfast.dispatch._snapshot cimport (
    list_functions,
    list_jobs,
    list_letters,
    list_peers,
    list_results,
    read_metrics,
    read_stats,
)
from gearfast.dispatch._takeover cimport lease_lost, lease_set

from gearfast import protocol
from gearfast.dispatch.policy import Policies
from gearfast.dispatch.policy_lines import answer as answer_policy_line
from gearfast.dispatch.schedule import next_match as utc_match
from gearfast.dispatch.schedule import parse_fields
from gearfast.errors import QueueFull, ServerError

MOST_PACKET = 0xFFFF0000    # what goes out with a workload, handle and function also fits 32 bits

cdef enum:
    PREFIX_LIMIT = 42           # with a colon and 20 digits a handle stays under 64 bytes


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
    returns the next match, or raises ValueError. `policies`: what functions are allowed.
    Raises ValueError for a setting out of its range.

    `on_schedule_line`: called with a text command that begins with the word `schedule`, and whether its connection may
    only look; returns the reply, and whether that has to wait for the store. None: there is no such command.
    """

    def __cinit__(self):
        memset(&self.core, 0, sizeof(Core))
        self.core.owner = <void*>self
        self.core.free_slot = 0xFFFFFFFF
        if index_init(&self.core.functions, 2, hash_of_function, &self.core) < 0 \
                or index_init(&self.core.uniques, 4, hash_of_job, &self.core) < 0 \
                or index_init(&self.core.abilities, 2, hash_of_ability, &self.core) < 0 \
                or index_init(&self.core.letters, 2, hash_of_letter, &self.core) < 0 \
                or index_init(&self.core.remarks, 2, hash_of_remark, &self.core) < 0 \
                or index_init(&self.core.results, 2, hash_of_result, &self.core) < 0 \
                or index_init(&self.core.result_keys, 2, hash_of_result_key, &self.core) < 0 \
                or index_init(&self.core.handles.pages, 2, hash_of_page, &self.core) < 0:
            raise MemoryError

    def __init__(self, *, bytes handle_prefix=b"H:local", first_handle=1, seed=0, max_packet=protocol.MAX_PACKET,
                 max_unsent=0, high_water=0, max_queued=0, int job_retries=-1, int wakeup=0, str order="priority",
                 bint exceptions=False, version="0", pid=0, verbose="ERROR", bint admin_writes=True, next_match=None,
                 policies=None):
        orders = {"priority": ORDER_PRIORITY, "function": ORDER_FUNCTION, "function-rotate": ORDER_FUNCTION_ROTATE}
        if len(handle_prefix) > PREFIX_LIMIT or b"\0" in handle_prefix or b" " in handle_prefix:
            raise ValueError(f"handle_prefix must be at most {PREFIX_LIMIT} bytes without NUL and space")
        if not 1 <= first_handle < 1 << 63:
            raise ValueError(f"first_handle must be 1 to 2**63 - 1, not {first_handle}")
        if not protocol.HEADER_SIZE <= max_packet <= MOST_PACKET:
            raise ValueError(f"max_packet must be {protocol.HEADER_SIZE} to {MOST_PACKET} bytes, not {max_packet}")
        if not -1 <= job_retries <= MOST_LOSSES:
            raise ValueError(f"job_retries must be -1 to {MOST_LOSSES}, not {job_retries}")
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
        self.core.chance = self.core.seed0 ^ self.core.seed1
        self.policies = policies if policies is not None else Policies()
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
        journal_free(&self.core)
        far_free(&self.core)
        free(self.core.slots)
        free(self.core.dirty)
        heap_free(&self.core.timeouts)
        heap_free(&self.core.schedule)
        heap_free(&self.core.expiries)
        heap_free(&self.core.gates)
        heap_free(&self.core.wakings)
        heap_free(&self.core.fading)
        heap_free(&self.core.aging)
        handles_free(&self.core)
        index_free(&self.core.functions)
        index_free(&self.core.uniques)
        index_free(&self.core.abilities)
        index_free(&self.core.letters)
        index_free(&self.core.remarks)
        index_free(&self.core.results)
        index_free(&self.core.result_keys)
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
        complete_frames(&self.core, self.find(peer))

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
        """Unsent output of a peer that waits for no commit: all of it, or its first `most` bytes."""
        cdef Peer* found = self.find(peer)
        cdef size_t size = peer_sendable(found) if most is None else min(peer_sendable(found), <size_t>most)
        cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
        draw_output(&self.core, found, PyBytes_AS_STRING(data), size)
        return data

    def closing(self, peer):
        """Whether a peer is to be closed once its output is sent."""
        return self.find(peer).flags & (PEER_CLOSING | PEER_HOLDING) == PEER_CLOSING

    def begin_tick(self, monotonic_ns, wall_ns):
        """Set the time. What is due waits for `tick`, until what has come in is dispatched."""
        begin_tick(&self.core, monotonic_ns, wall_ns)

    def tick(self, monotonic_ns, wall_ns):
        """Set the time and do what is due; returns ns until the next call is wanted, -1 if none is."""
        begin_tick(&self.core, monotonic_ns, wall_ns)
        return end_tick(&self.core)

    @property
    def pending(self):
        """Some peer has frames that wait for the next `tick`."""
        return self.core.pending != NULL

    @property
    def policies(self):
        """What functions are allowed, as `Policies`. Setting it holds at once, for all functions and connections."""
        return self._policies

    @policies.setter
    def policies(self, policies):
        if not isinstance(policies, Policies):
            raise TypeError(f"policies must be a Policies, not {policies!r}")
        self._policies = policies
        resolve_all(&self.core)

    def _policy_line(self, line, read_only):
        return answer_policy_line(self, line, read_only)

    def submit(self, bytes function not None, bytes unique not None, bytes workload not None, int priority=1):
        """A background job that the server itself wants, as if a client had submitted it; returns its handle.

        `unique`: as in SUBMIT_JOB_BG; of another job it is joined. `priority`: 0 high, 1 normal, 2 low. May be called
        while a text command is answered. Raises ServerError with what a client would be told, QueueFull for a full
        queue, MemoryError.
        """
        cdef Submission wanted
        cdef char handle[HANDLE_ROOM]
        # Those are of the frame at hand, and this comes from none.
        cdef Blob* input = self.core.input
        cdef size_t last_large = self.core.last_large
        cdef int outcome
        if not HIGH <= priority <= LOW:
            raise ValueError(f"priority must be {HIGH} to {LOW}, not {priority}")
        if not function or b"\0" in function or b"\0" in unique:
            raise ValueError("function must be a name, and it and unique without NUL")
        memset(&wanted, 0, sizeof(Submission))
        wanted.function.data, wanted.function.size = <const char*>function, len(function)
        wanted.unique.data, wanted.unique.size = <const char*>unique, len(unique)
        wanted.workload.data, wanted.workload.size = <const char*>workload, len(workload)
        wanted.priority = priority
        wanted.background = True
        self.core.input = NULL
        outcome = submit(&self.core, NULL, &wanted)
        self.core.input = input
        self.core.last_large = last_large
        if outcome == SUBMITTED:
            return <bytes>handle[:write_handle(&self.core, handle, wanted.number)]
        if outcome == NO_MEMORY:
            raise MemoryError
        if outcome == QUEUE_FULL:
            raise QueueFull("QUEUE_ERROR", "Job queue is full")
        if outcome == UNIQUE_TOO_LARGE:
            raise ServerError("ARGUMENT_TOO_LARGE", "Unique value too large")
        raise ServerError("QUEUE_ERROR", "The job could not be stored")

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
    def memory_only_count(self):
        """Jobs that somebody wants and that no store has: they end with this process."""
        cdef size_t count = self.core.job_count - self.core.ignored_count - self.durable_count
        cdef size_t i
        cdef Job* job
        for i in range(self.core.slot_count):
            job = self.core.slots[i].peer.jobs if self.core.slots[i].peer != NULL else NULL
            while job != NULL:
                count -= job.flags & JOB_IGNORED != 0
                job = job.next
        return count

    @property
    def peer_count(self):
        """Connections."""
        return self.core.peer_count

    def open_journal(self, *, first_batch=1, bint relaxed=False, memory=0, bint claims=False):
        """Make background jobs durable from now on: the driver takes their batches and brings them to a store.

        `first_batch`: number of the first batch. `relaxed`: JOB_CREATED does not wait for the commit of its batch.
        `memory`: bytes that all jobs may take, 0 no limit: where they take more than half of it, workloads of jobs far
        from the head of their queue are kept by the store alone, and asked for by `take_wanted`.
        `claims`: other servers have the store too; a durable job with a unique is given out, and its JOB_CREATED sent,
        once the store has said that no other server has one, see `Batch.claims`.
        Raises ValueError if there is a journal already.
        """
        if self.core.journal != NULL:
            raise ValueError("the journal is open already")
        if first_batch < 1:
            raise ValueError(f"first_batch must be 1 or more, not {first_batch}")
        if memory < 0:
            raise ValueError(f"memory must be 0 or more, not {memory}")
        self.core.journal = journal_new(first_batch, relaxed)
        if memory and self.core.journal != NULL:
            self.core.far = far_new(memory)
        if self.core.journal == NULL or memory and self.core.far == NULL:
            journal_free(&self.core)
            raise MemoryError
        self.core.journal.claims = claims

    @property
    def batch_waits(self):
        """There is something for the store, and the batch before it is settled."""
        return journal_waits(&self.core)

    def want_batch(self):
        """The batch that gathers is to be taken, with the jobs that were submitted so far, though it may be empty."""
        if self.core.journal == NULL:
            raise RuntimeError("no journal is open")
        self.core.journal.gathering.wanted = True

    def take_batch(self):
        """What is to be committed next, or None if nothing waits or the last batch is not settled. See `Batch`."""
        cdef BatchRecord* batch = journal_take(&self.core) if self.core.journal != NULL else NULL
        return make_batch(batch) if batch != NULL else None

    def settle(self, bint stored, taken=None, known=()):
        """The batch that was taken is in the store; or nothing of it is, and never will be.

        `taken`: numbers of its jobs that the store does not have, since a job of another server has their unique, and
        that one's number: whoever wanted such a job gets the other one's handle. `known`: of `Batch.asked`, what the
        store knows.
        """
        cdef Verdict verdict
        cdef bytes numbers, winners, hashes
        if self.core.journal == NULL:
            return
        if not (taken or known):
            journal_settle(&self.core, stored)
            return
        taken = sorted((taken or {}).items())
        numbers = pack([number for number, _ in taken])
        winners = pack([winner for _, winner in taken])
        hashes = pack(sorted([hash_of(&self.core, unique) for unique in known]))
        verdict.taken = <const uint64_t*><const char*>numbers
        verdict.winners = <const uint64_t*><const char*>winners
        verdict.taken_count = len(taken)
        verdict.known = <const uint64_t*><const char*>hashes
        verdict.known_count = len(hashes) // sizeof(uint64_t)
        self.core.journal.verdict = &verdict
        journal_settle(&self.core, stored)
        self.core.journal.verdict = NULL

    @property
    def wanted_waits(self):
        """Workloads are wanted from the store, and those that were asked for last have come."""
        return absence_waits(&self.core)

    def take_wanted(self):
        """Numbers of the jobs whose workloads are wanted from the store, 8 bytes each, rising; None if there are none.

        All of them have to be told to `supply` or to `supply_end`, whose call ends this request.
        """
        cdef Bytes numbers
        if not absence_waits(&self.core):
            return None
        memset(&numbers, 0, sizeof(numbers))
        try:
            if supply_ask(&self.core, &numbers) < 0:
                raise MemoryError
            return PyBytes_FromStringAndSize(numbers.data, numbers.size) if numbers.size else None
        finally:
            bytes_free(&numbers)

    def supply(self, const unsigned char[::1] records not None):
        """Workloads that were asked for are in these records, some of them.

        Raises ValueError at the first record that is none, MemoryError if there is no room for all.
        """
        cdef int outcome = SUPPLY_DONE
        if self.core.far != NULL and records.shape[0]:
            outcome = supply(&self.core, <const char*>&records[0], records.shape[0])
        if outcome == SUPPLY_NO_RECORD:
            raise ValueError("a record that is not whole")
        if outcome == SUPPLY_NO_MEMORY:
            raise MemoryError

    def supply_end(self, bytes missing=b""):
        """All that was asked for has come, but for the jobs of these numbers, 8 bytes each: they are dropped."""
        cdef const char* numbers = missing
        if self.core.far != NULL:
            supply_end(&self.core, <const uint64_t*>numbers, <size_t>len(missing) // sizeof(uint64_t))

    @property
    def absent_count(self):
        """Jobs whose workloads the store alone has."""
        return self.core.far.absent if self.core.far != NULL else 0

    @property
    def durable_count(self):
        """Jobs that are in the store, or on their way to it."""
        return self.core.journal.jobs if self.core.journal != NULL else 0

    @property
    def committing(self):
        """A batch was taken and is not settled."""
        return self.core.journal != NULL and self.core.journal.committing != NULL

    @property
    def next_number(self):
        """N of the next job's handle."""
        return self.core.next_number

    @property
    def restoring(self):
        """Jobs are coming back: what may have to do with one of them waits until this is set to False."""
        return self.core.restoring

    @restoring.setter
    def restoring(self, bint restoring):
        if restoring:
            self.core.restoring = True
        else:
            all_are_back(&self.core)

    def add_losses(self, losses):
        """Of jobs that came back, (number, how often they were lost with their worker before)."""
        cdef Job* job
        for number, count in losses:
            job = handles_get(&self.core.handles, number)
            if job != NULL:
                was_lost = job_losses(job) != 0
                job_add_losses(job, count)
                if job.flags & JOB_DELAYED and job_losses(job) and not was_lost:
                    self.core.retrying_count += 1

    @property
    def refusing(self):
        """Submissions of durable jobs get ERROR QUEUE_ERROR: the store is away."""
        return self.core.journal != NULL and self.core.journal.refusing

    @refusing.setter
    def refusing(self, bint refusing):
        if self.core.journal != NULL:
            self.core.journal.refusing = refusing

    @property
    def lease_until(self):
        """Up to when durable jobs are this server's, monotonic ns; 0: without an end. See `lapsed`."""
        return self.core.journal.lease_until if self.core.journal != NULL else 0

    @lease_until.setter
    def lease_until(self, until):
        if self.core.journal != NULL:
            lease_set(&self.core, until)

    @property
    def lapsed(self):
        """`lease_until` is over: no durable job is given out, and none becomes durable, until it is renewed."""
        return self.core.journal != NULL and self.core.journal.lapsed

    def lose_lease(self, *, next_number, next_batch):
        """The durable jobs are another server's: they leave, late results of those that run are swallowed.

        The batch that was taken is settled. What gathers is refused. `next_number`, `next_batch`: least numbers of jobs
        and batches from now on.
        """
        if self.core.journal == NULL or self.core.journal.committing != NULL:
            raise ValueError("there is a batch that is not settled")
        lease_lost(&self.core, next_number, next_batch)

    def restore(self, const unsigned char[::1] records not None, const unsigned char[::1] ended=b""):
        """Bring back the jobs of `records` (of one or more batches), but for those whose numbers are in `ended`.

        `ended`: 8 bytes each, rising. Returns how many came back, and how many did not since they have ended or are
        here. Raises ValueError at the first record that is none, MemoryError if there is no room for all.
        """
        cdef Restored restored
        memset(&restored, 0, sizeof(restored))
        if records.shape[0]:
            restore(&self.core, <const char*>&records[0], records.shape[0],
                    <const char*>&ended[0] if ended.shape[0] else NULL, ended.shape[0], &restored)
        if restored.wrong != NULL:
            text = restored.wrong.decode()
            if "memory" in text:
                raise MemoryError(text)
            raise ValueError(f"{text}, at byte {restored.at}")
        return restored.jobs, restored.skipped

    def jobs(self):
        """All jobs as dicts, in the order of their handles."""
        return list_jobs(&self.core)

    def dead_letters(self):
        """All dead letters as dicts: of each function the oldest first."""
        return list_letters(&self.core)

    def results(self):
        """All kept results as dicts: of each function the oldest first."""
        return list_results(&self.core)

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
        `running`, `delayed`, `waiting_requests`, `dead` letters, `results`, `queued_bytes` of them and of
        all jobs, and `max_queued`, their ceiling; jobs whose workloads the store alone has (`absent`), the
        `absent_bytes` of these, and how many were `fetched` from there.

        `functions`, by name: jobs `submitted`, `coalesced`, `refused` (queue full), ended as `completed`, `failed`,
        `exceptions`, `dropped` (all other ways); `requeued` (with a lost worker), `timeouts`; `queued` by priority,
        `running`, `workers`, `dead` letters, `results`, `oldest_seconds` (how long the oldest queued job has waited),
        and two histograms, `waiting` (from the queue to a worker) and `processing` (from there to its end): `counts`
        for each of `bounds`, their sum in `seconds`. A dropped function takes its counters with it.

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
            drops = f", {self.core.drops_lost} of them of dropped jobs" if self.core.drops_lost else ""
            found.append(("WARNING", f"{self.core.notices_lost} more messages were left out{drops}"))
            self.core.notices_lost = self.core.drops_lost = 0
        if self.core.shutdown:
            found.append(("SHUTDOWN", "now" if self.core.shutdown == 1 else "graceful"))
            self.core.shutdown = 0
        return found


cdef bytes pack(list numbers):
    return b"".join([(<object>number).to_bytes(8, "little") for number in numbers])


cdef uint64_t hash_of(Core* core, bytes unique):
    return hash_bytes(core.seed0, core.seed1, unique, len(unique))


cdef int copy_text(char* at, size_t room, str text) except -1:
    cdef bytes data = text.encode("ascii", "replace")[:room - 1]
    memcpy(at, <const char*>data, len(data) + 1)
    return 0


if is_checked():
    import gearfast.dispatch._check     # no-cython-lint: it sets the watch
