# SPDX-License-Identifier: BSD-3-Clause
"""What a schedule is: `Schedule`. A key's name, parser and help stand in one place, its field.

All times are milliseconds since 1970.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from gearfast.protocol import RESULT_FUNCTION, RESULT_NOW_FUNCTION
from gearfast.schedules.cron import check_cron, check_zone, next_match
from gearfast.values import choice, seconds, switch

__all__ = ["KEYS", "Schedule", "parse_all", "parse_schedule"]

_UNIQUE_LIMIT: Final = 64
_NAME_LIMIT: Final = 60
_STAMP: Final = len("@1764292800.000")
"""Bytes that the time of a run adds to its unique."""
_LEAST: Final = 100
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d{1,3})?)s)?")
_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("must be a text that is not empty")
    return value


def _function(value: object) -> str:
    text = _text(value)
    if text in (RESULT_FUNCTION, RESULT_NOW_FUNCTION):
        raise ValueError("is answered by the server itself, who asks has to wait for it: no schedule can have it")
    return text


def _workload(value: object) -> bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise ValueError("must be a text; workload_base64 takes any bytes")
    return value.encode("utf-8", "surrogateescape")


def _unique(value: object) -> str:
    text = _text(value)
    if len(text.encode("utf-8", "surrogateescape")) > _UNIQUE_LIMIT:
        raise ValueError(f"must be at most {_UNIQUE_LIMIT} bytes")
    return text


def _every(value: object) -> int:
    """Milliseconds of `90`, `"90s"` or `"1h30m"`."""
    wrong = "must be a time such as 30s, 5m, 1h30m or 1d"
    match = _DURATION.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is not None and match[0]:
        days, hours, minutes, rest = (float(part or 0) for part in match.groups())
        value = days * 86400 + hours * 3600 + minutes * 60 + rest
    try:
        number = round(seconds(value) * 1000)
    except ValueError:
        raise ValueError(wrong) from None
    if number < _LEAST:
        raise ValueError(f"must be {_LEAST / 1000:g}s at least")
    return number


def _shown_every(milliseconds: int) -> str:
    parts = []
    for unit, size in _UNITS:
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    if milliseconds:
        parts.append(f"{milliseconds / 1000:g}s")
    return "".join(parts)


def _key(default: object, parse: Callable[[object], object], help_text: str, shown: str = "") -> Any:
    about = {"parse": parse, "help": help_text, "shown": shown}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A job that is submitted again and again.

    Values given to the constructor are taken as they are; `parse_schedule` parses and checks them.
    """

    name: str
    function: str = _key("", _function, "the function of the job", "has to be given")
    workload: bytes = _key(b"", _workload, "its workload, a text; or any bytes as `workload_base64`", "empty")
    cron: str | None = _key(
        None,
        lambda value: check_cron(_text(value)),
        "when: minute, hour, day of the month, month and weekday, or a name such as @daily",
        "this or every",
    )
    timezone: str = _key(
        "UTC", lambda value: check_zone(_text(value)), "the time zone of `cron`, such as Europe/Berlin", "UTC"
    )
    every: int | None = _key(None, _every, "when: each time that this has passed, such as 30s or 1h30m", "this or cron")
    priority: str = _key("normal", choice("high", "normal", "low"), "high, normal or low", "normal")
    unique: str | None = _key(None, _unique, "the job's unique", "the schedule's name")
    overlap: bool = _key(
        False, switch, "a run is queued though the one before has not ended: its time is added to the unique", "false"
    )
    catch_up: str = _key(
        "one",
        choice("one", "all", "none"),
        "of times that were missed: one run for all of them, a run for each, or none",
        "one",
    )
    paused: bool = _key(False, switch, "it is never due", "false")

    @property
    def timing(self) -> str:
        """All that says when it is due."""
        return f"every {self.every}" if self.every is not None else f"{self.cron} {self.timezone}"

    def next_after(self, moment: int) -> int | None:
        """The first time later than `moment` at which it is due; None: never again."""
        if self.every is not None:
            return (moment // self.every + 1) * self.every
        assert self.cron is not None
        return next_match(self.cron, self.timezone, moment)

    def last_until(self, first: int, moment: int) -> int:
        """The last time up to `moment` at which it is due. `first`: one of them, not later than `moment`."""
        if self.every is not None:
            return moment // self.every * self.every
        span = 60_000
        while span < moment - first:
            found = self.next_after(moment - span)
            if found is not None and found <= moment:
                first = found
                break
            span *= 4
        while (later := self.next_after(first)) is not None and later <= moment:
            first = later
        return first

    def unique_at(self, moment: int) -> bytes:
        """The unique of the run of this time."""
        unique = self.unique or self.name
        if self.overlap:
            unique += f"@{moment // 1000}" + (f".{moment % 1000:03}" if moment % 1000 else "")
        return unique.encode("utf-8", "surrogateescape")

    def items(self) -> list[tuple[str, str]]:
        """The keys that are not at their defaults, as texts that `parse_schedule` takes."""
        found = []
        for name, field in KEYS.items():
            value = getattr(self, name)
            if value == field.default:
                continue
            if name == "every":
                found.append((name, _shown_every(value)))
            elif name == "workload":
                found.append(_shown_workload(value))
            else:
                found.append((name, "true" if value is True else str(value)))
        return found


def _shown_workload(workload: bytes) -> tuple[str, str]:
    try:
        text = workload.decode("utf-8")
    except UnicodeDecodeError:
        return "workload_base64", base64.b64encode(workload).decode("ascii")
    return "workload", text


KEYS: Final = {each.name: each for each in dataclasses.fields(Schedule) if each.name != "name"}
"""The keys of a schedule by name; `metadata` has `parse`, `help` and `shown`, its default for people."""


def parse_schedule(name: str, values: Mapping[str, object], base: Schedule | None = None) -> Schedule:
    """Parses and checks `values`, key to value; of `base` all else stays, and "" gives a key its default again.

    Raises ValueError, whose text names the key.
    """
    found = {key: getattr(base, key) for key in KEYS} if base is not None else {}
    values = {key.replace("-", "_"): value for key, value in values.items()}
    if "workload_base64" in values:
        if "workload" in values:
            raise ValueError("workload and workload_base64: one of them")
        text = values.pop("workload_base64")
        values["workload"] = "" if text == "" and base is not None else _decoded(text)
    for key, value in values.items():
        field = KEYS.get(key)
        if field is None:
            near = difflib.get_close_matches(key, KEYS, 1, 0.6)
            raise ValueError(f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else ""))
        if value == "" and base is not None:
            found.pop(field.name, None)
            continue
        try:
            found[field.name] = cast("Callable[[object], object]", field.metadata["parse"])(value)
        except ValueError as error:
            raise ValueError(f"{field.name}: {value!r} {error}") from None
    # Another way to say when takes the place of the one that `base` has.
    if values.get("cron") and "every" not in values:
        found.pop("every", None)
    elif values.get("every") and "cron" not in values:
        found.pop("cron", None)
        if "timezone" not in values:
            found.pop("timezone", None)
    return _checked(Schedule(name=name, **found))


