# SPDX-License-Identifier: BSD-3-Clause
"""The text command `schedule`: what a server says to a line of it.

schedule                              a line for each: NAME, where it is from, state, next and last time, KEY=VALUE …,
                                      tabs between; then a line of a single dot
schedule add NAME KEY=VALUE …         OK; one of that name that was added before goes
schedule set NAME KEY=VALUE …         OK; other keys stay, and KEY= gives one its default again
schedule remove NAME                  OK
schedule pause NAME, resume NAME      OK
schedule run NAME                     OK and the handle of a job that is submitted now

In names and values space, `%`, controls and all that is not ASCII are written %XX.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

from gearfast.errors import ServerError
from gearfast.schedules.table import Entry, Table
from gearfast.values import escape, read_words, unescape

__all__ = ["Holder", "answer"]

_READ_ONLY: Final = b"ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n"
_USAGE: Final = (
    "schedule, schedule add NAME KEY=VALUE ..., schedule set NAME KEY=VALUE ..., "
    "or schedule remove, pause, resume or run NAME"
)
_ENCODING: Final = ("utf-8", "surrogateescape")


class Holder(Protocol):
    """Who has schedules."""

    @property
    def table(self) -> Table: ...

    def now(self) -> int:
        """Milliseconds since 1970."""

    def check_store(self) -> None:
        """Raises ServerError while nothing can be kept."""

    def run_now(self, name: str) -> str:
        """Submits a job of this schedule; its handle. Raises KeyError, ServerError."""

    def changed(self, verb: str, name: str) -> None:
        """A command has changed this schedule."""


def answer(holder: Holder, line: bytes, read_only: bool) -> tuple[bytes, bool]:
    """Does what a line asks for that begins with the word `schedule`.

    Returns the reply, and whether something has changed that a store is to know before it is true.
    """
    words = line.decode(*_ENCODING).split()[1:]
    verb = words[0].lower() if words else "list"
    try:
        if verb == "list" and len(words) < 2:
            return _list(holder.table), False
        if verb not in _VERBS or len(words) < 2 or (verb in ("add", "set")) != (len(words) > 2):
            raise ValueError(_USAGE)
        if read_only:
            return _READ_ONLY, False
        holder.check_store()
        name = unescape(words[1])
        said = _do(holder, verb, name, _values(words[2:]))
    except ValueError as error:
        return _error("INVALID_ARGUMENTS", str(error)), False
    except KeyError as error:
        return _error("UNKNOWN_SCHEDULE", error.args[0]), False
    except ServerError as error:
        return _error(error.code, error.text), False
    return f"OK{said}\r\n".encode(*_ENCODING), True


_VERBS: Final = ("add", "set", "remove", "pause", "resume", "run")


def _do(holder: Holder, verb: str, name: str, values: Mapping[str, object]) -> str:
    table, now = holder.table, holder.now()
    if verb == "run":
        return " " + holder.run_now(name)
    if verb == "add":
        table.add(name, values, now)
    elif verb == "set":
        table.change(name, values, now)
    elif verb == "remove":
        table.remove(name)
    else:
        table.pause(name, verb == "pause", now)
    holder.changed(verb, name)
    return ""


def _values(words: list[str]) -> dict[str, object]:
    """`key=value` words as a table. Raises ValueError for a word that is none."""
    found: dict[str, object] = {}
    for key, value in read_words(words).items():
        data = unquote_to_bytes(value.encode(*_ENCODING))
        found[key] = data if key == "workload" and data else data.decode(*_ENCODING)
    return found


def _error(code: str, text: str) -> bytes:
    """One line, whatever a name has in it."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in text).replace(" ", "+")
    return f"ERR {code} {shown}\r\n".encode()


def _list(table: Table) -> bytes:
    lines = [_line(name, entry) for name, entry in table.entries.items()]
    lines += [f"{escape(name)}\tcommand\twrong\t-\t-\twhy={escape(why)}\n" for name, why in table.wrong.items()]
    return "".join(lines).encode() + b".\n"


def _line(name: str, entry: Entry) -> str:
    source = "file" if entry.from_file else "command"
    state = "paused" if entry.paused else "active"
    settings = " ".join(f"{key}={escape(value)}" for key, value in _settings(entry))
    following = None if entry.paused else entry.next
    return f"{escape(name)}\t{source}\t{state}\t{_seconds(following)}\t{_seconds(entry.last)}\t{settings}\n"


def _settings(entry: Entry) -> list[tuple[str, str | bytes]]:
    """The workload as it is; `paused` stands in the state."""
    settings: list[tuple[str, str | bytes]] = [
        (key, value) for key, value in entry.schedule.items() if key not in ("paused", "workload", "workload_base64")
    ]
    if entry.schedule.workload:
        settings.append(("workload", entry.schedule.workload))
    return settings


def _seconds(moment: int | None) -> str:
    return "-" if moment is None else f"{moment // 1000}" + (f".{moment % 1000:03}" if moment % 1000 else "")
