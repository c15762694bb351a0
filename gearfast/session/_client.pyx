# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""What every job of a client goes through, at C speed: made of a call's arguments, sent, paired with its answers.

Three base classes hold the short ways, one a layer: `QuickCalls` makes plain jobs, `QuickHub` gives them to the one
connection that is up, `QuickSession` takes their two packets. Whatever is not plain (priorities, reducers, several
servers, shared jobs, faults) they leave, with nothing changed, to the long way of the class that inherits them.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_Contains, PyDict_DelItem, PyDict_GetItem
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.string cimport memchr, memcpy

from collections import deque
from heapq import heapify, heappop, heappush
from math import inf

from gearfast._codec cimport (
    CMD_JOB_CREATED,
    CMD_SUBMIT_JOB,
    CMD_SUBMIT_JOB_BG,
    CMD_WORK_COMPLETE,
    HEADER_BYTES,
    PACKET,
    Decoder,
    Field,
    Frame,
    decode,
    put_header,
)

from gearfast import protocol
from gearfast.errors import UsageError
from gearfast.types import Handle, Priority

__all__ = ["LIMIT", "JobRequest", "QuickCalls", "QuickHub", "QuickSession", "Request", "check_seconds", "time_limit"]

cdef object NORMAL = Priority.NORMAL
cdef object NEW_TEXT = str.__new__      # the constructor of Handle takes six times as long
cdef bytes NOTHING = b""
cdef tuple NO_PROGRESS = (0, 0)
cdef size_t ARGUMENT_LIMIT = protocol.MAX_ARGUMENT
cdef size_t UNIQUE_LIMIT = protocol.MAX_UNIQUE
LIMIT = 0
cdef Py_ssize_t SPARE_LIMITS = 256      # of time limits of requests that are done; more than half of all never are


cdef class Request:
    """Something that a server answers once, in the order of the requests of its connection.

    Who waits for it looks at `done`, then at `error` and `result`. `abandoned`: nobody waits for it any more. `waiter`
    and `link` belong to the front end and the hub. `reply_by`, `deadline`: seconds of the clock, or None.
    """

    cdef public bytes packet
    cdef public bint done
    cdef public bint abandoned
    cdef public bint sent
    cdef public object error
    cdef public object result
    cdef public object link
    cdef public object waiter
    cdef public object deadline
    cdef public object reply_by

    def __init__(self, bytes packet not None):
        self.packet = packet

    @property
    def what(self):
        """What it is, for messages."""
        return type(self).__name__

    @property
    def handle_text(self):
        """The handle of the job that it is about, as text; empty if it is about none."""
        return ""

    def fail(self, error):
        """End it with an error."""
        self.error = error
        self.done = True


@cython.final
cdef class JobRequest(Request):
    """A submitted job. A foreground job is done with its result, a background job once it has its handle.

    `handle`: as the server gave it, empty before; `server`: that server's address.
    `lost_handle`: what it was called over a connection that is lost, until it is sent again.
    `events`: a deque to gather Data, Warning and Status in, or None if nobody asks for them.
    `progress`: numerator and denominator of the last WORK_STATUS.
    `keyed`: its unique is the caller's, so that two submissions of it may become one job.
    `submissions`: how often it went out; above 1 only after a lost connection. `earlier`: the same before a retry.
    `unwritten`: how often a connection was lost before anything of it had gone out. `past`: where it was last.
    `retry`: what is tried again, if anything is; `failures`: how often it has been.
    `cancelling`: this client has asked the server to cancel it.
    """

    cdef public str function
    cdef public bytes unique
    cdef public bint background
    cdef public bytes handle
    cdef public str server
    cdef public object events
    cdef public Py_ssize_t submissions
    cdef public bint cancelling
    cdef public bint keyed
    cdef public bint pinned
    cdef public Py_ssize_t earlier
    cdef public Py_ssize_t failures
    cdef public Py_ssize_t unwritten
    cdef public bytes lost_handle
    cdef public object past
    cdef public tuple progress
    cdef public object retry
    cdef public double retry_by
    cdef public object tried

    def __cinit__(self):
        self.handle = NOTHING
        self.lost_handle = NOTHING
        self.result = NOTHING
        self.server = ""
        self.progress = NO_PROGRESS

    def __init__(self, bytes packet not None, str function not None, bytes unique not None, bint background):
        self.packet = packet
        self.function = function
        self.unique = unique
        self.background = background

    def begin_again(self):
        """Forget how it ended; it is to be submitted once more."""
        self.done = self.sent = self.pinned = False
        self.error = None
        self.handle = self.lost_handle = NOTHING
        self.earlier += self.submissions
        self.submissions = self.unwritten = 0
        self.tried = None
        self.failures += 1

    cpdef to_handle(self):
        """Its Handle: as the server gave it, and which server that is."""
        handle = NEW_TEXT(Handle, self.handle.decode("utf-8", "replace"))
        handle.server = self.server
        return handle

    @property
    def what(self):
        name = self.handle_text or self.unique.decode("utf-8", "replace")
        return f"job {name} of function {self.function!r}"

    @property
    def handle_text(self):
        return self.handle.decode("utf-8", "replace")


