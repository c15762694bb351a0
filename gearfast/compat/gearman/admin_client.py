# SPDX-License-Identifier: BSD-3-Clause
"""The admin client: asks one server about its functions, workers and jobs."""

from __future__ import annotations

import logging
import time
from typing import Any, Final

from ._flavour import FLAVOUR
from .admin_client_handler import GearmanAdminClientCommandHandler
from .connection_manager import GearmanConnectionManager
from .errors import ConnectionError, GearmanError, InvalidAdminClientState, ServerUnavailable
from .protocol import (
    GEARMAN_COMMAND_ECHO_REQ,
    GEARMAN_SERVER_COMMAND_CANCEL_JOB,
    GEARMAN_SERVER_COMMAND_GETPID,
    GEARMAN_SERVER_COMMAND_MAXQUEUE,
    GEARMAN_SERVER_COMMAND_SHOW_JOBS,
    GEARMAN_SERVER_COMMAND_SHOW_UNIQUE_JOBS,
    GEARMAN_SERVER_COMMAND_SHUTDOWN,
    GEARMAN_SERVER_COMMAND_STATUS,
    GEARMAN_SERVER_COMMAND_VERSION,
    GEARMAN_SERVER_COMMAND_WORKERS,
)
from .util import unlist

__all__ = [
    "DEFAULT_ADMIN_CLIENT_TIMEOUT",
    "ECHO_STRING",
    "ConnectionError",
    "GearmanAdminClient",
    "GearmanError",
    "InvalidAdminClientState",
    "ServerUnavailable",
    "gearman_logger",
]

gearman_logger = logging.getLogger(f"{FLAVOUR.package}.admin_client")

ECHO_STRING: Final = "ping? pong!"
DEFAULT_ADMIN_CLIENT_TIMEOUT: Final = 10.0


class GearmanAdminClient(GearmanConnectionManager):
    """Each call waits for its reply, up to `poll_timeout` seconds, and connects again if that is needed.

    All calls raise ServerUnavailable if there is no connection, InvalidAdminClientState if there is no reply in time,
    ProtocolError for a reply that is not one. Raises GearmanError for more than one host.
    """

    command_handler_class: Any = GearmanAdminClientCommandHandler

    def __init__(self, host_list: Any = None, poll_timeout: float | None = DEFAULT_ADMIN_CLIENT_TIMEOUT) -> None:
        super().__init__(host_list=host_list)
        self.poll_timeout = poll_timeout
        try:
            self.current_connection = unlist(self.connection_list)
        except ValueError:
            raise GearmanError(f"Only pass a single host to the constructor of {type(self).__name__}") from None
        self.current_handler: Any = None

    def establish_admin_connection(self) -> None:
        """Connects if that is needed."""
        try:
            self.establish_connection(self.current_connection)
        except ConnectionError as error:
            raise ServerUnavailable(f"Found no valid connections in list: {self.connection_list!r}") from error
        self.current_handler = self.connection_to_handler_map[self.current_connection]

    def ping_server(self) -> float:
        """Seconds that an echo takes."""
        start = time.perf_counter()
        self.establish_admin_connection()
        self.current_handler.send_echo_request(ECHO_STRING)
        echo = self.wait_until_server_responds(GEARMAN_COMMAND_ECHO_REQ)
        if echo != ECHO_STRING:
            raise InvalidAdminClientState(f"Echo string mismatch: got {echo}, expected {ECHO_STRING}")
        return time.perf_counter() - start

    def send_maxqueue(self, task: Any, max_size: int) -> str:
        """Limits the queue of a task; 0 for no limit. 'OK'."""
        return str(self._ask(GEARMAN_SERVER_COMMAND_MAXQUEUE, f"{_text(task)} {max_size}"))

    def send_shutdown(self, graceful: bool = True) -> None:
        """Asks the server to end, after its running jobs if `graceful`."""
        self._ask(GEARMAN_SERVER_COMMAND_SHUTDOWN, "graceful" if graceful else "")

    def get_status(self) -> tuple[dict[str, Any], ...]:
        """A dict of task, queued (running ones included), running and workers for each task."""
        return tuple(self._ask(GEARMAN_SERVER_COMMAND_STATUS))

    def get_version(self) -> str:
        """'OK ' and the server's version."""
        return str(self._ask(GEARMAN_SERVER_COMMAND_VERSION))

    def get_workers(self) -> tuple[dict[str, Any], ...]:
        """A dict of file_descriptor (str), ip, client_id and tasks (tuple) for each connection."""
        return tuple(self._ask(GEARMAN_SERVER_COMMAND_WORKERS))

    def get_pid(self) -> str:
        """'OK ' and the server's process id."""
        return str(self._ask(GEARMAN_SERVER_COMMAND_GETPID))

    def cancel_job(self, handle: Any) -> str:
        """'OK', or 'ERR UNKNOWN_JOB'."""
        return str(self._ask(GEARMAN_SERVER_COMMAND_CANCEL_JOB, _text(handle)))

    def get_jobs(self) -> tuple[dict[str, Any], ...]:
        """A dict of handle, queued, canceled and enabled (the numbers as sent) for each job."""
        return tuple(self._ask(GEARMAN_SERVER_COMMAND_SHOW_JOBS))

    def get_unique_jobs(self) -> tuple[dict[str, Any], ...]:
        """A dict of unique (a list of one) for each job."""
        return tuple(self._ask(GEARMAN_SERVER_COMMAND_SHOW_UNIQUE_JOBS))

    def _ask(self, command: str, arguments: str = "") -> Any:
        if "\n" in arguments or "\r" in arguments:
            raise GearmanError(f"A line break would begin another command: {arguments!r}")
        self.establish_admin_connection()
        self.current_handler.send_text_command(f"{command} {arguments}".rstrip(" "))
        return self.wait_until_server_responds(command)

    def wait_until_server_responds(self, expected_type: Any) -> Any:
        """Waits for the reply to the command that was sent."""
        handler = self.current_handler

        def unanswered(any_activity: bool) -> bool:
            return not handler.response_ready

        self.poll_connections_until_stopped([self.current_connection], unanswered, timeout=self.poll_timeout)
        if not handler.response_ready:
            self.handle_error(self.current_connection)  # or the next command would get this one's reply
            raise InvalidAdminClientState(f"Admin client timed out after {self.poll_timeout:f} second(s)")
        command, response = handler.pop_response()
        if command != expected_type:
            raise InvalidAdminClientState(
                f"Received an unexpected response... got command {command!r}, expecting command {expected_type!r}"
            )
        return response


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
