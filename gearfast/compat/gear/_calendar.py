# SPDX-License-Identifier: BSD-3-Clause
"""When a SUBMIT_JOB_SCHED to a `Server` is due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

_LIMITS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_DAYS_AHEAD = 41 * 366  # a 29 February on a given weekday comes back within 40 years


def next_match(fields: Sequence[str], after: float) -> float:
    """Seconds since 1970 of the first minute in UTC later than `after` that all fields match.

    `fields`: minute, hour, day, month, weekday (0 is Monday) in decimal; empty or `*` matches all. Raises ValueError
    for what is no such number or never comes.
    """
    wanted: list[int | None] = []
    for text, (name, least, most) in zip(fields, _LIMITS, strict=True):
        if text in ("", "*"):
            wanted.append(None)
        elif text.isdecimal() and least <= int(text) <= most:
            wanted.append(int(text))
        else:
            raise ValueError(f"{name} must be {least} to {most} or *, not {text!r}")
    minute, hour, *date = wanted
    start = datetime.fromtimestamp(after, UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    for ahead in range(_DAYS_AHEAD):
        day = start if ahead == 0 else start.replace(hour=0, minute=0) + timedelta(days=ahead)
        if all(want in (None, have) for want, have in zip(date, (day.day, day.month, day.weekday()), strict=True)):
            for h in range(day.hour, 24) if hour is None else (hour,):
                for m in range(60) if minute is None else (minute,):
                    moment = day.replace(hour=h, minute=m)
                    if moment >= day:
                        return moment.timestamp()
    raise ValueError(f"no date matches {' '.join(fields)}")
