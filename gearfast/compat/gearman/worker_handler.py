# SPDX-License-Identifier: BSD-3-Clause
"""A worker's side of one connection: asleep, waiting for a job it asked for, or running one."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from ._flavour import FLAVOUR
from .command_handler import GearmanCommandHandler
from .errors import InvalidWorkerState
from .job import GearmanJob
from .protocol import (
    GEARMAN_COMMAND_CAN_DO,
    GEARMAN_COMMAND_GRAB_JOB_UNIQ,
    GEARMAN_COMMAND_PRE_SLEEP,
    GEARMAN_COMMAND_RESET_ABILITIES,
    GEARMAN_COMMAND_SET_CLIENT_ID,
    GEARMAN_COMMAND_WORK_COMPLETE,
    GEARMAN_COMMAND_WORK_DATA,
    GEARMAN_COMMAND_WORK_EXCEPTION,
    GEARMAN_COMMAND_WORK_FAIL,
    GEARMAN_COMMAND_WORK_STATUS,
    GEARMAN_COMMAND_WORK_WARNING,
)

if TYPE_CHECKING:
    from .connection_manager import GearmanConnectionManager

gearman_logger = logging.getLogger(f"{FLAVOUR.package}.worker_handler")


class GearmanWorkerCommandHandler(GearmanCommandHandler):
    """Asks for a job when the server has one and no other connection of this worker is busy."""

    def __init__(self, connection_manager: GearmanConnectionManager | None = None) -> None:
        super().__init__(connection_manager=connection_manager)
        self._handler_abilities: Any = []
        self._client_id: Any = None

    def initial_state(self, abilities: Any = None, client_id: Any = None) -> None:
        """Says who this is and what it can do, and goes to sleep."""
        self.set_client_id(client_id)
        self.set_abilities(abilities)
        self._sleep()

    def set_abilities(self, connection_abilities_list: Any) -> None:
        """Takes the server's list of this worker's tasks back and sends a new one."""
        self._handler_abilities = connection_abilities_list or []
        self.send_command(GEARMAN_COMMAND_RESET_ABILITIES)
        for task in self._handler_abilities:
            self.send_command(GEARMAN_COMMAND_CAN_DO, task=task)

    def set_client_id(self, client_id: Any) -> None:
        """Names this worker; None leaves it without a name."""
        self._client_id = client_id
        if client_id is not None:
            self.send_command(GEARMAN_COMMAND_SET_CLIENT_ID, client_id=client_id)

    # --- what a job sends ---------------------------------------------------------------------------------------------

    def send_job_status(self, current_job: GearmanJob, numerator: float, denominator: float) -> None:
        assert type(numerator) in (int, float), "Numerator must be a numeric value"
        assert type(denominator) in (int, float), "Denominator must be a numeric value"
        self.send_command(
            GEARMAN_COMMAND_WORK_STATUS,
            job_handle=current_job.handle,
            numerator=str(numerator),
            denominator=str(denominator),
        )

    def send_job_complete(self, current_job: GearmanJob, data: Any) -> None:
        self._send_data(GEARMAN_COMMAND_WORK_COMPLETE, current_job, data)

    def send_job_failure(self, current_job: GearmanJob) -> None:
        self.send_command(GEARMAN_COMMAND_WORK_FAIL, job_handle=current_job.handle)

    def send_job_exception(self, current_job: GearmanJob, data: Any) -> None:
        self._send_data(GEARMAN_COMMAND_WORK_EXCEPTION, current_job, data)

    def send_job_data(self, current_job: GearmanJob, data: Any) -> None:
        self._send_data(GEARMAN_COMMAND_WORK_DATA, current_job, data)

    def send_job_warning(self, current_job: GearmanJob, data: Any) -> None:
        self._send_data(GEARMAN_COMMAND_WORK_WARNING, current_job, data)

    def _send_data(self, command: int, job: GearmanJob, data: Any) -> None:
        try:
            encoded = self.encode_data(data)
        except TypeError:
            if data is not None:
                raise
            encoded = b""  # a callback without a result; an encoder that knows None has had its say
        self.send_command(command, job_handle=job.handle, data=encoded)

    # --- from the server ----------------------------------------------------------------------------------------------

    def _grab_job(self) -> None:
        self.send_command(GEARMAN_COMMAND_GRAB_JOB_UNIQ)

    def _sleep(self) -> None:
        self.send_command(GEARMAN_COMMAND_PRE_SLEEP)

    def _check_job_lock(self) -> bool:
        return bool(self.connection_manager.check_job_lock(self))

    def _acquire_job_lock(self) -> bool:
        return bool(self.connection_manager.set_job_lock(self, lock=True))

    def _release_job_lock(self) -> bool:
        if not self.connection_manager.set_job_lock(self, lock=False):
            raise InvalidWorkerState(f"Unable to release job lock for {self!r}")
        return True

    def recv_noop(self) -> bool:
        """There may be a job: asks for it, unless it did already or another connection is busy."""
        if not self._check_job_lock():
            if self._acquire_job_lock():
                self._grab_job()
            else:
                self._sleep()
        return True

    def recv_no_job(self) -> bool:
        self._release_job_lock()
        self._sleep()
        return True

    def recv_job_assign_uniq(self, job_handle: Any, task: Any, unique: Any, data: Any) -> bool:
        """Runs the job, then goes to sleep."""
        name = self._ability(task)
        if not self._check_job_lock():
            raise InvalidWorkerState("Received a job when we weren't expecting one")
        manager = self.connection_manager
        try:
            decoded = self.decode_data(data)
        except Exception:  # noqa: BLE001  (whatever an encoder raises; the job would come back for ever)
            manager.on_job_exception(manager.create_job(self, job_handle, name, unique, data), sys.exc_info())
        else:
            manager.on_job_execute(manager.create_job(self, job_handle, name, unique, decoded))
        self._release_job_lock()
        self._sleep()
        return True

    def recv_job_assign(self, job_handle: Any, task: Any, data: Any) -> bool:
        """A job without its unique, which is None."""
        return self.recv_job_assign_uniq(job_handle=job_handle, task=task, unique=None, data=data)

    def _ability(self, task: Any) -> Any:
        """The task as it was registered, in bytes or in str."""
        if task in self._handler_abilities:
            return task
        other = (
            task.decode("utf-8", "surrogateescape")
            if isinstance(task, bytes)
            else str(task).encode("utf-8", "surrogateescape")
        )
        assert other in self._handler_abilities, f"{task!r} not found in {self._handler_abilities!r}"
        return other
