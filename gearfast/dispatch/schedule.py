# SPDX-License-Identifier: BSD-3-Clause
"""When a SUBMIT_JOB_SCHED is due: the next match of its calendar fields."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, tzinfo
from typing import Final

__all__ = ["next_match", "parse_fields"]

_RANGES: Final = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day", 1, 31),
    ("month", 1, 12),
    ("weekday", 0, 6),
)
_MONTHS_AHEAD: Final = 12 * 41  # a 29 February on a given weekday comes back within 40 years


def parse_fields(texts: Sequence[str]) -> tuple[int | None, ...]:
    """The five fields (minute, hour, day, month, weekday with 0 for Monday) as numbers; `*` or nothing is None.

    Raises ValueError naming the field that is out of its range.
    """
    values: list[int | None] = []
    for text, (name, least, most) in zip(texts, _RANGES, strict=True):
        if text in ("", "*"):
            values.append(None)
            continue
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ValueError(f"{name} must be {least} to {most} or *, not {text!r}")
        values.append(int(text))
    return tuple(values)


def next_match(
    minute: int | None,
    hour: int | None,
    day: int | None,
    month: int | None,
    weekday: int | None,
    after: float,
    zone: tzinfo = UTC,
) -> int:
    """Seconds since 1970 of the first whole minute later than `after` (seconds since 1970) that all fields match.

    All given fields must match (unlike cron, where day and weekday are alternatives). A local time that a change of
    the clocks leaves out does not match. Raises ValueError if no such minute exists (30 February).
    """
    first = datetime.fromtimestamp(after, zone)
    for ahead in range(_MONTHS_AHEAD):
        years, month_now = divmod(first.month - 1 + ahead, 12)
        year = first.year + years
        if month not in (None, month_now + 1):
            continue
        for when in _days(year, month_now + 1, day, weekday):
            if when >= first.date():
                found = _first_on(when, minute, hour, after, zone)
                if found is not None:
                    return found
    raise ValueError(f"no date matches day {day}, month {month}, weekday {weekday}")


def _days(year: int, month: int, day: int | None, weekday: int | None) -> list[date]:
    """The days of a month that match."""
    last = monthrange(year, month)[1]
    days = range(1, last + 1) if day is None else (day,) if day <= last else ()
    return [when for when in (date(year, month, d) for d in days) if weekday in (None, when.weekday())]


def _first_on(when: date, minute: int | None, hour: int | None, after: float, zone: tzinfo) -> int | None:
    """The first match on one day, or None."""
    for h in range(24) if hour is None else (hour,):
        for m in range(60) if minute is None else (minute,):
            moment = datetime.combine(when, time(h, m), zone)
            seconds = moment.timestamp()
            if seconds > after and datetime.fromtimestamp(seconds, zone).replace(tzinfo=None) == moment.replace(
                tzinfo=None
            ):
                return int(seconds)
    return None
