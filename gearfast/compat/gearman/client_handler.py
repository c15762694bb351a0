# SPDX-License-Identifier: BSD-3-Clause
"""A client's side of one connection: which request an answer is for, and what it changes."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ._flavour import FLAVOUR
from .command_handler import GearmanCommandHandler
from .constants import JOB_COMPLETE, JOB_CREATED, JOB_FAILED, JOB_PENDING, JOB_UNKNOWN
from .errors import InvalidClientState
from .job import GearmanJobRequest
from .protocol import GEARMAN_COMMAND_GET_STATUS, submit_cmd_for_background_priority

if TYPE_CHECKING:
    from .connection_manager import GearmanConnectionManager

gearman_logger = logging.getLogger(f"{FLAVOUR.package}.client_handler")


class GearmanClientCommandHandler(GearmanCommandHandler):
    """Requests that wait for a handle, in the order in which they were sent, and those that have one."""

    def __init__(self, connection_manager: GearmanConnectionManager | None = None) -> None:
        super().__init__(connection_manager=connection_manager)
        self.requests_awaiting_handles: deque[Any] = deque()
        self.handle_to_request_map: WeakValueDictionary[Any, Any] = WeakValueDictionary()
        # Requests of one job (the same unique): the server sends each packet as often as there are requests.
        self._sharers: dict[Any, deque[Any]] = {}
        self._awaiting_status: dict[Any, deque[Any]] = {}

    # --- for the client -----------------------------------------------------------------------------------------------

    def send_job_request(self, current_request: GearmanJobRequest) -> None:
        """Submits a job. Raises InvalidClientState if it is on its way already, KeyError for an unknown priority."""
        self._assert_request_state(current_request, JOB_UNKNOWN)
        job = current_request.job
        command = submit_cmd_for_background_priority(current_request.background, current_request.priority)
        self.send_command(command, task=job.task, unique=job.unique, data=self.encode_data(job.data))
        current_request.state = JOB_PENDING
        self.requests_awaiting_handles.append(current_request)

    def send_get_status_of_job(self, current_request: GearmanJobRequest) -> None:
        """Asks for the status of a job that has a handle."""
        handle = current_request.job.handle
        self._awaiting_status.setdefault(handle, deque()).append(current_request)
        if handle not in self.handle_to_request_map:
            self.handle_to_request_map[handle] = current_request
        self.send_command(GEARMAN_COMMAND_GET_STATUS, job_handle=handle)

    def on_io_error(self) -> None:
        """What was not ended is unknown again."""
        sharers = (request for requests in self._sharers.values() for request in requests)
        for request in (*self.requests_awaiting_handles, *self.handle_to_request_map.values(), *sharers):
            if request.state in (JOB_PENDING, JOB_CREATED):
                request.state = JOB_UNKNOWN

    def _register_request(self, current_request: GearmanJobRequest) -> None:
        handle = current_request.job.handle
        known = self.handle_to_request_map.get(handle)
        if known is None or known is current_request or not _waits(known):
            self.handle_to_request_map[handle] = current_request
        elif _waits(current_request):
            self._sharers.setdefault(handle, deque([known])).append(current_request)

    def _request_of(self, handle: Any, expected_state: str = JOB_CREATED) -> Any:
        """The request that a packet is for, or None."""
        sharers = self._sharers.get(handle)
        if sharers:
            request = sharers[0]
            sharers.rotate(-1)
        else:
            request = self.handle_to_request_map.get(handle)
        if request is None:
            gearman_logger.warning("Received a packet for the unknown job %r", handle)
        else:
            self._assert_request_state(request, expected_state)
        return request

    def _end(self, request: Any, state: str) -> None:
        request.state = state
        sharers = self._sharers.get(request.job.handle)
        if sharers and request in sharers:
            sharers.remove(request)
            if not sharers:
                del self._sharers[request.job.handle]

    # --- from the server ----------------------------------------------------------------------------------------------

    def _assert_request_state(self, current_request: Any, expected_state: str) -> None:
        if current_request.state != expected_state:
            raise InvalidClientState(
                f"Expected handle ({current_request.job.handle}) to be in state {expected_state!r}, "
                f"got {current_request.state!r}"
            )

    def recv_error(self, error_code: Any, error_text: Any) -> Any:
        """Only submissions are refused, and answers keep their order: this one failed."""
        if self.requests_awaiting_handles:
            self.requests_awaiting_handles.popleft().state = JOB_FAILED
        return super().recv_error(error_code, error_text)

    def recv_job_created(self, job_handle: Any) -> bool:
        if not self.requests_awaiting_handles:
            raise InvalidClientState("Received a job_handle with no pending requests")
        request = self.requests_awaiting_handles.popleft()
        self._assert_request_state(request, JOB_PENDING)
        request.job.handle = job_handle
        request.state = JOB_CREATED
        self._register_request(request)
        return True

    def recv_work_data(self, job_handle: Any, data: Any) -> bool:
        request = self._request_of(job_handle)
        if request is not None:
            request.data_updates.append(self.decode_data(data))
        return True

    def recv_work_warning(self, job_handle: Any, data: Any) -> bool:
        request = self._request_of(job_handle)
        if request is not None:
            request.warning_updates.append(self.decode_data(data))
        return True

    def recv_work_status(self, job_handle: Any, numerator: Any, denominator: Any) -> bool:
        request = self._request_of(job_handle)
        if request is not None:
            request.status = _status(job_handle, True, True, numerator, denominator)
        return True

    def recv_work_complete(self, job_handle: Any, data: Any) -> bool:
        request = self._request_of(job_handle)
        if request is not None:
            request.result = self.decode_data(data)
            self._end(request, JOB_COMPLETE)
        return True

    def recv_work_fail(self, job_handle: Any) -> bool:
        # gearmand puts a NUL behind the handle when it turns an exception into a failure.
        request = self._request_of(job_handle.rstrip(b"\0" if isinstance(job_handle, bytes) else "\0"))
        if request is not None:
            self._end(request, JOB_FAILED)
        return True

    def recv_work_exception(self, job_handle: Any, data: Any) -> bool:
        request = self._request_of(job_handle)
        if request is not None:
            request.exception = self.decode_data(data)
        return True

    def recv_status_res(self, job_handle: Any, known: Any, running: Any, numerator: Any, denominator: Any) -> bool:
        waiting = self._awaiting_status.get(job_handle)
        request = waiting.popleft() if waiting else self.handle_to_request_map.get(job_handle)
        if waiting is not None and not waiting:
            del self._awaiting_status[job_handle]
        if request is None:
            gearman_logger.warning("Received the status of the unknown job %r", job_handle)
        else:
            request.status = _status(job_handle, known in (b"1", "1"), running in (b"1", "1"), numerator, denominator)
        return True


def _waits(request: Any) -> bool:
    """Whether the server still has packets for this request."""
    return bool(not request.background and request.state == JOB_CREATED)


def _number(text: Any) -> int:
    """A numerator or denominator; workers may send any text, which counts for what gearmand makes of it."""
    try:
        return int(text)
    except ValueError:
        try:
            return int(float(text))
        except (ValueError, OverflowError):
            return 0


def _status(handle: Any, known: bool, running: bool, numerator: Any, denominator: Any) -> dict[str, Any]:
    return {
        "handle": handle,
        "known": known,
        "running": running,
        "numerator": _number(numerator),
        "denominator": _number(denominator),
        "time_received": time.time(),
    }
