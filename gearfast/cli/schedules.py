# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast admin schedule`: what it asks, and how schedules are shown."""

from __future__ import annotations

import base64
import difflib
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from gearfast.errors import UsageError
from gearfast.types import Priority, ScheduleInfo
from gearfast.values import choice, escape, read_words, switch

if TYPE_CHECKING:
    import argparse

    from gearfast.sync.admin import AdminClient

__all__ = ["ARGUMENTS", "COLUMNS", "TABLE", "act", "line", "plain", "read_settings", "shown"]

COLUMNS: Final = ScheduleInfo._fields
TABLE: Final = ("name", "when", "function", "state", "next", "last")
"""What a terminal shows of them."""
_ACTIONS: Final = ("list", "add", "set", "remove", "pause", "resume", "run")
_USAGE: Final = (
    "it is `schedule`, or with add NAME KEY=VALUE ..., set NAME KEY=VALUE ..., or remove, pause, resume or run NAME"
)
ARGUMENTS: Final[list[tuple[str, dict[str, Any]]]] = [
    (
        "action",
        {
            "nargs": "?",
            "choices": _ACTIONS,
            "default": "list",
            "help": "add or set NAME KEY=VALUE ...; remove, pause, resume or run NAME (default: list)",
        },
    ),
    ("name", {"nargs": "?", "metavar": "NAME", "help": "of one schedule"}),
    (
        "settings",
        {
            "nargs": "*",
            "metavar": "KEY=VALUE",
            "help": "such as function=report 'cron=0 3 * * *' timezone=Europe/Berlin, or every=5m; "
            "with set KEY= gives it its default again",
        },
    ),
]


def act(admin: AdminClient, args: argparse.Namespace) -> Any:
    """The list, as it is then; of `add`, `set`, `pause` and `resume` that schedule; of `run` the job's handle."""
    action, name = args.action, args.name
    if (action == "list") != (name is None) or (action in ("add", "set")) != bool(args.settings):
        raise UsageError(_USAGE)
    if action == "run":
        return admin.run_schedule(name)
    if action == "add":
        admin.add_schedule(name, **_arguments(read_settings(args.settings)))
    elif action == "set":
        admin.set_schedule(name, **{key: value or None for key, value in read_settings(args.settings).items()})
    elif action != "list":
        {"remove": admin.remove_schedule, "pause": admin.pause_schedule, "resume": admin.resume_schedule}[action](name)
    return [entry for entry in admin.schedules() if action in ("list", "remove") or entry.name == name]


def read_settings(words: list[str]) -> dict[str, str]:
    """`KEY=VALUE` words of a command as a table. Raises UsageError for a word that is none."""
    try:
        return read_words(words)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _arguments(settings: dict[str, str]) -> dict[str, Any]:
    """As `add_schedule` takes them. Raises UsageError for a key that it has not, and for values that cannot be."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        name = key.replace("-", "_")
        if name not in _KEYS:
            near = difflib.get_close_matches(name, _KEYS, 1, 0.6)
            raise UsageError(f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else ""))
        try:
            found[name.removesuffix("_base64")] = _KEYS[name](value)
        except ValueError as error:
            raise UsageError(f"{key}: {value!r} {error}") from None
    if "function" not in found:
        raise UsageError("function=NAME has to be given")
    return found


_KEYS: Final[dict[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("function", "workload", "cron", "every", "timezone", "unique", "catch_up"), str),
    "workload_base64": lambda value: base64.b64decode(value, validate=True),
    "priority": lambda value: Priority(choice(*(each.value for each in Priority))(value)),
    "overlap": switch,
    "paused": switch,
}


def line(entry: ScheduleInfo) -> str:
    """As the text protocol has it."""
    state = "wrong" if entry.problem else "paused" if entry.paused else "active"
    words = " ".join(f"{key}={escape(value)}" for key, value in _given(entry))
    return "\t".join((escape(entry.name), entry.source, state, _number(entry.next), _number(entry.last), words))


def _given(entry: ScheduleInfo) -> list[tuple[str, str | bytes]]:
    """What is not at its default, in the order of the text protocol."""
    if entry.problem:
        return [("why", entry.problem)]
    said: list[tuple[str, str | bytes | None]] = [
        ("function", entry.function),
        ("cron", entry.cron),
        ("timezone", entry.timezone if entry.timezone != "UTC" else None),
        ("every", entry.every),
        ("priority", entry.priority.value if entry.priority.value != "normal" else None),
        ("unique", entry.unique if entry.unique != entry.name else None),
        ("overlap", "true" if entry.overlap else None),
        ("catch_up", entry.catch_up if entry.catch_up != "one" else None),
        ("workload", entry.workload or None),
    ]
    return [(key, value) for key, value in said if value is not None]


def _number(moment: float | None) -> str:
    return "-" if moment is None else f"{moment:.3f}".rstrip("0").rstrip(".")


def plain(entry: ScheduleInfo) -> dict[str, Any]:
    """As JSON has it: a workload that is UTF-8 as text, other bytes in base64 under a name that says so."""
    row: dict[str, Any] = entry._asdict() | {"priority": entry.priority.value}
    try:
        row["workload"] = entry.workload.decode("utf-8")
    except UnicodeDecodeError:
        del row["workload"]
        row["workload_base64"] = base64.b64encode(entry.workload).decode("ascii")
    return row


def shown(row: Mapping[str, Any]) -> dict[str, str]:
    """What a terminal shows of such a row."""
    zone = f" {row['timezone']}" if row["timezone"] != "UTC" else ""
    return {
        "state": f"wrong: {row['problem']}" if row["problem"] else "paused" if row["paused"] else "active",
        "when": f"every {row['every']}" if row["every"] else f"{row['cron'] or '-'}{zone}",
        "next": _moment(row["next"]),
        "last": _moment(row["last"]),
    }


def _moment(moment: float | None) -> str:
    if moment is None:
        return "-"
    return time.strftime("%Y-%m-%d %H:%M" + ("Z" if moment % 60 == 0 else ":%SZ"), time.gmtime(moment))
