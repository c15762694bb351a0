# SPDX-License-Identifier: BSD-3-Clause
"""The admin client's side of its connection: which command a line answers, and what it means."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from ._flavour import FLAVOUR
from .command_handler import GearmanCommandHandler
from .errors import InvalidAdminClientState, ProtocolError
from .protocol import (
    GEARMAN_COMMAND_ECHO_REQ,
    GEARMAN_COMMAND_TEXT_COMMAND,
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

if TYPE_CHECKING:
    from .connection_manager import GearmanConnectionManager

gearman_logger = logging.getLogger(f"{FLAVOUR.package}.admin_client_handler")

EXPECTED_GEARMAN_SERVER_COMMANDS: Final = {
    GEARMAN_SERVER_COMMAND_STATUS,
    GEARMAN_SERVER_COMMAND_VERSION,
    GEARMAN_SERVER_COMMAND_WORKERS,
    GEARMAN_SERVER_COMMAND_MAXQUEUE,
    GEARMAN_SERVER_COMMAND_SHUTDOWN,
    GEARMAN_SERVER_COMMAND_GETPID,
    GEARMAN_SERVER_COMMAND_SHOW_JOBS,
    GEARMAN_SERVER_COMMAND_SHOW_UNIQUE_JOBS,
    GEARMAN_SERVER_COMMAND_CANCEL_JOB,
}


class GearmanAdminClientCommandHandler(GearmanCommandHandler):
    """Commands that were sent, in order, and the replies that are complete. Replies are str in every flavour."""

    STATUS_FIELDS = 4
    WORKERS_FIELDS = 4
    JOB_FIELDS = 4
    UNIQUE_JOB_FIELDS = 1

    def __init__(self, connection_manager: GearmanConnectionManager | None = None) -> None:
        super().__init__(connection_manager=connection_manager)
        self._sent_commands: deque[Any] = deque()
        self._recv_responses: deque[Any] = deque()
        self._status_response: list[Any] = []
        self._workers_response: list[Any] = []

    @property
    def response_ready(self) -> bool:
        """Whether a reply is complete."""
        return bool(self._recv_responses)

    def pop_response(self) -> tuple[Any, Any]:
        """The oldest reply as (command, reply). Raises InvalidAdminClientState if there is none."""
        if not self._sent_commands or not self._recv_responses:
            raise InvalidAdminClientState("Attempted to pop a response for a command that is not ready")
        return self._sent_commands.popleft(), self._recv_responses.popleft()

    def send_text_command(self, command_line: str) -> None:
        """Sends a line. Raises ProtocolError if its command is not one of those known here."""
        command = next(filter(command_line.startswith, EXPECTED_GEARMAN_SERVER_COMMANDS), None)
        if command is None:
            raise ProtocolError(f"Attempted to send an unknown server command: {command_line!r}")
        self._sent_commands.append(command)
        self.send_command(GEARMAN_COMMAND_TEXT_COMMAND, raw_text=f"{command_line}\n")

    def send_echo_request(self, echo_string: Any) -> None:
        """Asks the server to send this back."""
        self._sent_commands.append(GEARMAN_COMMAND_ECHO_REQ)
        self.send_command(GEARMAN_COMMAND_ECHO_REQ, data=echo_string)

    # --- from the server ----------------------------------------------------------------------------------------------

    def recv_echo_res(self, data: Any) -> bool:
        self._recv_responses.append(_as_str(data))
        return False

    def recv_text_command(self, raw_text: Any) -> Any:
        """Calls `recv_server_COMMAND` for the oldest command without a reply."""
        line = _as_str(raw_text)
        if not self._sent_commands:
            raise InvalidAdminClientState("Received an unexpected server response")
        command = str(self._sent_commands[0]).replace(" ", "_")
        method = getattr(self, f"recv_server_{command}", None)
        if method is None:
            text = f"Could not handle command: {command!r} - {line!r}"
            gearman_logger.error(text)
            raise ValueError(text)
        return method(line)

    def recv_server_status(self, raw_text: str) -> bool:
        if raw_text == ".":
            return self._end_of_list()
        task, queued, running, workers = _split(raw_text, self.STATUS_FIELDS)
        counts = {"queued": _int(queued), "running": _int(running), "workers": _int(workers)}
        self._status_response.append({"task": task, **counts})
        return True

    def recv_server_workers(self, raw_text: str) -> bool:
        if raw_text == ".":
            self._recv_responses.append(tuple(self._workers_response))
            self._workers_response = []
            return False
        tokens = raw_text.split(" ")
        if len(tokens) < self.WORKERS_FIELDS:
            raise ProtocolError(f"Received {len(tokens)} tokens, expected >= 4 tokens: {tokens!r}")
        if ":" not in tokens[3:]:
            raise ProtocolError(f"Malformed worker response: {tokens!r}")
        colon = tokens.index(":", 3)  # a client's id may have spaces
        worker = {"file_descriptor": tokens[0], "ip": tokens[1], "client_id": " ".join(tokens[2:colon])}
        self._workers_response.append({**worker, "tasks": tuple(tokens[colon + 1 :])})
        return True

    def recv_server_show_jobs(self, raw_text: str) -> bool:
        if raw_text == ".":
            return self._end_of_list()
        handle, *numbers = _split(raw_text, self.JOB_FIELDS)
        queued, canceled, enabled = map(_int, numbers)
        self._status_response.append({"handle": handle, "queued": queued, "canceled": canceled, "enabled": enabled})
        return True

    def recv_server_show_unique_jobs(self, raw_text: str) -> bool:
        if raw_text == ".":
            return self._end_of_list()
        self._status_response.append({"unique": _split(raw_text, self.UNIQUE_JOB_FIELDS)})
        return True

    def _end_of_list(self) -> bool:
        self._recv_responses.append(tuple(self._status_response))
        self._status_response = []
        return False

    def recv_server_maxqueue(self, raw_text: str) -> bool:
        if raw_text != "OK":
            raise ProtocolError(f"Expected 'OK', received: {raw_text}")
        return self._pass_on(raw_text)

    def recv_server_shutdown(self, raw_text: str) -> bool:
        return self._pass_on(None)

    def recv_server_version(self, raw_text: str) -> bool:
        return self._pass_on(raw_text)

    def recv_server_getpid(self, raw_text: str) -> bool:
        return self._pass_on(raw_text)

    def recv_server_cancel_job(self, raw_text: str) -> bool:
        return self._pass_on(raw_text)

    def _pass_on(self, reply: str | None) -> bool:
        self._recv_responses.append(reply)
        return False


def _as_str(text: Any) -> Any:
    return text.decode("utf-8", "surrogateescape").replace("\r", "") if isinstance(text, bytes) else text


def _split(line: str, fields: int) -> list[str]:
    tokens = line.split("\t")
    if len(tokens) != fields:
        raise ProtocolError(f"Received {len(tokens)} tokens, expected {fields} tokens: {tokens!r}")
    return tokens


def _int(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ProtocolError(f"Expected a number, received: {text!r}") from error
