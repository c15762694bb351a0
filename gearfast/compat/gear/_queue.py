# SPDX-License-Identifier: BSD-3-Clause
"""The job server's rules: packets of clients and workers, and the queues that tests reach into.

They are gear's and not gearmand's: no coalescing; a job ends with its worker's connection, and a queued one with its
client's.
"""

from __future__ import annotations

import heapq
import random
import time
from typing import Any

from gearfast.compat.gear import constants
from gearfast.compat.gear._base import BaseClientServer
from gearfast.compat.gear._calendar import next_match
from gearfast.compat.gear._client import PRECEDENCE_HIGH, PRECEDENCE_LOW, PRECEDENCE_NORMAL
from gearfast.compat.gear._jobs import ServerJob
from gearfast.compat.gear._packet import Packet
from gearfast.protocol import Command, ErrorCode

_MORE_HANDLERS = {Command.GRAB_JOB_ALL: "_grab_all", Command.GET_STATUS_UNIQUE: "_get_status_unique"}
_REFUSED = (Command.SUBMIT_REDUCE_JOB, Command.SUBMIT_REDUCE_JOB_BACKGROUND)


class JobQueue(BaseClientServer):
    """The part of `Server` that knows no sockets.

    `high_queue`, `normal_queue`, `low_queue`: lists of `ServerJob` in the order of submission; a job leaves when a
    worker gets it. `jobs`: all jobs by handle, running ones included. `functions`: every function ever registered.
    """

    def __init__(self, server_id: Any, acl: Any) -> None:
        self.high_queue: list[Any] = []
        self.normal_queue: list[Any] = []
        self.low_queue: list[Any] = []
        self.jobs: dict[bytes, Any] = {}
        self.functions: set[bytes] = set()
        self.max_handle = 0
        self.acl = acl
        self.statsd: Any = None
        self._delayed: dict[bytes, Any] = {}  # jobs whose time has not come
        self._timers: list[tuple[float, int, Any, tuple[Any, ...]]] = []  # a heap: wall time, number, call, arguments
        self._timer_number = 0
        super().__init__(server_id)

    # Counted when asked, so that overrides of getJobForConnection need not keep them.

    @property
    def total_jobs(self) -> int:
        return len(self.jobs)

    @total_jobs.setter
    def total_jobs(self, value: int) -> None:
        """Some programs keep this count themselves; it is always right."""

    @property
    def waiting_jobs(self) -> int:
        return len(self.high_queue) + len(self.normal_queue) + len(self.low_queue) + len(self._delayed)

    @waiting_jobs.setter
    def waiting_jobs(self, value: int) -> None:
        """As `total_jobs`."""

    @property
    def running_jobs(self) -> int:
        return max(self.total_jobs - self.waiting_jobs, 0)

    @running_jobs.setter
    def running_jobs(self, value: int) -> None:
        """As `total_jobs`."""

    def getQueue(self) -> list[Any]:
        """All queued jobs, high precedence first, as a list of its own."""
        return [*self.high_queue, *self.normal_queue, *self.low_queue]

    def _unknownPacket(self, packet: Packet) -> None:
        name = _MORE_HANDLERS.get(packet.ptype)  # type: ignore[call-overload]
        if name is not None:
            getattr(self, name)(packet)
            return
        super()._unknownPacket(packet)
        if packet.ptype in _REFUSED:
            self._refuse(packet.connection, ErrorCode.INVALID_COMMAND, b"Command not expected")

    # Clients.

    def _handleSubmitJob(self, packet: Packet, precedence: int, background: bool = False) -> Any:
        self._take(packet, precedence, background)

    def _take(self, packet: Packet, precedence: int, background: bool, due: float | None = None, skip: int = 0) -> None:
        """`due`: wall time before which no worker gets the job. `skip`: arguments between unique and data."""
        name, unique, *_, arguments = packet.data.split(b"\0", 2 + skip)
        connection = packet.connection
        if self.acl and not self.acl.canInvoke(connection.ssl_subject, name):
            self.log.info("Rejecting a job for %r from %s due to ACL", name, connection.ssl_subject)
            self.sendError(connection, 0, "Permission denied by ACL")
            return
        self.max_handle += 1
        handle = f"H:{connection.host}:{self.max_handle}".encode()
        job = ServerJob(handle, name, arguments, None if background else connection, unique or None)
        # Known before its client hears of it: tests look for it as soon as they have the handle.
        self.jobs[handle] = job
        if not background:
            connection.related_jobs[handle] = job
        if due is not None and due > time.time():
            self._delayed[handle] = job
            self._at(due, self._is_due, handle)
        else:
            self._queue_of(precedence).append(job)
        self._updateStats()
        connection.sendPacket(Packet(constants.RES, constants.JOB_CREATED, handle))
        if handle not in self._delayed:
            self.wakeConnections(job)

    def _queue_of(self, precedence: int) -> list[Any]:
        return {PRECEDENCE_HIGH: self.high_queue, PRECEDENCE_LOW: self.low_queue}.get(precedence, self.normal_queue)

    def _is_due(self, handle: bytes) -> None:
        if (job := self._delayed.pop(handle, None)) is not None:
            self.normal_queue.append(job)
            self.wakeConnections(job)

    def handleSubmitJob(self, packet: Packet) -> Any:
        """A foreground job."""
        return self._handleSubmitJob(packet, PRECEDENCE_NORMAL)

    def handleSubmitJobHigh(self, packet: Packet) -> Any:
        """A foreground job of high precedence."""
        return self._handleSubmitJob(packet, PRECEDENCE_HIGH)

    def handleSubmitJobLow(self, packet: Packet) -> Any:
        """A foreground job of low precedence."""
        return self._handleSubmitJob(packet, PRECEDENCE_LOW)

    def handleSubmitJobBg(self, packet: Packet) -> Any:
        """A background job."""
        return self._handleSubmitJob(packet, PRECEDENCE_NORMAL, background=True)

    def handleSubmitJobHighBg(self, packet: Packet) -> Any:
        """A background job of high precedence."""
        return self._handleSubmitJob(packet, PRECEDENCE_HIGH, background=True)

    def handleSubmitJobLowBg(self, packet: Packet) -> Any:
        """A background job of low precedence."""
        return self._handleSubmitJob(packet, PRECEDENCE_LOW, background=True)

    def handleSubmitJobEpoch(self, packet: Packet) -> None:
        """A background job for a time in seconds since 1970; what is no number means now."""
        text = bytes(packet.getArgument(2))
        due = float(text) if text.isdigit() and len(text) < 12 else None
        self._take(packet, PRECEDENCE_NORMAL, True, due, skip=1)

    def handleSubmitJobSched(self, packet: Packet) -> None:
        """A background job for the next minute in UTC that all given fields of a calendar match."""
        fields = [bytes(packet.getArgument(index)).decode("ascii", "replace") for index in range(2, 7)]
        try:
            due = next_match(fields, time.time())
        except ValueError as error:
            self._refuse(packet.connection, ErrorCode.INVALID_ARGUMENT, str(error).encode())
            return
        self._take(packet, PRECEDENCE_NORMAL, True, due, skip=5)

    def handleGetStatus(self, packet: Packet) -> None:
        """Answers with STATUS_RES; all zero for an unknown job."""
        handle = bytes(packet.getArgument(0))
        body = handle + b"\0" + _status_of(self.jobs.get(handle))
        packet.connection.sendPacket(Packet(constants.RES, constants.STATUS_RES, body))

    def _get_status_unique(self, packet: Packet) -> None:
        unique = bytes(packet.data)
        job = next((job for job in self.jobs.values() if unique and job.binary_unique == unique), None)
        clients = b"1" if job is not None and job.client_connection is not None else b"0"
        body = unique + b"\0" + _status_of(job) + b"\0" + clients
        packet.connection.sendPacket(Packet(constants.RES, Command.STATUS_RES_UNIQUE, body))

    def handleEchoReq(self, packet: Packet) -> None:
        """Sends the data back."""
        packet.connection.sendPacket(Packet(constants.RES, constants.ECHO_RES, packet.data))

    def handleOptionReq(self, packet: Packet) -> None:
        """Confirms `exceptions`, which is always on; refuses any other option."""
        option = bytes(packet.getArgument(0))
        if option.lower() == b"exceptions":
            packet.connection.sendPacket(Packet(constants.RES, constants.OPTION_RES, option))
        else:
            self._refuse(packet.connection, ErrorCode.UNKNOWN_OPTION, b"Server does not recognize given option")

    # Workers.

    def handleCanDo(self, packet: Packet) -> None:
        """Registers a function; ignored if the ACL forbids it."""
        self._register(packet.connection, bytes(packet.getArgument(0)), 0)

    def handleCanDoTimeout(self, packet: Packet) -> None:
        """Registers a function. A job that takes longer ends as if its worker were lost."""
        limit = bytes(packet.getArgument(1, True))
        milliseconds = int(limit) if limit.isdigit() and len(limit) < 12 else 0
        self._register(packet.connection, bytes(packet.getArgument(0)), milliseconds)

    def _register(self, connection: Any, name: bytes, milliseconds: int) -> None:
        if self.acl and not self.acl.canRegister(connection.ssl_subject, name):
            self.log.info("Ignoring CAN_DO of %r from %s due to ACL", name, connection.ssl_subject)
            return
        connection.functions.add(name)
        connection.timeouts[name] = milliseconds
        self.functions.add(name)

    def handleCantDo(self, packet: Packet) -> None:
        """Takes a function back."""
        packet.connection.functions.discard(bytes(packet.getArgument(0)))

    def handleResetAbilities(self, packet: Packet) -> None:
        """Takes all functions back."""
        packet.connection.functions = set()

    def handleSetClientID(self, packet: Packet) -> None:
        """The name of a connection in `workers`."""
        packet.connection.client_id = bytes(packet.getArgument(0))

    def getJobForConnection(self, connection: Any, peek: bool = False) -> Any:
        """The next job for a worker, or None; unless `peek`, it is the worker's from now on.

        Overridden to hold jobs back. Called for each grab, and with `peek` when a worker goes to sleep.
        """
        functions = connection.functions
        for queue in (self.high_queue, self.normal_queue, self.low_queue):
            for index, job in enumerate(queue):
                if job.name in functions:
                    if not peek:
                        del queue[index]
                        connection.related_jobs[job.handle] = job
                        job.worker_connection = connection
                        job.running = True
                        self._updateStats()
                    return job
        return None

    def _grab(self, connection: Any) -> Any:
        """The job for a worker that asked, or None after it was told that there is none."""
        job = self.getJobForConnection(connection)
        if not job:
            self.sendNoJob(connection)
            return None
        if limit := connection.timeouts.get(job.name):
            self._at(time.time() + limit / 1000, self._overdue, job, connection)
        return job

    def _overdue(self, job: Any, connection: Any) -> None:
        if job.handle in self.jobs and job.worker_connection is connection:
            self.log.info("Giving %s up, which %s did not finish in time", job, connection)
            self._removeJob(job)
            self._fail(job)
            self._updateStats()

    def _fail(self, job: Any) -> None:
        if job.client_connection is not None:
            job.client_connection.sendPacket(Packet(constants.RES, constants.WORK_FAIL, job.handle))

    def handleGrabJobUniq(self, packet: Packet) -> None:
        """Gives a worker a job, or tells that there is none."""
        if (job := self._grab(packet.connection)) is not None:
            self.sendJobAssignUniq(packet.connection, job)

    _grab_all = handleGrabJobUniq  # reduce jobs are refused, so no job has a reducer to tell of

    def handleGrabJob(self, packet: Packet) -> None:
        """The same without the unique."""
        if (job := self._grab(packet.connection)) is not None:
            body = b"\0".join((job.handle, job.binary_name, job.binary_arguments))
            packet.connection.sendPacket(Packet(constants.RES, constants.JOB_ASSIGN, body))

    def sendJobAssignUniq(self, connection: Any, job: Any) -> None:
        """Sends a job to a worker."""
        body = b"\0".join((job.handle, job.binary_name, job.binary_unique or b"", job.binary_arguments))
        connection.sendPacket(Packet(constants.RES, constants.JOB_ASSIGN_UNIQ, body))

    def sendNoJob(self, connection: Any) -> None:
        """Tells a worker that there is no job for it."""
        connection.sendPacket(Packet(constants.RES, constants.NO_JOB, b""))

    def handlePreSleep(self, packet: Packet) -> None:
        """A worker waits for a NOOP from now on; it gets one at once if there is a job for it."""
        packet.connection.changeState("SLEEP")
        if self.getJobForConnection(packet.connection, peek=True):
            self.wakeConnection(packet.connection)

    def wakeConnection(self, connection: Any) -> None:
        """Sends a NOOP to a worker that sleeps."""
        if connection.state == "SLEEP":
            connection.changeState("AWAKE")
            connection.sendPacket(Packet(constants.RES, constants.NOOP, b""))

    def wakeConnections(self, job: Any = None) -> None:
        """Sends a NOOP to all workers that sleep and can do a job, or to all that sleep; in random order."""
        sleeping = [
            connection
            for connection in self.active_connections[:]
            if connection.state == "SLEEP" and (job is None or job.name in connection.functions)
        ]
        random.shuffle(sleeping)
        for connection in sleeping:
            self.wakeConnection(connection)

    def handlePassthrough(self, packet: Packet, finished: bool = False) -> None:
        """Hands a worker's packet on to the client, if one waits; with `finished` the job is over."""
        job = self._job_of(packet)
        if job is None:
            return
        if finished:
            self._removeJob(job, dequeue=False)
        packet.code = constants.RES
        if job.client_connection is not None:
            job.client_connection.sendPacket(packet)
        if finished:
            self._updateStats()

    def _job_of(self, packet: Packet) -> Any:
        job = self.jobs.get(bytes(packet.getArgument(0)))
        if job is None:
            self.log.info("Received packet %s for unknown job", packet)
        return job

    def handleWorkComplete(self, packet: Packet) -> None:
        """The job is done."""
        self.handlePassthrough(packet, True)

    def handleWorkFail(self, packet: Packet) -> None:
        """The job failed."""
        self.handlePassthrough(packet, True)

    def handleWorkException(self, packet: Packet) -> None:
        """The job failed with an exception, which every client gets."""
        self.handlePassthrough(packet, True)

    def handleWorkData(self, packet: Packet) -> None:
        """A part of a result."""
        self.handlePassthrough(packet)

    def handleWorkWarning(self, packet: Packet) -> None:
        """A warning."""
        self.handlePassthrough(packet)

    def handleWorkStatus(self, packet: Packet) -> None:
        """Progress; kept for GET_STATUS."""
        job = self._job_of(packet)
        if job is not None:
            _, job.numerator, job.denominator = packet.data.split(b"\0", 2)
            self.handlePassthrough(packet)

    # What ends.

    def _removeJob(self, job: Any, dequeue: Any = True) -> None:
        """Forgets a job. `dequeue`: True looks into all queues, False into none, or the queue that it is in."""
        self.jobs.pop(job.handle, None)
        self._delayed.pop(job.handle, None)
        for connection in (job.client_connection, job.worker_connection):
            if connection is not None:
                connection.related_jobs.pop(job.handle, None)
        if dequeue is True:
            queues = [self.high_queue, self.normal_queue, self.low_queue]
        else:
            queues = [] if dequeue is False else [dequeue]
        for queue in queues:
            if job in queue:
                queue.remove(job)

    def _updateStats(self) -> None:
        if self.statsd:
            self.statsd.gauge("queue.total", self.total_jobs)
            self.statsd.gauge("queue.running", self.running_jobs)
            self.statsd.gauge("queue.waiting", self.waiting_jobs)

    def sendError(self, connection: Any, code: Any, text: Any) -> None:
        """Refuses a request of a connection."""
        self._refuse(connection, str(code).encode(), str(text).encode() + b"\0")

    def _refuse(self, connection: Any, code: bytes, text: bytes) -> None:
        connection.sendPacket(Packet(constants.RES, constants.ERROR, code + b"\0" + text))

    # Times. All calls come from the poll thread.

    def _at(self, due: float, call: Any, *arguments: Any) -> None:
        self._timer_number += 1
        heapq.heappush(self._timers, (due, self._timer_number, call, arguments))

    def _run_timers(self) -> float | None:
        """Does what is due; returns the seconds until the next time, None if there is none."""
        while self._timers:
            left = self._timers[0][0] - time.time()
            if left > 0:
                return min(left, 3600.0)  # the clock may be set
            _, _, call, arguments = heapq.heappop(self._timers)
            try:
                call(*arguments)
            except Exception:
                self.log.exception("Exception in a timer:")
        return None


def _status_of(job: Any) -> bytes:
    """known, running, numerator and denominator as in STATUS_RES."""
    if job is None:
        return b"0\x000\x000\x000"
    running = b"1" if job.running else b"0"
    return b"\0".join((b"1", running, job.numerator or b"0", job.denominator or b"0"))
