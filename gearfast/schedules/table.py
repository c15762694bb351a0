# SPDX-License-Identifier: BSD-3-Clause
"""All schedules of a server: where each comes from, up to when its times are dealt with, and what is due.

A store keeps up to three notes of a schedule: `schedule/NAME`, what it is, if it was added by command; `fired/NAME`, up
to when its times are dealt with; `paused/NAME`, if a command has paused or resumed it. `fired/NAME` is to be written
together with the job of that time: then no crash loses a run or doubles one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from gearfast.schedules.schedule import Schedule, parse_schedule
from gearfast.values import escape, unescape

__all__ = ["GRACE", "Entry", "Run", "Table", "no_schedule"]

GRACE: Final = 60_000
"""Milliseconds after which a time that was not served is a missed one."""
SET_BACK: Final = 3 * 3_600_000
"""A clock that is set back by more has been wrong: times that were dealt with by it do not count."""
AGAIN: Final = 1000
"""Milliseconds after which a run that was refused is due again."""
MOST_RUNS: Final = 100
"""Runs of one schedule that are due in one go; the rest comes at once after."""


class Write(Protocol):
    """Keeps a note, None takes it away. `bound`: it is true only with the job that was submitted before it."""

    def __call__(self, key: str, value: bytes | None, *, bound: bool = False) -> object: ...


def _nowhere(key: str, value: bytes | None, *, bound: bool = False) -> None:
    """Without a store."""


class Run(NamedTuple):
    """A job that is due: of this schedule, for this time. `missed`: further times for which it stands."""

    schedule: Schedule
    time: int
    missed: bool = False


@dataclass(slots=True)
class Entry:
    """One schedule and how far it is."""

    schedule: Schedule
    from_file: bool
    held: bool | None = None
    """Paused or resumed by command; None: as the schedule says."""
    after: int = 0
    """Times up to this one are dealt with."""
    last: int | None = None
    """The time of its last run."""
    next: int | None = None
    noted: str = ""
    """What said when it is due while `after` was noted."""
    begun: int = 0
    """What `after` was when times began to count."""
    again: int = 0
    """Its run was refused: it is not due before. 0: it was not."""

    @property
    def paused(self) -> bool:
        return self.schedule.paused if self.held is None else self.held

    @property
    def timing(self) -> str:
        return self.schedule.timing + (" paused" if self.paused else "")


def no_schedule(name: str) -> KeyError:
    """That there is none of this name."""
    return KeyError(f"there is no schedule {name}")


class Table:
    """The schedules by name. `write`: keeps notes in the store, if there is one.

    Changes raise ValueError for what cannot be, KeyError for a name that is not there.
    """

    def __init__(self, write: Write | None = None) -> None:
        self.entries: dict[str, Entry] = {}
        self.wrong: dict[str, str] = {}
        """Schedules of the store that cannot be used, and why. Their notes stay."""
        self._write: Write = write if write is not None else _nowhere

    def __len__(self) -> int:
        return len(self.entries)

    def begin(self, file: Mapping[str, Schedule], notes: Mapping[str, bytes], now: int, *, write: bool = True) -> None:
        """Begin with the schedules of the configuration and what a store has; what was there before is forgotten.

        `write`: notes that are wrong for these schedules may be changed.
        """
        with self._writing(write):
            self._begin_all(file, notes, now)

    @contextlib.contextmanager
    def _writing(self, write: bool) -> Iterator[None]:
        """No note is written meanwhile unless `write`."""
        keep, self._write = self._write, self._write if write else _nowhere
        try:
            yield
        finally:
            self._write = keep

    def _begin_all(self, file: Mapping[str, Schedule], notes: Mapping[str, bytes], now: int) -> None:
        self.entries.clear()
        self.wrong.clear()
        found = dict(file)
        for key, value in notes.items():
            kind, name = _split(key)
            if kind != "schedule":
                continue
            if name in file:
                self._write(key, None)
                continue
            try:
                found[name] = parse_schedule(name, _table(value))
            except ValueError as error:
                self.wrong[name] = str(error)
        for name, schedule in found.items():
            self._enter(schedule, name in file, notes, now)
        for key in notes:
            kind, name = _split(key)
            if kind in ("fired", "paused") and name not in self.entries and name not in self.wrong:
                self._write(key, None)

    def _enter(self, schedule: Schedule, from_file: bool, notes: Mapping[str, bytes], now: int) -> None:
        entry = self.entries[schedule.name] = Entry(schedule, from_file)
        if (held := notes.get(_key("paused", schedule.name))) is not None:
            entry.held = held == b"1"
        _recall(entry, notes.get(_key("fired", schedule.name)))
        self._begin(entry, now)

    def set_file(self, file: Mapping[str, Schedule], now: int, *, write: bool = True) -> None:
        """The configuration was read again: its schedules take the place of those that it had before.

        `write`: as for `begin`.
        """
        with self._writing(write):
            self._set_all(file, now)

    def _set_all(self, file: Mapping[str, Schedule], now: int) -> None:
        for name in [name for name, entry in self.entries.items() if entry.from_file and name not in file]:
            self._forget(name)
        for schedule in file.values():
            if schedule.name in self.wrong or not self._of_file(schedule.name):
                self.wrong.pop(schedule.name, None)
                self._write(_key("schedule", schedule.name), None)
            self._put(schedule, True, now)

    def _of_file(self, name: str) -> bool:
        entry = self.entries.get(name)
        return entry is None or entry.from_file

    def _put(self, schedule: Schedule, from_file: bool, now: int) -> None:
        entry = self.entries.setdefault(schedule.name, Entry(schedule, from_file))
        entry.schedule, entry.from_file = schedule, from_file
        self._begin(entry, now)

    def _begin(self, entry: Entry, now: int) -> None:
        """Times count from now on if they are others than before."""
        if entry.noted != entry.timing:
            entry.after, entry.noted = now, entry.timing
            self._note(entry)
            entry.begun = now
        entry.again = 0
        entry.next = entry.schedule.next_after(entry.after)

    def _note(self, entry: Entry, *, bound: bool = False) -> None:
        known = {"after": entry.after, "last": entry.last, "timing": entry.noted}
        self._write(_key("fired", entry.schedule.name), json.dumps(known).encode(), bound=bound)

    # What commands change

    def get(self, name: str) -> Entry:
        """Raises KeyError if there is none."""
        entry = self.entries.get(name)
        if entry is None:
            raise no_schedule(name)
        return entry

    def add(self, name: str, values: Mapping[str, object], now: int) -> None:
        """A schedule with these keys, in place of one of this name that was added before."""
        self._add(parse_schedule(name, values), now)

    def change(self, name: str, values: Mapping[str, object], now: int) -> None:
        """Other values for these keys; "" gives one its default again."""
        self._add(parse_schedule(name, values, self.get(name).schedule), now)

    def _add(self, schedule: Schedule, now: int) -> None:
        self._refuse_file(schedule.name)
        self.wrong.pop(schedule.name, None)
        self._write(_key("schedule", schedule.name), json.dumps(dict(schedule.items())).encode())
        self._put(schedule, False, now)

    def _refuse_file(self, name: str) -> None:
        if name in self.entries and self.entries[name].from_file:
            raise ValueError(f"{name} stands in the server's configuration: change it there, or pause it")

    def remove(self, name: str) -> None:
        """Take one away that was added by command."""
        if name not in self.wrong:
            self.get(name)
        self._refuse_file(name)
        self._write(_key("schedule", name), None)
        self._forget(name)

    def _forget(self, name: str) -> None:
        entry = self.entries.pop(name, None)
        self.wrong.pop(name, None)
        self._write(_key("fired", name), None)
        if entry is None or entry.held is not None:
            self._write(_key("paused", name), None)

    def pause(self, name: str, paused: bool, now: int) -> None:
        """It is not due until it is resumed, whatever its own `paused` says. Times that pass meanwhile do not count."""
        entry = self.get(name)
        entry.held = None if paused == entry.schedule.paused else paused
        self._write(_key("paused", name), None if entry.held is None else b"%d" % paused)
        self._begin(entry, now)

    # What is due

    def due(self, now: int) -> Iterator[Run]:
        """The runs that are due; for each, `done` or `refused` is to be called before the next is asked for."""
        for entry in list(self.entries.values()):
            if entry.paused:
                continue
            if now < entry.after - SET_BACK:
                entry.after = now
                self._note(entry)
                entry.next = entry.schedule.next_after(now)
            waits = 0 < entry.again - now <= AGAIN  # or else the clock was set back
            if entry.next is not None and entry.next <= now and not waits:
                yield from self._due(entry, entry.next, now)

    def _due(self, entry: Entry, first: int, now: int) -> Iterator[Run]:
        policy = entry.schedule.catch_up
        if policy == "all":
            for _ in range(MOST_RUNS):
                moment = entry.next
                if moment is None or moment > now:
                    return
                yield Run(entry.schedule, moment)
                if entry.next == moment:  # it was refused
                    return
            return
        last = entry.schedule.last_until(first, now)
        if policy == "none" and now - last > GRACE:
            self._pass(entry, last)
        else:
            yield Run(entry.schedule, last, missed=last != first and policy == "one")

    def done(self, run: Run) -> None:
        """The job of a run was submitted."""
        entry = self.entries[run.schedule.name]
        entry.last = run.time
        entry.again = 0
        self._pass(entry, run.time, bound=True)

    def refused(self, run: Run, now: int) -> bool:
        """The job of a run was refused; True: for the first time."""
        entry = self.entries[run.schedule.name]
        first, entry.again = entry.again == 0, now + AGAIN
        return first

    def _pass(self, entry: Entry, moment: int, *, bound: bool = False) -> None:
        entry.after = moment
        entry.next = entry.schedule.next_after(moment)
        self._note(entry, bound=bound)

    def take_back(self, key: str, value: bytes | None) -> None:
        """A note was lost with the job of its time, and this is what the store has instead: that time is due again."""
        kind, name = _split(key)
        entry = self.entries.get(name)
        if kind != "fired" or entry is None:
            return
        if not _recall(entry, value):  # it has never had one
            entry.after, entry.last = entry.begun, None
            self._note(entry)
        entry.next = entry.schedule.next_after(entry.after)

    def next_time(self) -> int | None:
        """When the next one is due; None: nothing ever is."""
        entries = self.entries.values()
        return min((max(each.next, each.again) for each in entries if each.next and not each.paused), default=None)


def _key(kind: str, name: str) -> str:
    return f"{kind}/{escape(name)}"


def _split(key: str) -> tuple[str, str]:
    kind, _, name = key.partition("/")
    return kind, unescape(name)


def _recall(entry: Entry, value: bytes | None) -> bool:
    """How far it is, from a note; False if that does not tell."""
    known = _table(value) if value is not None else {}
    after, last = known.get("after"), known.get("last")
    if not isinstance(after, int):
        return False
    entry.after = entry.begun = after
    entry.noted = str(known.get("timing", ""))
    entry.last = last if isinstance(last, int) else None
    return True


def _table(value: bytes) -> dict[str, Any]:
    """A note as a table; an empty one if it is none."""
    try:
        found = json.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
