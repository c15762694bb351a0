# SPDX-License-Identifier: BSD-3-Clause
"""`Client`: submits jobs and keeps their `Job` objects up to date."""

from __future__ import annotations

from typing import Any

from gearfast.compat.gear import constants
from gearfast.compat.gear._base import BaseClient
from gearfast.compat.gear._errors import ConfigurationError, GearmanError, NoServerTookJobError
from gearfast.compat.gear._packet import OptionReqTask, Packet, SubmitJobTask, convert_to_bytes

PRECEDENCE_NORMAL = 0
PRECEDENCE_LOW = 1
PRECEDENCE_HIGH = 2

_SUBMIT = {
    (False, PRECEDENCE_NORMAL): constants.SUBMIT_JOB,
    (False, PRECEDENCE_LOW): constants.SUBMIT_JOB_LOW,
    (False, PRECEDENCE_HIGH): constants.SUBMIT_JOB_HIGH,
    (True, PRECEDENCE_NORMAL): constants.SUBMIT_JOB_BG,
    (True, PRECEDENCE_LOW): constants.SUBMIT_JOB_LOW_BG,
    (True, PRECEDENCE_HIGH): constants.SUBMIT_JOB_HIGH_BG,
}


class Client(BaseClient):
    """Submits jobs to the servers it was given, one after the other.

    Its handlers run in the poll thread, and those for jobs return the `Job`; who overrides one calls super(). A
    handler must not call `submitJob`: the answer would have to be read by the thread that waits for it.
    """

    def __init__(self, client_id: Any = "unknown") -> None:
        self.options: set[bytes] = set()
        super().__init__(client_id)
        self.log = self._logger("Client")

    def __repr__(self) -> str:
        return f"<gear.Client 0x{id(self):x}>"

    # Options.

    def _onConnect(self, conn: Any) -> None:
        with self.broadcast_lock:
            super()._onConnect(conn)
            for name in self.options:
                if self._setOptionConnection(name, conn) is None:
                    raise OSError(f"{conn} was lost while it was set up")

    def _setOptionConnection(self, name: bytes, conn: Any) -> OptionReqTask | None:
        task = OptionReqTask()
        try:
            with conn.send_order:
                conn.pending_tasks.append(task)
                self.sendPacket(Packet(constants.REQ, constants.OPTION_REQ, name), conn)
        except Exception as error:  # noqa: BLE001  (sendPacket has dealt with it)
            self.log.debug("%s missed an option: %s", conn, error)
            return None
        return task

    def setOption(self, name: Any, timeout: float | None = 30) -> bool:
        """Sets an option at all servers, those that come later included.

        Returns whether all connected ones have confirmed it, each within `timeout` seconds. One that does not answer
        is taken out of use.
        """
        name = convert_to_bytes(name)
        with self.broadcast_lock:
            self.options.add(name)
            asked = [(conn, self._setOptionConnection(name, conn)) for conn in self.active_connections[:]]
        success = True
        for conn, task in asked:
            if task is None:
                success = False
            elif not task.wait(timeout):
                self.log.error("%s did not answer to the option %r", conn, name)
                self._lostConnection(conn)
                success = False
            elif task.failed or name not in conn.options:
                success = False
        return success

    # Submissions.

    def submitJob(
        self, job: Any, background: bool = False, precedence: int = PRECEDENCE_NORMAL, timeout: float | None = 30
    ) -> None:
        """Submits a job and waits until a server has it; sets `job.handle` and `job.connection`.

        A server that refuses, or does not answer within `timeout` seconds, is followed by the next one. Raises
        ConfigurationError for an unknown precedence, GearmanError if no server takes the job; that one is a
        NoConnectedServersError too if none was connected.
        """
        command = _SUBMIT.get((bool(background), precedence))
        if command is None:
            raise ConfigurationError(f"precedence is 0, 1 or 2, not {precedence!r}")
        unique = b"" if job.unique is None else job.binary_unique
        data = b"\0".join((job.binary_name, unique, job.binary_arguments))
        packet = Packet(constants.REQ, command, data)
        tried: list[Any] = []
        while (conn := self._next_untried(tried)) is not None:
            tried.append(conn)
            if self._submit_to(conn, packet, job, background, timeout):
                job.connection = conn
                return
        kind = GearmanError if tried else NoServerTookJobError
        raise kind("Unable to submit job to any connected servers")

    def _next_untried(self, tried: list[Any]) -> Any:
        """The next server in turn that is not in `tried`, or None."""
        with self.connections_condition:
            for _ in range(len(self.active_connections)):
                conn = self.getConnection()
                if conn not in tried:
                    return conn
        return None

    def _submit_to(self, conn: Any, packet: Packet, job: Any, background: bool, timeout: float | None) -> bool:
        task = SubmitJobTask(job)
        task.background = background
        try:
            with conn.send_order:  # answers come in the order of the requests
                conn.pending_tasks.append(task)
                self.sendPacket(packet, conn)
        except Exception as error:  # noqa: BLE001  (sendPacket has dealt with it)
            self.log.debug("%s missed a job: %s", conn, error)
            return False
        if not task.wait(timeout):
            self.log.error("%s did not answer to the submission of %s", conn, job)
            self._lostConnection(conn)
            return False
        if task.failed or not job.handle:
            self.log.error("%s refused %s, or was lost", conn, job)
            return False
        return True

    def _answered(self, packet: Packet, kind: type[Any]) -> Any:
        """The task that this answer is for. Raises GearmanError, and gives the connection up, if there is none."""
        tasks = packet.connection.pending_tasks
        if tasks and isinstance(tasks[0], kind):
            return tasks.pop(0)
        self._lostConnection(packet.connection)
        raise GearmanError(f"{packet} answers nothing that was asked")

    def handleJobCreated(self, packet: Packet) -> Any:
        """The server has the oldest submitted job under this handle."""
        task = self._answered(packet, SubmitJobTask)
        job, connection = task.job, packet.connection
        handle = job.handle = bytes(packet.data)
        known = connection.related_jobs.get(handle)
        if known is None or known is job or not getattr(known, "_waits", True):
            connection.related_jobs[handle] = job
        elif not task.background:  # the server has joined it to a job of ours that has the same unique
            connection.sharing.join(handle, known, job)
            connection.related_jobs[handle] = job
        job._waits = not task.background
        task.setComplete()
        self.log.debug("Job created; %s", job)
        return job

    # Progress and results.

    def _finish(self, packet: Packet, job: Any) -> None:
        """The job has no more packets to come."""
        connection = packet.connection
        sharing: Any = getattr(connection, "sharing", ())  # tests have connections of their own
        left = sharing.leave(job.handle, job) if job.handle in sharing else None
        if left is None:
            connection.related_jobs.pop(job.handle, None)
        elif connection.related_jobs.get(job.handle) is job:
            connection.related_jobs[job.handle] = left

    def handleWorkComplete(self, packet: Packet) -> Any:
        """The job is done."""
        job = packet.getJob()
        if data := packet.getArgument(1, True):
            job.data.append(data)
        job.failure = False
        job.complete = True
        self._finish(packet, job)
        self.log.debug("Job complete; %s", job)
        return job

    def handleWorkFail(self, packet: Packet) -> Any:
        """The job failed."""
        job = packet.getJob()
        job.failure = True
        job.complete = True
        self._finish(packet, job)
        self.log.debug("Job failed; %s", job)
        return job

    def handleWorkException(self, packet: Packet) -> Any:
        """The job failed with an exception."""
        job = packet.getJob()
        job.exception = packet.getArgument(1, True)
        job.failure = True
        job.complete = True
        self._finish(packet, job)
        self.log.debug("Job exception; %s exception: %r", job, job.exception)
        return job

    def handleWorkData(self, packet: Packet) -> Any:
        """A part of the job's result."""
        job = packet.getJob()
        if data := packet.getArgument(1, True):
            job.data.append(data)
        return job

    def handleWorkWarning(self, packet: Packet) -> Any:
        """A warning of the job's worker."""
        job = packet.getJob()
        if data := packet.getArgument(1, True):
            job.data.append(data)
        job.warning = True
        return job

    def handleWorkStatus(self, packet: Packet) -> Any:
        """The job's progress."""
        job = packet.getJob()
        _, numerator, denominator, *_ = packet.data.split(b"\0", 2)
        _set_progress(job, numerator, denominator)
        return job

    def handleStatusRes(self, packet: Packet) -> Any:
        """The answer to a GET_STATUS."""
        job = packet.getJob()
        handle, known, running, numerator, denominator = packet.data.split(b"\0", 4)
        sharing = getattr(packet.connection, "sharing", None)
        for one in (sharing and sharing.all(bytes(handle))) or [job]:
            one.known = known == b"1"
            one.running = running == b"1"
            _set_progress(one, numerator, denominator)
        return job

    def handleOptionRes(self, packet: Packet) -> None:
        """The server has confirmed the option that was asked for first."""
        task = self._answered(packet, OptionReqTask)
        packet.connection.handleOptionRes(packet.getArgument(0))
        task.setComplete()


def _set_progress(job: Any, numerator: Any, denominator: Any) -> None:
    job.numerator = numerator
    job.denominator = denominator
    try:
        job.fraction_complete = float(numerator) / float(denominator)
    except (ValueError, ZeroDivisionError):
        job.fraction_complete = None
