# SPDX-License-Identifier: BSD-3-Clause
"""What both clients write to the log `gearfast.client`: function, handle and servers, never a payload."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from gearfast.session.moves import Moved

__all__ = ["moved"]

log = logging.getLogger("gearfast.client")
log.addHandler(logging.NullHandler())
AGAIN = (
    "job %(handle)s of function %(function)r is submitted again, to %(server)s; before, to %(old_server)s: %(reason)s"
)
FAILOVER = "a job of function %(function)r goes to %(server)s instead of %(old_server)s: %(reason)s"


def moved(moves: Iterable[Moved]) -> None:
    """Jobs that are submitted once more, or that go to another server than their own."""
    for move in moves:
        facts = {
            "function": move.function,
            "handle": move.past.handle,
            "server": move.new,
            "old_server": move.past.server,
            "reason": move.past.reason,
            "submissions": move.submissions,
        }
        told = {**facts, "handle": move.past.handle or "without a handle"}
        log.warning(AGAIN if move.submissions else FAILOVER, told, extra=facts)