cpdef time_limit(Request request):
    """When a request is overdue: with its reply as long as there is none, with its result in any case; None: never."""
    reply_by = request.reply_by
    deadline = request.deadline
    if type(request) is JobRequest and PyBytes_GET_SIZE((<JobRequest>request).handle):
        return deadline
    if reply_by is None or (deadline is not None and deadline < reply_by):
        return deadline
    return reply_by


cpdef check_seconds(value, str what):
    """Raises UsageError for a value of `what` that is no number of seconds above 0; True is none, nor is text."""
    if not isinstance(value, (float, int)) or isinstance(value, bool) or not value > 0:
        raise UsageError(f"{what} is a number of seconds above 0, not {value!r}")


# --- the call ---------------------------------------------------------------------------------------------------------


cdef class QuickCalls:
    """Makes plain jobs: bytes of a workload, normal priority, no reducer, no retry. All else goes to `make_job`.

    Safe to use from many threads, since nothing here gives the interpreter away while a number is taken.
    """

    cdef bytes prefix
    cdef uint64_t number
    cdef object reply       # seconds, or None
    cdef object job_limit
    cdef bint retries
    cdef size_t most        # bytes of a workload
    cdef str name           # of the last function, and the same as bytes
    cdef bytes name_bytes

    def set_up(self, bytes prefix not None, reply, job_limit, retry, size_t max_workload):
        """Settings of the client: what its uniques begin with, its time limits, its policy, its largest workload."""
        if PyBytes_GET_SIZE(prefix) > <Py_ssize_t>UNIQUE_LIMIT - 16:
            raise ValueError(f"a prefix of {len(prefix)} bytes leaves no room for a number")
        self.prefix = prefix
        self.number = 0
        self.reply = reply
        self.job_limit = job_limit
        self.retries = retry is not None
        self.most = max_workload
        self.name = None
        self.name_bytes = NOTHING

    cpdef bytes new_unique(self):
        """A unique that no other job of this process has."""
        cdef char text[64]
        cdef Py_ssize_t named = PyBytes_GET_SIZE(self.prefix)
        cdef int size
        self.number += 1
        memcpy(text, PyBytes_AS_STRING(self.prefix), named)
        size = snprintf(text + named, 64 - named, "%llx", <unsigned long long>self.number)
        return PyBytes_FromStringAndSize(text, named + size)

    def job(self, function, workload, unique, priority, timeout, double now, reducer=None, retry=None):
        """A foreground job. Raises UsageError for what cannot be sent."""
        cdef JobRequest job
        if not self.is_plain(function, workload, priority, reducer, retry):
            return self.make_job(function, workload, unique, priority, timeout, now, reducer, retry)
        job = self.pack(CMD_SUBMIT_JOB, <str>function, <bytes>workload, unique)
        self.limit_job(job, timeout, now)
        return job

    cpdef limit_job(self, JobRequest job, timeout, double now):
        """Give a foreground job its time limits: for its reply, and for its result. Raises UsageError."""
        reply = self.reply
        if timeout is None:
            timeout = self.job_limit
        if timeout is not None:
            check_seconds(timeout, "timeout")
            job.deadline = now + timeout
            if reply is None or reply > timeout:
                reply = timeout
        if reply is not None:
            job.reply_by = now + <double>reply

    def background(self, function, workload, unique, priority, timeout, double now, reducer=None, retry=None, at=None):
        """A background job, `at` a time if given. Raises UsageError for what cannot be sent."""
        cdef JobRequest job
        if at is not None or not self.is_plain(function, workload, priority, reducer, retry):
            return self.make_background(function, workload, unique, priority, timeout, now, reducer, retry, at)
        job = self.pack(CMD_SUBMIT_JOB_BG, <str>function, <bytes>workload, unique)
        self.limit_background(job, timeout, now)
        return job

    cpdef limit_background(self, JobRequest job, timeout, double now):
        """Give a background job its time limit. Raises UsageError."""
        if timeout is not None:
            check_seconds(timeout, "timeout")
            job.deadline = job.reply_by = now + timeout
        elif self.reply is not None:
            job.reply_by = now + <double>self.reply

    cdef bint is_plain(self, function, workload, priority, reducer, retry) except -1:
        if priority is not NORMAL or reducer is not None or retry is not None or self.retries:
            return False
        if type(function) is not str or not PyBytes_CheckExact(workload):
            return False
        if <size_t>PyBytes_GET_SIZE(workload) > self.most:
            return False
        if function is not self.name:
            try:
                name = (<str>function).encode()
            except UnicodeEncodeError:
                return False
            if <size_t>PyBytes_GET_SIZE(name) > ARGUMENT_LIMIT or b"\0" in name:
                return False
            self.name_bytes = name
            self.name = function
        return True

    cdef JobRequest pack(self, int command, str function, bytes workload, unique):
        """The job with its packet: function, unique, workload."""
        cdef JobRequest job = JobRequest.__new__(JobRequest)
        cdef bytes key = self.new_unique() if unique is None else self.checked_unique(unique)
        cdef bytes name = self.name_bytes if function is self.name else function.encode()
        cdef Py_ssize_t named = PyBytes_GET_SIZE(name)
        cdef Py_ssize_t keyed = PyBytes_GET_SIZE(key)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(workload)
        cdef bytes packet = PyBytes_FromStringAndSize(NULL, HEADER_BYTES + named + 1 + keyed + 1 + size)
        cdef char* at = PyBytes_AS_STRING(packet)
        put_header(at, False, command, <uint32_t>(named + 1 + keyed + 1 + size))
        at += HEADER_BYTES
        memcpy(at, PyBytes_AS_STRING(name), named)
        at[named] = 0
        at += named + 1
        memcpy(at, PyBytes_AS_STRING(key), keyed)
        at[keyed] = 0
        memcpy(at + keyed + 1, PyBytes_AS_STRING(workload), size)
        job.packet = packet
        job.function = function
        job.unique = key
        job.background = command == CMD_SUBMIT_JOB_BG
        job.keyed = unique is not None
        return job

    cpdef bytes checked_unique(self, unique):
        """A unique of the caller's as bytes. Raises UsageError."""
        cdef bytes key
        if PyBytes_CheckExact(unique):
            key = unique
        else:
            try:
                key = unique.encode() if isinstance(unique, str) else bytes(unique)
            except UnicodeEncodeError:
                raise UsageError(f"a unique that is text goes out as UTF-8, which {unique!r} has none of") from None
        if not key:
            raise UsageError("a unique has at least one byte; leave it out to have one made")
        if <size_t>PyBytes_GET_SIZE(key) > UNIQUE_LIMIT:
            raise UsageError(f"a unique has at most {UNIQUE_LIMIT} bytes, this one has {len(key)}: {unique!r}")
        if memchr(PyBytes_AS_STRING(key), 0, PyBytes_GET_SIZE(key)) != NULL:
            raise UsageError(f"a unique has no NUL, which would end it: {unique!r}")
        return key