def _decoded(value: object) -> bytes:
    try:
        return base64.b64decode(_text(value), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError(f"workload_base64: {value!r} must be base64") from None


def _checked(schedule: Schedule) -> Schedule:
    """Raises ValueError for what is missing, and for keys that contradict each other."""
    name = schedule.name
    if not name or len(name.encode("utf-8", "surrogateescape")) > _NAME_LIMIT or not name.isprintable():
        raise ValueError(f"the name of a schedule has 1 to {_NAME_LIMIT} bytes, all of them printable")
    if not schedule.function:
        raise ValueError("function: has to be given")
    if (schedule.cron is None) == (schedule.every is None):
        raise ValueError("one of cron and every has to be given" + (", not both" if schedule.cron else ""))
    if schedule.every is not None and schedule.timezone != "UTC":
        raise ValueError("timezone: goes with cron")
    unique = (schedule.unique or name).encode("utf-8", "surrogateescape")
    if schedule.overlap and (len(unique) + _STAMP > _UNIQUE_LIMIT or unique == b"-"):
        raise ValueError(f"overlap: needs a unique of at most {_UNIQUE_LIMIT - _STAMP} bytes, not {unique!r}")
    return schedule


def parse_all(table: object) -> dict[str, Schedule]:
    """From a table of name to a table of keys. Raises ValueError, whose text names the schedule."""
    if not isinstance(table, Mapping):
        raise ValueError("must be a table of names, each a table of keys")
    found = {}
    for name, values in table.items():
        if isinstance(values, Schedule):
            found[name] = values
            continue
        if not isinstance(values, Mapping):
            raise ValueError(f"{name}: must be a table of keys")
        try:
            found[name] = parse_schedule(name, values)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return found
