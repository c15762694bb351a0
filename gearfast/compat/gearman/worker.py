# SPDX-License-Identifier: BSD-3-Clause
"""The worker: takes jobs from all its servers, one at a time, and runs the callbacks of their tasks."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Callable, Collection
from typing import Any, Final

from ._flavour import FLAVOUR
from .connection_manager import GearmanConnectionManager
from .errors import ConnectionError, ServerUnavailable
from .job import GearmanJob
from .worker_handler import GearmanWorkerCommandHandler

gearman_logger = logging.getLogger(f"{FLAVOUR.package}.worker")

POLL_TIMEOUT_IN_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 1.0
"""How soon a server that is lost is tried again while others are there; each further time takes twice as long."""
_LOOK_SECONDS: Final = 5.0
"""How often a worker of several servers looks whether all of them are still there."""


class GearmanWorker(GearmanConnectionManager):
    """Runs `callback(worker, job)` for each job of the tasks that are registered; what it returns is the result."""

    command_handler_class: Any = GearmanWorkerCommandHandler

    def __init__(self, host_list: Any = None) -> None:
        super().__init__(host_list=host_list)
        self.randomized_connections: list[Any] | None = None
        self.worker_abilities: dict[Any, Any] = {}
        self.worker_client_id: Any = None
        self.command_handler_holding_job_lock: Any = None
        self._unsendable: BaseException | None = None
        self._update_initial_state()

    def _update_initial_state(self) -> None:
        self.handler_initial_state["abilities"] = self.worker_abilities.keys()
        self.handler_initial_state["client_id"] = self.worker_client_id

    # --- what it can do -----------------------------------------------------------------------------------------------

    def register_task(self, task: Any, callback_function: Callable[[Any, Any], Any]) -> Any:
        """Takes on a task, under its name in bytes or str; returns the name. Works on live connections too."""
        self.worker_abilities[task] = callback_function
        self._send_abilities()
        for handler in list(self.handler_to_connection_map):
            if not self.check_job_lock(handler):
                handler._sleep()  # again: gearmand does not tell a sleeper about jobs that wait for what it can do now
        return task

    def unregister_task(self, task: Any) -> Any:
        """Takes a task back; returns its name."""
        self.worker_abilities.pop(task, None)
        self._send_abilities()
        return task

    def _send_abilities(self) -> None:
        self._update_initial_state()
        for handler in list(self.handler_to_connection_map):
            handler.set_abilities(self.handler_initial_state["abilities"])

    def set_client_id(self, client_id: Any) -> Any:
        """Names this worker in the servers' lists of workers; returns the name."""
        self.worker_client_id = client_id
        self._update_initial_state()
        for handler in list(self.handler_to_connection_map):
            handler.set_client_id(client_id)
        return client_id

    # --- the loop -----------------------------------------------------------------------------------------------------

    def work(self, poll_timeout: float | None = POLL_TIMEOUT_IN_SECONDS) -> None:
        """Runs jobs until `after_poll` or `after_job` returns something false; then closes its connections.

        Raises ServerUnavailable when the last server is lost. What leaves it otherwise, as SystemExit from a callback,
        gives the job back to its server.
        """
        going = True
        connections: list[Any] = []
        pause = _RETRY_SECONDS
        try:
            while going:
                connections = self.establish_worker_connections()
                missing = len(connections) < len(self.connection_list)
                limit = poll_timeout
                if len(self.connection_list) > 1:
                    limit = min(pause if missing else _LOOK_SECONDS, limit or _LOOK_SECONDS)
                    pause = pause * 2 if missing else _RETRY_SECONDS
                going = self.poll_connections_until_stopped(connections, self._keep_working(), timeout=limit)
        except BaseException:
            self._give_back_job()
            raise
        for connection in connections:
            connection.close()

    def _keep_working(self) -> Callable[[bool], Any]:
        busy = False

        def keep_working(any_activity: bool) -> Any:
            nonlocal busy
            was_busy, busy = busy, self.has_job_lock()
            if was_busy and not busy:
                return self.after_poll(any_activity) and self.after_job()
            return self.after_poll(any_activity)

        return keep_working

    def _give_back_job(self) -> None:
        """Closes the connection whose job was not ended: the server queues the job again."""
        connection = self.handler_to_connection_map.get(self.command_handler_holding_job_lock)
        if connection is not None:
            self.handle_error(connection)

    def shutdown(self) -> None:
        """Closes all connections. In a callback the job goes back to its server and `work` raises ServerUnavailable."""
        self.command_handler_holding_job_lock = None
        super().shutdown()

    def establish_worker_connections(self) -> list[Any]:
        """Connects to all servers that can be reached; returns these connections, in random order."""
        self.randomized_connections = list(self.connection_list)
        random.shuffle(self.randomized_connections)
        connections = []
        for connection in self.randomized_connections:
            try:
                connections.append(self.establish_connection(connection))
            except ConnectionError:
                continue
        return connections

    def after_poll(self, any_activity: bool) -> Any:
        """Override it: called at first and after each activity, at least every `poll_timeout`; false ends `work`."""
        return True

    def after_job(self) -> Any:
        """Override it: called after each job, and when the server had none after all; false ends `work`."""
        return True

    def handle_error(self, current_connection: Any) -> None:
        """Gives a connection up, with the job that it may have."""
        handler = self.connection_to_handler_map.get(current_connection)
        if handler is not None:
            self.set_job_lock(handler, lock=False)
        super().handle_error(current_connection)

    # --- what callbacks send ------------------------------------------------------------------------------------------

    def _get_handler_for_job(self, current_job: GearmanJob) -> Any:
        handler = self.connection_to_handler_map.get(current_job.connection)
        if handler is None:
            raise ServerUnavailable(f"The connection of this job is lost: {current_job.connection!r}")
        return handler

    def wait_until_updates_sent(
        self, multiple_gearman_jobs: Collection[GearmanJob], poll_timeout: float | None = None
    ) -> None:
        """Waits until all that these jobs sent is with the kernel. Raises ServerUnavailable."""
        connections = {job.connection for job in multiple_gearman_jobs}

        def unsent(any_activity: bool) -> bool:
            return any(connection.writable() for connection in connections)

        self.poll_connections_until_stopped(connections, unsent, timeout=poll_timeout)

    def send_job_status(
        self, current_job: GearmanJob, numerator: float, denominator: float, poll_timeout: float | None = None
    ) -> None:
        """Progress, as int or float. Raises ServerUnavailable, AssertionError for other numbers."""
        self._get_handler_for_job(current_job).send_job_status(
            current_job, numerator=numerator, denominator=denominator
        )
        self.wait_until_updates_sent([current_job], poll_timeout=poll_timeout)

    def send_job_complete(self, current_job: GearmanJob, data: Any, poll_timeout: float | None = None) -> None:
        """Ends a job with its result. Raises ServerUnavailable, and what the encoder raises."""
        handler = self._get_handler_for_job(current_job)
        try:
            handler.send_job_complete(current_job, data=data)
        except Exception as error:
            self._unsendable = error
            raise
        self.wait_until_updates_sent([current_job], poll_timeout=poll_timeout)

    def send_job_failure(self, current_job: GearmanJob, poll_timeout: float | None = None) -> None:
        """Ends a job as failed. Raises ServerUnavailable."""
        self._get_handler_for_job(current_job).send_job_failure(current_job)
        self.wait_until_updates_sent([current_job], poll_timeout=poll_timeout)

    def send_job_exception(self, current_job: GearmanJob, data: Any, poll_timeout: float | None = None) -> None:
        """Ends a job with an exception, and as failed for clients that do not get those. Raises as the others."""
        handler = self._get_handler_for_job(current_job)
        handler.send_job_exception(current_job, data=data)
        handler.send_job_failure(current_job)
        self.wait_until_updates_sent([current_job], poll_timeout=poll_timeout)

    def send_job_data(self, current_job: GearmanJob, data: Any, poll_timeout: float | None = None) -> None:
        """A part of the result. Raises ServerUnavailable, and what the encoder raises."""
        self._get_handler_for_job(current_job).send_job_data(current_job, data=data)
        self.wait_until_updates_sent([current_job], poll_timeout=poll_timeout)

    def send_job_warning(self, current_job: GearmanJob, data: Any, poll_timeout: float | None = None) -> None:
        """A warning. Raises ServerUnavailable, and what the encoder raises."""
        self._get_handler_for_job(current_job).send_job_warning(current_job, data=data)
        self.wait_until_updates_sent([current_job], poll_timeout=poll_timeout)

    # --- what handlers call -------------------------------------------------------------------------------------------

    def create_job(self, command_handler: Any, job_handle: Any, task: Any, unique: Any, data: Any) -> Any:
        """The object that callbacks get."""
        return self.job_class(self.handler_to_connection_map[command_handler], job_handle, task, unique, data)

    def on_job_execute(self, current_job: Any) -> Any:
        """Runs the callback, then `on_job_complete` or `on_job_exception`."""
        try:
            result = self.worker_abilities[current_job.task](self, current_job)
        except Exception:  # noqa: BLE001  (whatever a callback raises)
            return self.on_job_exception(current_job, sys.exc_info())
        try:
            return self.on_job_complete(current_job, result)
        except Exception as error:
            unsendable, self._unsendable = self._unsendable, None
            if error is not unsendable:
                raise
            return self.on_job_exception(current_job, sys.exc_info())

    def on_job_exception(self, current_job: Any, exc_info: Any) -> Any:
        """The callback raised, or what it returned cannot be sent: the job has failed."""
        self.send_job_failure(current_job)
        return False

    def on_job_complete(self, current_job: Any, job_result: Any) -> Any:
        """The callback returned: the job is done."""
        self.send_job_complete(current_job, job_result)
        return True

    def set_job_lock(self, command_handler: Any, lock: bool) -> bool:
        """Takes or frees the lock that keeps this worker from having two jobs; false if that cannot be."""
        if command_handler not in self.handler_to_connection_map:
            return False
        holder = self.command_handler_holding_job_lock
        if lock:
            if holder is not None:
                return False
            self.command_handler_holding_job_lock = command_handler
            return True
        if holder is not command_handler:
            return False
        self.command_handler_holding_job_lock = None
        return True

    def has_job_lock(self) -> bool:
        """Whether one of the handlers has a job, or asked for one."""
        return self.command_handler_holding_job_lock is not None

    def check_job_lock(self, command_handler: Any) -> bool:
        """Whether this handler has a job, or asked for one."""
        return bool(self.command_handler_holding_job_lock is command_handler)
