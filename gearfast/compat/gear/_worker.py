# SPDX-License-Identifier: BSD-3-Clause
"""`Worker`: registers functions and gives out jobs, to any number of threads."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue
from typing import Any, ClassVar

from gearfast.compat.gear import constants
from gearfast.compat.gear._base import BaseClient
from gearfast.compat.gear._errors import InterruptedError, InvalidDataError
from gearfast.compat.gear._jobs import FunctionRecord, TextWorkerJob, WorkerJob
from gearfast.compat.gear._packet import Packet, convert_to_bytes

_GRAB_SECONDS = 5.0  # a server that does not answer a GRAB_JOB_UNIQ for so long is given up when the worker stops


class Worker(BaseClient):
    """Asks its servers for jobs while threads wait in `getJob`.

    The state of a connection: "IDLE" asks for nothing, "GRAB_WAIT" has a GRAB_JOB_UNIQ on its way, "SLEEP" waits for a
    NOOP. `functions` maps names in bytes to `FunctionRecord`s.
    """

    job_class: ClassVar[Any] = WorkerJob

    def __init__(self, client_id: Any = None, worker_id: Any = None) -> None:
        if not client_id or worker_id:
            raise Exception("A client_id must be provided")
        self.worker_id = client_id
        self.functions: dict[bytes, FunctionRecord] = {}
        self.job_lock = threading.Lock()
        self._answered = threading.Condition(self.job_lock)
        self._stoppers = 0  # threads in stopWaitingForJobs
        self.waiting_for_jobs = 0
        self.job_queue: SimpleQueue[Any] = SimpleQueue()
        super().__init__(client_id)
        self.log = self._logger("Worker")

    def __repr__(self) -> str:
        return f"<gear.Worker 0x{id(self):x}>"

    # Functions.

    def registerFunction(self, name: Any, timeout: Any = None) -> None:
        """Registers a function at all servers, those that come later included.

        `timeout`: milliseconds that a job may take, as int, str or bytes.
        """
        name = convert_to_bytes(name)
        record = self.functions[name] = FunctionRecord(name, timeout)
        self._announce(record)
        self._ask_again()

    def unRegisterFunction(self, name: Any) -> None:
        """Takes a function back. Raises KeyError if it is not registered."""
        name = convert_to_bytes(name)
        del self.functions[name]
        self._sendCantDo(name)

    def setFunctions(self, functions: Any) -> None:
        """Registers exactly these functions instead of all others.

        `functions`: `FunctionRecord`s; raises InvalidDataError, and changes nothing, if one is something else.
        """
        records = list(functions)
        for record in records:
            if not isinstance(record, FunctionRecord):
                raise InvalidDataError(f"setFunctions takes FunctionRecords, not {record!r}")
        self._sendResetAbilities()
        self.functions = {convert_to_bytes(record.name): record for record in records}
        for record in self.functions.values():
            self._announce(record)
        if records:
            self._ask_again()

    def _announce(self, record: FunctionRecord) -> None:
        if record.timeout:
            self._sendCanDoTimeout(record.name, record.timeout)
        else:
            self._sendCanDo(record.name)

    def _ask_again(self) -> None:
        """Servers need not tell a sleeping worker of jobs that waited for a function before it was registered."""
        with self.job_lock:
            for connection in self.active_connections[:]:
                if connection.state == "SLEEP":
                    connection.changeState("IDLE")
            self._updateStateMachines()

    def _broadcast(self, packet: Packet) -> None:
        with self.broadcast_lock:
            self.broadcast(packet)

    def _sendCanDo(self, name: Any) -> None:
        self._broadcast(_can_do(name, None))

    def _sendCanDoTimeout(self, name: Any, timeout: Any) -> None:
        self._broadcast(_can_do(name, timeout))

    def _sendCantDo(self, name: Any) -> None:
        self._broadcast(Packet(constants.REQ, constants.CANT_DO, convert_to_bytes(name)))

    def _sendResetAbilities(self) -> None:
        self._broadcast(Packet(constants.REQ, constants.RESET_ABILITIES, b""))

    def _sendPreSleep(self, connection: Any) -> None:
        self.sendPacket(Packet(constants.REQ, constants.PRE_SLEEP, b""), connection)

    def _sendGrabJobUniq(self, connection: Any = None) -> None:
        packet = Packet(constants.REQ, constants.GRAB_JOB_UNIQ, b"")
        if connection is None:
            self.broadcast(packet)
        else:
            self.sendPacket(packet, connection)

    def _onConnect(self, conn: Any) -> None:
        with self.broadcast_lock:
            conn.sendPacket(Packet(constants.REQ, constants.SET_CLIENT_ID, self.client_id))
            super()._onConnect(conn)
            for record in self.functions.values():
                conn.sendPacket(_can_do(record.name, record.timeout))
            conn.changeState("IDLE")

    def _onActiveConnection(self, conn: Any) -> None:
        with self.job_lock:
            if self.waiting_for_jobs > 0:
                self._updateStateMachines()

    # Jobs.

    def _updateStateMachines(self) -> None:
        """Asks all idle servers for a job while somebody waits for one. Called with `job_lock` held."""
        for connection in self.active_connections[:]:
            if self.waiting_for_jobs < 1:
                if connection.state != "IDLE":
                    connection.changeState("IDLE")
            elif connection.state == "IDLE":
                connection.changeState("GRAB_WAIT")
                try:
                    self._sendGrabJobUniq(connection)
                except Exception as error:  # noqa: BLE001  (sendPacket has dealt with it)
                    self.log.debug("%s is lost, others may have a job: %s", connection, error)

    def getJob(self) -> Any:
        """Waits for a job, for ever; from any number of threads, each job goes to one of them.

        Raises gear's InterruptedError after `stopWaitingForJobs` or `shutdown`.
        """
        with self.job_lock:
            # Under the lock: shutdown() wakes those who wait, and nobody begins to wait behind its back.
            if not self.running:
                raise InterruptedError
            self.waiting_for_jobs += 1
            try:
                job = self.job_queue.get_nowait()
            except Empty:
                job = None
                self._updateStateMachines()
        if job is None:
            job = self.job_queue.get()
        if job is None:
            raise InterruptedError
        self.log.debug("Received job: %s", job)
        return job

    def stopWaitingForJobs(self) -> None:
        """Makes every `getJob` that waits raise InterruptedError, once no job is on its way any more."""
        with self.job_lock:
            deadline = time.monotonic() + _GRAB_SECONDS
            # The poll thread cannot wait for what only it can read.
            can_wait = self.poll_thread is not threading.current_thread() and self.running
            self._stoppers += 1
            while can_wait and self._asked() and time.monotonic() < deadline:
                self._answered.wait(min(deadline - time.monotonic(), 0.1))
            self._stoppers -= 1
            silent = self._asked() if can_wait else []
            while self.waiting_for_jobs > 0:
                self.waiting_for_jobs -= 1
                self.job_queue.put(None)
            self._updateStateMachines()
        for connection in silent:
            self.log.error("%s does not answer to GRAB_JOB_UNIQ", connection)
            self._lostConnection(connection)

    def _tell_stoppers(self) -> None:
        if self._stoppers:
            self._answered.notify_all()

    def _asked(self) -> list[Any]:
        return [connection for connection in self.active_connections if connection.state == "GRAB_WAIT"]

    def _shutdown(self) -> None:
        self.stopWaitingForJobs()
        with self.job_lock:
            super()._shutdown()
        self.stopWaitingForJobs()  # for a getJob() that came in between

    def handleNoop(self, packet: Packet) -> None:
        """The server has a job: asks for it. Who overrides this to take jobs later calls super() later."""
        with self.job_lock:
            if packet.connection.state == "SLEEP":
                packet.connection.changeState("GRAB_WAIT")
                self._sendGrabJobUniq(packet.connection)
            else:
                self.log.debug("Received unexpected NOOP packet on %s", packet.connection)

    def handleNoJob(self, packet: Packet) -> None:
        """The server has no job: goes to sleep there."""
        with self.job_lock:
            if packet.connection.state == "GRAB_WAIT":
                packet.connection.changeState("SLEEP")
                self._tell_stoppers()
                self._sendPreSleep(packet.connection)
            else:
                self.log.debug("Received unexpected NO_JOB packet on %s", packet.connection)

    def handleJobAssign(self, packet: Packet) -> None:
        """A job without its unique."""
        self._assigned(packet, 3)

    def handleJobAssignUnique(self, packet: Packet) -> None:
        """A job; its unique is None if it has none."""
        self._assigned(packet, 4)

    def _assigned(self, packet: Packet, number: int) -> None:
        """A job that cannot be taken goes back with the connection: its server has to know, and to be asked anew."""
        try:
            handle, name, *unique, arguments = packet.data.split(b"\0", number - 1)
            self._handleJobAssignment(packet, handle, name, arguments, (unique and unique[0]) or None)
        except Exception:
            self._lostConnection(packet.connection)
            raise

    def _handleJobAssignment(self, packet: Packet, handle: Any, name: Any, arguments: Any, unique: Any) -> None:
        job = self.job_class(handle, name, arguments, unique)
        job.connection = packet.connection
        with self.job_lock:
            packet.connection.changeState("IDLE")
            self._tell_stoppers()
            self.waiting_for_jobs -= 1
            self.job_queue.put(job)
            self._updateStateMachines()


class TextWorker(Worker):
    """A worker whose jobs are in str."""

    job_class = TextWorkerJob


def _can_do(name: Any, timeout: Any) -> Packet:
    name = convert_to_bytes(name)
    if not timeout:
        return Packet(constants.REQ, constants.CAN_DO, name)
    milliseconds = str(int(timeout)).encode() if isinstance(timeout, int | float) else convert_to_bytes(timeout)
    return Packet(constants.REQ, constants.CAN_DO_TIMEOUT, b"%b\0%b" % (name, milliseconds))
