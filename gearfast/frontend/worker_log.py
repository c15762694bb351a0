# SPDX-License-Identifier: BSD-3-Clause
"""What both workers write to the log `gearfast.worker`: server, function and handle, never a payload.

As long as the program has not imported `logging` nobody can see it, so nothing is logged: the module would be a quarter
of an idle worker's memory.
"""

from __future__ import annotations

import sys
from typing import Any

from gearfast.errors import Cancelled, Fail
from gearfast.session._worker import Assignment
from gearfast.session.crew import CrewLink
from gearfast.session.results import text_of

__all__ = [
    "cannot_connect",
    "connected",
    "connection_lost",
    "failed",
    "hook_failed",
    "interrupted",
    "overdue",
    "refused",
]

NAME = "gearfast.worker"
JOB = "job %(handle)s of function %(function)r from %(server)s "


def _log(level: str, text: str, *values: object, **more: Any) -> None:
    if "logging" not in sys.modules:
        return
    import logging  # another thread may be in the middle of the first import: this waits for its end

    log = logging.getLogger(NAME)
    if not log.handlers:
        log.addHandler(logging.NullHandler())
    getattr(log, level)(text, *values, **more)


def connected(link: CrewLink) -> None:
    """A connection is made."""
    _log("info", "connected to %s", link.label, extra={"server": link.label})


def cannot_connect(link: CrewLink, reason: str, seconds: float) -> None:
    """It cannot be made; it is tried again in so many seconds."""
    facts = {"server": link.label, "retry_in_s": round(seconds, 3)}
    _log("warning", "cannot connect to %s: %s", link.label, reason, extra=facts)


def connection_lost(link: CrewLink, reason: str, seconds: float) -> None:
    """A connection has ended; it is made again in so many seconds."""
    facts = {"server": link.label, "retry_in_s": round(seconds, 3)}
    _log("warning", "connection to %s lost: %s", link.label, reason, extra=facts)


def refused(link: CrewLink) -> None:
    """The server answered ERROR, to a late result most likely. Empties the list of refusals."""
    if link.session is not None:
        for code, text in link.session.refusals:
            _log("warning", "%s refused: %r %r", link.label, code, text, extra={"server": link.label})
        link.session.refusals.clear()


def failed(assignment: Assignment, error: Exception) -> None:
    """A job ended with WORK_FAIL or WORK_EXCEPTION."""
    facts = _facts(assignment)
    if isinstance(error, (Fail, Cancelled)):
        facts["reason"] = text_of(error)
        _log("info", JOB + "failed: %(reason)s", facts, extra=facts)
    else:
        _log("error", JOB + "raised an exception", facts, exc_info=error, extra=facts)


def hook_failed(assignment: Assignment, error: Exception) -> None:
    """A hook raised an exception after a job's callable, or about its failure."""
    facts = _facts(assignment)
    _log("error", JOB + "met a hook that raised an exception", facts, exc_info=error, extra=facts)


def interrupted(assignment: Assignment, error: BaseException) -> None:
    """A job raised what ends the worker."""
    facts = _facts(assignment)
    facts["error"] = type(error).__name__
    _log("error", JOB + "raised %(error)s: the worker leaves, the job goes back", facts, extra=facts)


def overdue(assignment: Assignment, *, stopped: bool = False) -> None:
    """A job's server has given it to somebody else, yet it is still running here, or was until now."""
    facts = _facts(assignment)
    what = "was stopped after its time-out" if stopped else "is still running after its time-out"
    _log("error", JOB + what, facts, extra=facts)


def _facts(assignment: Assignment) -> dict[str, str]:
    return {
        "function": assignment.function.decode("utf-8", "replace"),
        "handle": assignment.handle.decode("utf-8", "replace"),
        "server": assignment.session.server,
    }