# --- the hub ----------------------------------------------------------------------------------------------------------


cdef class QuickHub:
    """Gives jobs to the only connection, if it is up, and keeps their time limits. All else goes to `submit`."""

    cdef public list links
    cdef readonly list heap         # (time, number, request, what is due), a heap
    cdef Py_ssize_t number
    cdef Py_ssize_t crowded
    cdef Py_ssize_t noted           # since the heap was looked through

    def __cinit__(self):
        self.links = []
        self.heap = []
        self.crowded = SPARE_LIMITS

    def start(self, JobRequest job not None, double now):
        """`submit` a job that was not sent before, and `watch` it. Returns its link."""
        cdef QuickSession session
        link = self.links[0]
        session = link.session
        if session is None or len(self.links) != 1 or job.retry is not None:
            link = self.submit(job, now)
        else:
            job.link = link
            job.submissions = 1
            job.sent = True
            session.out.append(job.packet)
            session.replies.append(job)
        self.watch(job)
        return link

    cpdef watch(self, Request request):
        """Let `tick` end the request at its `reply_by` (no answer yet) or `deadline`."""
        limit = time_limit(request)
        if limit is not None:
            self.note(limit, request, LIMIT)
            if len(self.heap) > self.crowded:
                self.thin_out()

    cpdef note(self, at, Request request, what):
        """Let `tick` do something about the request at a time."""
        self.number += 1
        self.noted += 1
        heappush(self.heap, (at, self.number, request, what))

    cpdef drop_done(self):
        """Take what is about requests that are done off the top of the heap.

        One by one that costs a job more than all else of its time limit, so where many are done, all are looked
        through: only so often that it is a few looks a job.
        """
        while self.heap and is_done(self.heap[0]):
            if 4 * self.noted >= len(self.heap) and self.many_done():
                self.thin_out()
            else:
                heappop(self.heap)

    cdef bint many_done(self) except -1:
        """The uppermost few are done, and so may be most of those below."""
        cdef Py_ssize_t at
        if len(self.heap) < 8:
            return False
        for at in range(8):
            if not is_done(self.heap[at]):
                return False
        return True

    cdef int thin_out(self) except -1:
        """Requests that are done must not be kept, with their results, until their time limits."""
        cdef list kept = []
        cdef tuple entry
        cdef bint in_order = True
        cdef double last = -inf
        cdef double at
        for entry in self.heap:
            if not is_done(entry):
                kept.append(entry)
                at = entry[0]
                in_order = in_order and at >= last
                last = at
        if not in_order:  # with one time limit for all it is; that is a heap
            heapify(kept)
        self.heap[:] = kept
        self.noted = 0
        self.crowded = max(SPARE_LIMITS, 2 * len(kept))
        return 0


