# SPDX-License-Identifier: BSD-3-Clause
"""Periodic jobs: what a schedule is, when it is due, and the text command that changes schedules.

Nothing here reads a clock, opens a store or submits a job: the time comes in as an argument, in milliseconds since
1970, and `server/schedules` does what is due.
"""

from gearfast.schedules.schedule import Schedule, parse_all, parse_schedule
from gearfast.schedules.table import Run, Table

__all__ = ["Run", "Schedule", "Table", "parse_all", "parse_schedule"]
