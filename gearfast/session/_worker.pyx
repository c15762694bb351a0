# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""One connection of a worker: abilities, grabs, jobs in hand, sleep.

Grabs are answered in order by JOB_ASSIGN* or NO_JOB. An ERROR never answers a grab (but for a server that does not know
its form): it tells that a result came too late, and must not disturb the count.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memcmp, memcpy

from gearfast._codec cimport (
    CMD_JOB_ASSIGN,
    CMD_JOB_ASSIGN_UNIQ,
    CMD_WORK_COMPLETE,
    HEADER_BYTES,
    PACKET,
    Decoder,
    Field,
    Frame,
    decode,
    put_header,
)

from gearfast._codec import encode
from gearfast.errors import ProtocolError
from gearfast.protocol import MAX_PACKET, MAX_RESULT, Command, ErrorCode
from gearfast.session.results import check_size

__all__ = ["Assignment", "Desk", "JobView", "Slots", "WorkerSession"]

cdef bytes PRE_SLEEP = encode(Command.PRE_SLEEP)
# Option by which a worker says that it serves this server alone. gearfast then holds a grab that it cannot answer and
# answers it with the next job, instead of NO_JOB, PRE_SLEEP, NOOP and another grab; gearmand refuses the option.
cdef bytes ALL_YOURS = b"all_yours"
# Ways to ask for a job, the one that tells most first; the next one for a server that does not know it.
cdef tuple GRABS = (encode(Command.GRAB_JOB_ALL), encode(Command.GRAB_JOB_UNIQ), encode(Command.GRAB_JOB))
cdef bytes NOTHING = b""


@cython.final
@cython.freelist(64)
cdef class Assignment:
    """A job that a server gave to this worker, over `session`.


    `lost`: that connection is gone. `over`: its end was told. `cancelled`: the server does not know it any more.
    `deadline`: when its server gives it to somebody else, None for never; `assigned_at`: when it came; both by the
    clock of the one who feeds the crew.
    """

    cdef readonly WorkerSession session
    cdef readonly bytes handle
    cdef readonly bytes function
    cdef readonly bytes unique
    cdef readonly bytes reducer
    cdef readonly bytes workload
    cdef public bint lost
    cdef public bint over
    cdef public bint cancelled
    cdef public object deadline
    cdef public double assigned_at


cdef class JobView:
    """What every job tells of itself at once. `desk`: the worker that has it, to which its messages go."""

    cdef readonly object _desk
    cdef readonly object _assignment

    def __cinit__(self, desk, assignment):
        self._desk = desk
        self._assignment = assignment

    @property
    def workload(self):
        """The client's data."""
        return self._assignment.workload

    @property
    def unique(self):
        """The unique that the client gave, maybe empty."""
        return self._assignment.unique


@cython.final
cdef class Slots:
    """How many jobs a worker may hold, and has in hand; shared by the sessions of all its connections.

    `only`: one connection has all slots, so it asks for the next job by itself; None if there are several. `resting`:
    nothing may be asked for.
    """

    cdef public Py_ssize_t most
    cdef public Py_ssize_t in_hand
    cdef public bint resting
    cdef public WorkerSession only

    def __init__(self, Py_ssize_t most=1):
        self.most = most


@cython.final
cdef class Desk:
    """Jobs in hand of functions that have a limit together."""

    cdef public Py_ssize_t in_hand


