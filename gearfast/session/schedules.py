# SPDX-License-Identifier: BSD-3-Clause
"""The text command `schedule`, the administrator's half. The rest of the text protocol is in `admin`."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from gearfast.errors import UsageError
from gearfast.session.admin import AdminRequest
from gearfast.types import Handle, Priority, ScheduleInfo
from gearfast.values import escape, unescape

__all__ = [
    "add_schedule",
    "pause_schedule",
    "remove_schedule",
    "resume_schedule",
    "run_schedule",
    "schedules",
    "set_schedule",
]


def schedules() -> AdminRequest[list[ScheduleInfo]]:
    """`schedule`: NAME SOURCE STATE NEXT LAST KEY=VALUE …"""
    return AdminRequest("schedule", lambda lines: [_info(line) for line in lines], is_list=True)


def add_schedule(name: str, settings: Mapping[str, object]) -> AdminRequest[None]:
    """`schedule add NAME KEY=VALUE …`; a key whose value is None is left out"""
    return _with_settings("add", name, {key: value for key, value in settings.items() if value is not None})


def set_schedule(name: str, settings: Mapping[str, object]) -> AdminRequest[None]:
    """`schedule set NAME KEY=VALUE …`; None gives a key its default again"""
    if not settings:
        raise UsageError("it needs a key at least, such as every='5m'")
    return _with_settings("set", name, settings)


def remove_schedule(name: str) -> AdminRequest[None]:
    """`schedule remove NAME`"""
    return AdminRequest(f"schedule remove {_name(name)}", _nothing)


def pause_schedule(name: str) -> AdminRequest[None]:
    """`schedule pause NAME`"""
    return AdminRequest(f"schedule pause {_name(name)}", _nothing)


def resume_schedule(name: str) -> AdminRequest[None]:
    """`schedule resume NAME`"""
    return AdminRequest(f"schedule resume {_name(name)}", _nothing)


def run_schedule(name: str) -> AdminRequest[Handle]:
    """`schedule run NAME`"""
    return AdminRequest(f"schedule run {_name(name)}", lambda lines: Handle(_ok(lines)))


def _with_settings(verb: str, name: str, settings: Mapping[str, object]) -> AdminRequest[None]:
    words = [f"{escape(key)}={escape(_text(value))}" for key, value in settings.items()]
    return AdminRequest(" ".join([f"schedule {verb}", _name(name), *words]), _nothing)


def _name(name: str) -> str:
    if not name:
        raise UsageError("a schedule has a name")
    return escape(name)


def _text(value: object) -> str | bytes:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return str(value.value if isinstance(value, Priority) else value)


def _ok(lines: list[str]) -> str:
    if not lines[0].startswith("OK"):
        raise ValueError(lines[0])
    return lines[0].removeprefix("OK").strip()


def _nothing(lines: list[str]) -> None:
    if _ok(lines):
        raise ValueError(lines[0])


def _info(line: str) -> ScheduleInfo:
    name, source, state, following, last, words = line.split("\t")
    raw = dict(word.split("=", 1) for word in words.split())
    said = {key: unescape(value) for key, value in raw.items()}
    workload = unquote_to_bytes(raw.get("workload", "").encode("utf-8", "surrogateescape"))
    if "workload_base64" in said:
        workload = base64.b64decode(said["workload_base64"])
    return ScheduleInfo(
        unescape(name),
        said.get("function", ""),
        workload,
        said.get("cron"),
        said.get("timezone", "UTC"),
        said.get("every"),
        Priority(said.get("priority", "normal")),
        said.get("unique", unescape(name)),
        said.get("overlap") == "true",
        said.get("catch_up", "one"),
        state == "paused",
        source,
        None if following == "-" else float(following),
        None if last == "-" else float(last),
        said.get("why", ""),
    )