cdef inline bint is_done(tuple entry):
    return (<Request>entry[2]).done


# --- the session ------------------------------------------------------------------------------------------------------


cdef class QuickSession:
    """Sends requests, and takes JOB_CREATED and WORK_COMPLETE of jobs that no other request shares.

    All other packets go to `take_rest`, in their order. `news`: list to which requests are appended when they are done
    or have new events; the caller empties it. `jobs`: by handle. `replies`: requests whose answer is due, in order.
    `decoder`: None while something else looks at the bytes first.
    """

    cdef readonly str server
    cdef readonly list news
    cdef readonly list out
    cdef readonly object replies
    cdef readonly dict jobs
    cdef public Decoder decoder

    def __init__(self, str server not None, list news not None, size_t max_packet):
        self.server = server
        self.news = news
        self.out = []
        self.replies = deque()
        self.jobs = {}
        self.decoder = Decoder(max_packet)

    cpdef send(self, Request request):
        """Queue a request's packet."""
        self.out.append(request.packet)
        self.replies.append(request)

    cpdef bytes take_output(self):
        """All bytes to be sent, once."""
        cdef list out = self.out
        cdef bytes data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    @property
    def has_output(self):
        """There is something for `take_output`."""
        return len(self.out) > 0

    @property
    def unsent(self):
        """How many requests are in that output."""
        return len(self.out)

    @property
    def busy(self):
        """A request waits for an answer or a job for its result (also if nobody waits for it any more)."""
        return bool(self.replies or self.jobs)

    cpdef receive(self, data):
        """Take bytes from the server. Requests that they finish, or bring events for, are appended to `news`.

        Raises ProtocolError; what came before the bad byte has taken effect.
        """
        cdef size_t at = 0
        cdef Decoder decoder = self.decoder
        if decoder is not None and decoder.held == 0 and decoder.failure is None and PyBytes_CheckExact(data):
            at = self.take_plain(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            if at == <size_t>PyBytes_GET_SIZE(data):
                return
        self.take_rest(data[at:] if at else data)

    cdef size_t take_plain(self, const char* data, size_t size) except? 0:
        """The short way for the plain packets at the start of `data`. Returns where they end."""
        cdef Frame frame
        cdef size_t at = 0
        while at < size and decode(data + at, size - at, self.decoder.max_packet, &frame) == PACKET:
            if frame.command == CMD_WORK_COMPLETE:
                if not self.take_complete(frame.args[0], frame.args[1]):
                    break
            elif frame.command != CMD_JOB_CREATED or not self.take_created(frame.args[0]):
                break
            at += frame.size
            self.decoder.consumed += frame.size
        return at

    cdef bint take_complete(self, Field name, Field result) except -1:
        """WORK_COMPLETE of a job that one request waits for. False: it is not plain, and nothing was changed."""
        cdef bytes handle = field(name)
        cdef PyObject* entry = PyDict_GetItem(self.jobs, handle)
        cdef JobRequest job
        if entry == NULL or type(<object>entry) is not JobRequest:
            return False
        job = <JobRequest>entry
        PyDict_DelItem(self.jobs, handle)
        if not job.abandoned:
            job.result = field(result)
            job.done = True
            self.news.append(job)
        return True

    cdef bint take_created(self, Field name) except -1:
        """JOB_CREATED with a handle of its own, of a job that is due. False: as for `take_complete`."""
        cdef JobRequest job
        cdef bytes handle
        if not self.replies or name.size == 0 or name.data[name.size - 1] == 0:
            return False
        first = self.replies[0]
        if type(first) is not JobRequest:
            return False
        job = first
        handle = field(name)
        if not job.background and PyDict_Contains(self.jobs, handle):
            return False
        self.replies.popleft()
        job.handle = handle
        job.server = self.server
        if not job.background:
            self.jobs[handle] = job
            if job.events is not None:
                self.news.append(job)
        elif not job.abandoned:
            job.done = True
            self.news.append(job)
        return True


cdef inline bytes field(Field one):
    return PyBytes_FromStringAndSize(one.data, one.size)