@cython.final
cdef class WorkerSession:
    """The worker's half of one connection to `server` (an address, for messages).

    `abilities`: functions with their time-outs, announced at once. `ready`: list to which jobs are appended that were
    assigned; the caller empties it. `refusals`: code and text of each ERROR, for the log; the caller empties it.
    `all_yours`: ask for that option. `credits`: the server has agreed, so grabs wait there for the next jobs.
    `shared`: other connections want the same slots, so no grab may wait there. `slots` and `desk` count jobs in hand.
    `max_result`: bytes of the largest result; with a larger one `complete` raises ResultTooLarge and changes nothing.
    """

    cdef readonly str server
    cdef readonly Desk desk
    cdef readonly Slots slots
    cdef readonly bint credits
    cdef public bint shared         # by `share` while connected
    cdef public list ready
    cdef readonly list refusals
    cdef readonly dict jobs
    cdef readonly Py_ssize_t grabs
    cdef readonly Py_ssize_t limit
    cdef readonly Py_ssize_t max_result
    # How many grabs may be under way: one after each sleep, doubled with each job, so that a lone job in a quiet time
    # does not cost `limit` grabs.
    cdef readonly Py_ssize_t budget
    # How many of the grabs were asked back: a NO_JOB to one of those says nothing about the queue.
    cdef Py_ssize_t recalled
    cdef readonly Py_ssize_t unanswered
    cdef readonly bint dry
    cdef readonly bint asleep
    cdef public double slept_at
    cdef bint asked
    cdef double now
    cdef int form
    cdef Decoder decoder
    cdef bytes function
    cdef list out

    def __init__(
        self,
        str server="",
        *,
        abilities=None,
        bytes worker_id=b"",
        Py_ssize_t limit=1,
        bint all_yours=False,
        size_t max_packet=MAX_PACKET,
        Py_ssize_t max_result=MAX_RESULT,
        list ready=None,
        Slots slots=None,
        Desk desk=None,
    ):
        self.server = server
        self.desk = Desk() if desk is None else desk
        if slots is None:
            slots = Slots(0)
            slots.resting = True
        self.slots = slots
        self.asked = all_yours
        self.ready = [] if ready is None else ready
        self.refusals = []
        self.jobs = {}
        self.limit = limit
        self.max_result = max_result
        self.budget = 1
        self.decoder = Decoder(max_packet)
        self.function = NOTHING
        self.out = []
        if worker_id:
            self.out.append(encode(Command.SET_CLIENT_ID, worker_id))
        if all_yours:
            self.out.append(encode(Command.OPTION_REQ, ALL_YOURS))
        for name, timeout in (abilities or {}).items():
            self.can_do(name, timeout)

    # Out

    def can_do(self, bytes name, timeout=0):
        """Announce a function. A sleeping worker is not woken for it by every server, so it should ask."""
        if timeout:
            self.out.append(encode(Command.CAN_DO_TIMEOUT, name, b"%d" % timeout))
        else:
            self.out.append(encode(Command.CAN_DO, name))
        if self.asleep:
            self.wake()

    def cant_do(self, bytes name):
        """Take a function back. The server queues its running jobs again."""
        self.out.append(encode(Command.CANT_DO, name))

    cpdef grab(self, Py_ssize_t count=1):
        """Ask for jobs."""
        self.out.append(GRABS[self.form] if count == 1 else GRABS[self.form] * count)
        self.grabs += count
        self.asleep = False
        if self.shared and self.credits:
            self.sleep()  # the server answers at once what it would hold

    cpdef sleep(self):
        """Tell the server that it must wake this worker before the next job."""
        self.out.append(PRE_SLEEP)
        self.recalled = self.grabs
        self.asleep = True
        self.dry = False

    def recall(self):
        """Ask for the grabs back that the server holds: it answers each with NO_JOB."""
        if self.credits and self.grabs and not self.asleep:
            self.sleep()

    def share(self, bint shared):
        """Whether other connections want the same slots."""
        if shared and not self.shared:
            self.recall()
        elif self.shared and not shared:
            self.wake()
        self.shared = shared

    def wake(self):
        """Worth asking again."""
        self.asleep = False
        self.dry = False
        self.budget = self.limit if self.credits and not self.shared else 1

    def set_limit(self, Py_ssize_t limit):
        """How many grabs may be under way at most."""
        self.limit = limit
        if self.budget > limit or (self.credits and not self.shared):
            self.budget = limit

    def get_status(self, Assignment job):
        """GET_STATUS of a job in hand. STATUS_RES tells whether the server still knows it."""
        self.out.append(encode(Command.GET_STATUS, job.handle))
        self.unanswered += 1

    cdef int fill(self) except -1:
        """Ask for as many jobs as the free slots and the session's own budget allow, if the server may have some."""
        cdef Py_ssize_t count = self.budget - self.grabs
        cdef Py_ssize_t free = self.slots.most - self.slots.in_hand - self.grabs
        if free < count:
            count = free
        if count > 0 and not self.asleep and not self.dry and not self.slots.resting:
            self.grab(count)
        return 0

    def balance(self):
        """Ask for jobs, if there is room and this is the only connection."""
        if self.slots.only is self:
            self.fill()

    cdef int end(self, Assignment job) except -1:
        self.jobs.pop(job.handle, None)
        job.over = True
        return self.free(job)

    cdef int free(self, Assignment job) except -1:
        self.slots.in_hand -= 1
        self.desk.in_hand -= 1
        if self.slots.only is self:
            self.fill()
        return 0

    def drop(self, Assignment job):
        """A job whose connection is gone has ended, or need not begin: only its slot counts."""
        job.over = True
        self.slots.in_hand -= 1
        self.desk.in_hand -= 1

    cpdef complete(self, Assignment job, result):
        """WORK_COMPLETE: the job is over."""
        cdef bytes out
        cdef char* at
        cdef Py_ssize_t named = PyBytes_GET_SIZE(job.handle)
        cdef Py_ssize_t size
        if PyBytes_CheckExact(result) and PyBytes_GET_SIZE(result) <= self.max_result:
            size = PyBytes_GET_SIZE(result)
            out = PyBytes_FromStringAndSize(NULL, HEADER_BYTES + named + 1 + size)
            at = PyBytes_AS_STRING(out)
            put_header(at, False, CMD_WORK_COMPLETE, <uint32_t>(named + 1 + size))
            at += HEADER_BYTES
            memcpy(at, PyBytes_AS_STRING(job.handle), named)
            at[named] = 0
            memcpy(at + named + 1, PyBytes_AS_STRING(result), size)
        else:
            check_size(job, "result", result)
            out = encode(CMD_WORK_COMPLETE, job.handle, result)
        self.out.append(out)
        self.end(job)

    def answer(self, Assignment job, result):
        """`complete`, and all bytes to be sent."""
        self.complete(job, result)
        return self.take_output()

    def fail(self, Assignment job):
        """WORK_FAIL: the job is over."""
        self.out.append(encode(Command.WORK_FAIL, job.handle))
        self.end(job)

    def exception(self, Assignment job, data):
        """WORK_EXCEPTION: the job is over. The server tells clients that did not ask for exceptions WORK_FAIL."""
        self.out.append(encode(Command.WORK_EXCEPTION, job.handle, data))
        self.end(job)

    def data(self, Assignment job, data):
        """WORK_DATA: a part of the result."""
        self.out.append(encode(Command.WORK_DATA, job.handle, data))

    def warning(self, Assignment job, data):
        """WORK_WARNING."""
        self.out.append(encode(Command.WORK_WARNING, job.handle, data))

    def status(self, Assignment job, numerator, denominator):
        """WORK_STATUS: progress."""
        self.out.append(encode(Command.WORK_STATUS, job.handle, b"%d" % numerator, b"%d" % denominator))

    @property
    def has_output(self):
        """There is something for `take_output`."""
        return bool(self.out)

    cpdef bytes take_output(self):
        """All bytes to be sent, once."""
        cdef list out = self.out
        cdef bytes data
        cdef Py_ssize_t size
        if len(out) == 2:
            # A result and the next grab, mostly.
            size = PyBytes_GET_SIZE(out[0])
            data = PyBytes_FromStringAndSize(NULL, size + PyBytes_GET_SIZE(out[1]))
            memcpy(PyBytes_AS_STRING(data), PyBytes_AS_STRING(out[0]), size)
            memcpy(PyBytes_AS_STRING(data) + size, PyBytes_AS_STRING(out[1]), PyBytes_GET_SIZE(out[1]))
        else:
            data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    # In

    def receive(self, data, double now=0.0):
        """Take bytes from the server that came at `now`. Returns whether it may be told PRE_SLEEP: it has no job left.

        Raises ProtocolError; what came before the bad byte has taken effect.
        """
        cdef size_t at = 0
        self.now = now
        if PyBytes_CheckExact(data) and self.decoder.held == 0 and self.decoder.failure is None:
            at = self.take_assigned(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            if at == <size_t>PyBytes_GET_SIZE(data):
                return self.settle()
        try:
            packets = self.decoder.receive(data[at:] if at else data)
        except ProtocolError as error:
            packets, error.packets = error.packets, []
            self.take(packets)
            raise
        self.take(packets)
        return self.settle()

    cdef bint settle(self) except -1:
        if self.dry and self.grabs == 0:
            return True
        if self.slots.only is self:
            self.fill()
        return False

    cdef size_t take_assigned(self, const char* data, size_t size) except? 0:
        """The short way for assignments at the start of `data`: no packet is made of them. Returns where they end."""
        cdef Frame frame
        cdef size_t at = 0
        while at < size and decode(data + at, size - at, self.decoder.max_packet, &frame) == PACKET:
            if frame.command == CMD_JOB_ASSIGN_UNIQ:
                self.assign(
                    field(frame.args[0]), self.name(frame.args[1]), field(frame.args[2]), NOTHING, field(frame.args[3])
                )
            elif frame.command == CMD_JOB_ASSIGN:
                self.assign(field(frame.args[0]), self.name(frame.args[1]), NOTHING, NOTHING, field(frame.args[2]))
            else:
                break
            at += frame.size
            self.decoder.consumed += frame.size
        return at

    cdef bytes name(self, Field one):
        """A function's name: the same object as for the last job, if it is the same name."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self.function)
        if <size_t>size != one.size or memcmp(PyBytes_AS_STRING(self.function), one.data, size):
            self.function = field(one)
        return self.function

    cdef int take(self, list packets) except -1:
        for packet in packets:
            if packet.__class__ is bytes:
                raise ProtocolError(f"{self.server}: text {packet[:40]!r} where a packet was due", head=packet[:32])
            handler = HANDLERS.get(packet.command)
            if handler is None:
                raise ProtocolError(f"{self.server}: {packet.name} is not for a worker")
            handler(self, packet.args)
        return 0

    cdef int assign(self, bytes handle, bytes function, bytes unique, bytes reducer, bytes workload) except -1:
        cdef Assignment job
        if self.grabs == 0:
            raise self.unasked("JOB_ASSIGN")
        job = Assignment.__new__(Assignment)
        job.session = self
        job.handle = handle
        job.function = function
        job.unique = unique
        job.reducer = reducer
        job.workload = workload
        job.assigned_at = self.now
        self.grabs -= 1
        if self.recalled:
            self.recalled -= 1
        self.dry = False
        if self.budget < self.limit:
            self.budget *= 2
        self.jobs[handle] = job
        self.ready.append(job)
        self.slots.in_hand += 1
        self.desk.in_hand += 1
        return 0

    cdef object unasked(self, str name):
        return ProtocolError(f"{self.server}: {name} came, but nothing was asked")

    def _noop(self, tuple args):
        """NOOP"""
        self.wake()

    def _no_job(self, tuple args):
        """NO_JOB"""
        if self.grabs == 0:
            raise self.unasked("NO_JOB")
        self.grabs -= 1
        if self.recalled:
            self.recalled -= 1
        else:
            self.dry = True
            self.budget = 1

    def _job_assign(self, tuple args):
        """JOB_ASSIGN handle function workload"""
        self.assign(args[0], args[1], NOTHING, NOTHING, args[2])

    def _job_assign_uniq(self, tuple args):
        """JOB_ASSIGN_UNIQ handle function unique workload"""
        self.assign(args[0], args[1], args[2], NOTHING, args[3])

    def _job_assign_all(self, tuple args):
        """JOB_ASSIGN_ALL handle function unique reducer workload"""
        self.assign(args[0], args[1], args[2], args[3], args[4])

    def _status_res(self, tuple args):
        """STATUS_RES handle known running numerator denominator"""
        if self.unanswered == 0:
            raise self.unasked("STATUS_RES")
        self.unanswered -= 1
        job = self.jobs.get(args[0])  # None: it has ended since
        if job is not None and args[1] == b"0":
            job.cancelled = True

    def _error(self, tuple args):
        """ERROR code text"""
        if self.asked and args[0] == ErrorCode.UNKNOWN_OPTION:
            self.asked = False
            return
        if args[0] == ErrorCode.INVALID_COMMAND and self.grabs and self.form + 1 < len(GRABS):
            self.form += 1
            self.out.append(GRABS[self.form] * self.grabs)
            return
        self.refusals.append((args[0], args[1]))

    def _option_res(self, tuple args):
        """OPTION_RES option"""
        if self.asked and args[0] == ALL_YOURS:
            self.asked = False
            self.credits = True
            if not self.shared:
                self.budget = self.limit
            if self.shared or self.slots.resting:
                self.recall()  # of before it was known that they wait there

    def _ignored(self, tuple args):
        """ECHO_RES: nobody waits for it."""


cdef inline bytes field(Field one):
    return PyBytes_FromStringAndSize(one.data, one.size)


cdef dict HANDLERS = {
    Command.NOOP: WorkerSession._noop,
    Command.NO_JOB: WorkerSession._no_job,
    Command.JOB_ASSIGN: WorkerSession._job_assign,
    Command.JOB_ASSIGN_UNIQ: WorkerSession._job_assign_uniq,
    Command.JOB_ASSIGN_ALL: WorkerSession._job_assign_all,
    Command.STATUS_RES: WorkerSession._status_res,
    Command.ERROR: WorkerSession._error,
    Command.OPTION_RES: WorkerSession._option_res,
    Command.ECHO_RES: WorkerSession._ignored,
}
