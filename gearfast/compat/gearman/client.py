# SPDX-License-Identifier: BSD-3-Clause
"""The client: submits jobs and waits for what becomes of them."""

from __future__ import annotations

import logging
import os
import random
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from ._flavour import FLAVOUR
from .client_handler import GearmanClientCommandHandler
from .connection_manager import GearmanConnectionManager
from .constants import JOB_FAILED, JOB_PENDING, JOB_UNKNOWN, PRIORITY_HIGH, PRIORITY_LOW, PRIORITY_NONE
from .errors import ConnectionError, ExceededConnectionAttempts, ServerUnavailable
from .job import GearmanJobRequest
from .util import Stopwatch, unlist

__all__ = [
    "JOB_PENDING",
    "JOB_UNKNOWN",
    "PRIORITY_HIGH",
    "PRIORITY_LOW",
    "PRIORITY_NONE",
    "RANDOM_UNIQUE_BYTES",
    "GearmanClient",
    "gearman_logger",
]

gearman_logger = logging.getLogger(f"{FLAVOUR.package}.client")

RANDOM_UNIQUE_BYTES: Final = 16

Requests = TypeVar("Requests", bound=Collection[Any])


class GearmanClient(GearmanConnectionManager):
    """Submits jobs. Waits never raise when their time is over: look at `state` and `timed_out` of the requests.

    `random_unique_bytes`: random bytes in the unique of a job that was given none.
    """

    command_handler_class: Any = GearmanClientCommandHandler

    def __init__(self, host_list: Any = None, random_unique_bytes: int = RANDOM_UNIQUE_BYTES) -> None:
        super().__init__(host_list=host_list)
        self.random_unique_bytes = random_unique_bytes
        self.request_to_rotating_connection_queue: WeakKeyDictionary[Any, deque[Any]] = WeakKeyDictionary()

    # --- submitting ---------------------------------------------------------------------------------------------------

    def submit_job(
        self,
        task: Any,
        data: Any,
        unique: Any = None,
        priority: str | None = PRIORITY_NONE,
        background: bool = FLAVOUR.background,
        wait_until_complete: bool = True,
        max_retries: int = 0,
        poll_timeout: float | None = None,
    ) -> GearmanJobRequest:
        """Submits one job; returns its request, ended unless `wait_until_complete` is false or time was over.

        `poll_timeout`: seconds for the whole call, None for no end. Raises ServerUnavailable if no server can be
        reached, or the last one is lost; ExceededConnectionAttempts if the connection was lost before the server had
        the job, `max_retries` + 1 times; KeyError for an unknown priority.
        """
        job = {"task": task, "data": data, "unique": unique, "priority": priority}
        requests = self.submit_multiple_jobs(
            [job],
            background=background,
            wait_until_complete=wait_until_complete,
            max_retries=max_retries,
            poll_timeout=poll_timeout,
        )
        return unlist(requests)  # type: ignore[return-value]  # there is one

    def submit_multiple_jobs(
        self,
        jobs_to_submit: Collection[dict[str, Any]],
        background: bool = FLAVOUR.background,
        wait_until_complete: bool = True,
        max_retries: int = 0,
        poll_timeout: float | None = None,
    ) -> list[GearmanJobRequest]:
        """The same for many: dicts of `task`, `data` and, if wanted, `unique` and `priority`. In their order."""
        assert type(jobs_to_submit) in (list, tuple, set), "Expected multiple jobs, received 1?"
        requests = [
            self._create_request_from_dictionary(job, background=background, max_retries=max_retries)
            for job in jobs_to_submit
        ]
        return self.submit_multiple_requests(
            requests, wait_until_complete=wait_until_complete, poll_timeout=poll_timeout
        )

    def submit_multiple_requests(
        self, job_requests: Requests, wait_until_complete: bool = True, poll_timeout: float | None = None
    ) -> Requests:
        """The same for requests; those that are JOB_UNKNOWN are sent. Returns its argument."""
        _check(job_requests)
        stopwatch = Stopwatch(poll_timeout)
        requests = self.wait_until_jobs_accepted(job_requests, poll_timeout=stopwatch.get_time_remaining())
        if wait_until_complete:
            requests = self.wait_until_jobs_completed(requests, poll_timeout=stopwatch.get_time_remaining())
        return requests

    def _create_request_from_dictionary(
        self, job_info: dict[str, Any], background: bool = FLAVOUR.background, max_retries: int = 0
    ) -> GearmanJobRequest:
        unique = job_info.get("unique")
        if FLAVOUR.dash_is_data and unique in ("-", b"-"):
            unique = job_info["data"]
        elif not unique:
            unique = os.urandom(self.random_unique_bytes).hex()
        job = self.job_class(connection=None, handle=None, task=job_info["task"], unique=unique, data=job_info["data"])
        request: GearmanJobRequest = self.job_request_class(
            job,
            initial_priority=job_info.get("priority", PRIORITY_NONE),
            background=background,
            max_attempts=max_retries + 1,
        )
        return request

    def establish_request_connection(self, current_request: Any) -> Any:
        """A live connection for a request: the servers in random order, from the one used before. ServerUnavailable."""
        queue = self.request_to_rotating_connection_queue.get(current_request)
        if not queue:
            queue = deque(self.connection_list)
            if len(queue) > 1:
                random.shuffle(queue)
            self.request_to_rotating_connection_queue[current_request] = queue
        for failed, connection in enumerate(queue):
            try:
                chosen = self.establish_connection(connection)
            except ConnectionError:
                continue
            queue.rotate(-failed)
            return chosen
        raise ServerUnavailable(f"Found no valid connections: {self.connection_list!r}")

    def send_job_request(self, current_request: Any) -> Any:
        """Hands a request to the connection that is chosen for it. Raises as `submit_job`."""
        if current_request.connection_attempts >= current_request.max_connection_attempts:
            raise ExceededConnectionAttempts(
                f"Exceeded {current_request.max_connection_attempts} connection attempt(s) :: {current_request!r}"
            )
        connection = self.establish_request_connection(current_request)
        current_request.job.connection = connection
        current_request.connection_attempts += 1
        current_request.timed_out = False
        self.connection_to_handler_map[connection].send_job_request(current_request)
        return current_request

    # --- waiting ------------------------------------------------------------------------------------------------------

    def wait_until_jobs_accepted(self, job_requests: Requests, poll_timeout: float | None = None) -> Requests:
        """Sends the requests that are JOB_UNKNOWN and waits until the server has given all of them handles."""
        _check(job_requests)

        def unsettled(request: Any) -> bool:
            if request.state == JOB_UNKNOWN:
                self.send_job_request(request)
            return bool(request.state == JOB_PENDING)

        self._poll_while(job_requests, unsettled, poll_timeout)
        for request in job_requests:
            request.timed_out = request.state == JOB_PENDING
        return job_requests

    def wait_until_jobs_completed(self, job_requests: Requests, poll_timeout: float | None = None) -> Requests:
        """Waits until all requests have ended; one that is JOB_UNKNOWN is not waited for."""
        _check(job_requests)

        def unsettled(request: Any) -> bool:
            return not request.complete and request.state not in (JOB_UNKNOWN, JOB_FAILED)

        self._poll_while(job_requests, unsettled, poll_timeout)
        for request in job_requests:
            request.timed_out = not request.complete and request.state != JOB_FAILED
            if not request.timed_out:
                self.request_to_rotating_connection_queue.pop(request, None)
        return job_requests

    def _poll_while(self, requests: Collection[Any], unsettled: Callable[[Any], bool], timeout: float | None) -> None:
        """Polls while one of the requests is unsettled.

        They settle in about their order, so only the first unsettled one is looked at each time. All are looked at
        again when handlers came or went: then a connection was lost, and what was settled may be so no more.
        """
        waiting: deque[Any] = deque()
        handlers: list[Any] = [None]

        def going(any_activity: bool) -> bool:
            if handlers != list(self.handler_to_connection_map):
                waiting.clear()
                waiting.extend([request for request in requests if unsettled(request)])
                handlers[:] = self.handler_to_connection_map  # now: to send a request can connect
                return bool(waiting)
            while waiting and not unsettled(waiting[0]):
                waiting.popleft()
            return bool(waiting)

        self.poll_connections_until_stopped(self.connection_list, going, timeout=timeout)

    # --- status -------------------------------------------------------------------------------------------------------

    def get_job_status(
        self, current_request: GearmanJobRequest, poll_timeout: float | None = None
    ) -> GearmanJobRequest:
        """Asks for the status of one job; returns the request, its `status` renewed.

        Raises KeyError if `job.connection` is none of this client's connected ones, ServerUnavailable if it is lost.
        """
        return unlist(self.get_job_statuses([current_request], poll_timeout=poll_timeout))  # type: ignore[return-value]

    def get_job_statuses(self, job_requests: Requests, poll_timeout: float | None = None) -> Requests:
        """The same for many. Returns its argument."""
        _check(job_requests)
        for request in job_requests:
            request.status["last_time_received"] = request.status.get("time_received")
            self.connection_to_handler_map[request.job.connection].send_get_status_of_job(request)
        return self.wait_until_job_statuses_received(job_requests, poll_timeout=poll_timeout)

    def wait_until_job_statuses_received(self, job_requests: Requests, poll_timeout: float | None = None) -> Requests:
        """Waits for the answers of `get_job_statuses`; one that is JOB_UNKNOWN is not waited for."""
        _check(job_requests)

        def unanswered(request: Any) -> bool:
            status = request.status
            return bool(status.get("time_received") == status.get("last_time_received"))

        def unsettled(request: Any) -> bool:
            return unanswered(request) and request.state != JOB_UNKNOWN

        self._poll_while(job_requests, unsettled, poll_timeout)
        for request in job_requests:
            request.status = request.status or {}
            request.timed_out = unanswered(request)
        return job_requests


def _check(job_requests: Any) -> None:
    assert type(job_requests) in (list, tuple, set), "Expected multiple job requests, received 1?"
