# SPDX-License-Identifier: BSD-3-Clause
"""Schedules as `gearfast admin schedule` shows them on a terminal."""

from __future__ import annotations

from gearfast.cli.schedules import plain, shown
from gearfast.types import Priority, ScheduleInfo


def test_one_that_cannot_be_used_says_why() -> None:
    values = ("x", "", b"", None, "UTC", None, Priority.NORMAL, "x", False, "one", False, "command", None, None)
    wrong = ScheduleInfo(*values, problem="cron: needs cronsim")
    assert shown(plain(wrong)) == {"state": "wrong: cron: needs cronsim", "when": "-", "next": "-", "last": "-"}
