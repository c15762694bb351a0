# SPDX-License-Identifier: BSD-3-Clause
"""Cron expressions in time zones: cronsim's, which is imported only where there is one."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from types import ModuleType
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

__all__ = ["check_cron", "check_zone", "next_match"]

_NAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


_KNOWN: Final = "Europe/Berlin"


def _library() -> ModuleType:
    try:
        import cronsim
    except ImportError:
        raise ValueError("needs cronsim: pip install 'gearfast[schedules]'") from None
    return cronsim


@lru_cache(maxsize=256)
def _zone(name: str) -> tzinfo:
    # cronsim treats this very object as a zone without changes of its clock.
    return UTC if name.upper() == "UTC" else ZoneInfo(name)


def check_zone(name: str) -> str:
    """The name, if there is such a time zone. Raises ValueError with words that go behind it."""
    if _is_zone(name):
        return name
    if _is_zone(_KNOWN):
        raise ValueError(f"is no time zone that is known here, such as {_KNOWN}")
    raise ValueError("is not known, as no time zones are installed here: pip install tzdata")


def _is_zone(name: str) -> bool:
    try:
        _zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def check_cron(text: str) -> str:
    """The expression with one space between its fields. Raises ValueError with words that go behind it."""
    cronsim = _library()
    words = " ".join(text.split())
    try:
        cronsim.CronSim(_NAMES.get(words.lower(), words), datetime(2000, 1, 1, tzinfo=UTC))
    except (cronsim.CronSimError, ValueError) as error:
        raise ValueError(f"is no cron expression (minute hour day month weekday): {error}") from None
    return words


def next_match(text: str, zone: str, after: int) -> int | None:
    """The first match later than `after`, both ms since 1970; None if there is none in the next decades."""
    cronsim = _library()
    begin = datetime.fromtimestamp(after // 1000, _zone(zone))
    for moment in cronsim.CronSim(_NAMES.get(text.lower(), text), begin):
        # Of an hour that comes twice it may tell the first one, though the second is under way.
        found: int = round(moment.timestamp()) * 1000
        if found > after:
            return found
    return None
