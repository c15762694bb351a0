# SPDX-License-Identifier: BSD-3-Clause
"""Submits the jobs of schedules when they are due, and answers the text command `schedule`.

`Scheduler` knows the dispatcher and gets the time from a function; `Timer` runs it in an event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from gearfast.errors import ServerError
from gearfast.schedules import Run, Schedule, Table
from gearfast.schedules.lines import answer
from gearfast.server.log import logger

if TYPE_CHECKING:
    from gearfast.dispatch import Dispatcher
    from gearfast.schedules.table import Write

__all__ = ["Scheduler", "Timer", "wall_clock"]

LOOK: Final = 1000
"""Milliseconds after which the clock is looked at again, which may have been set."""
SOON: Final = 50
"""The same while jobs come back from the store."""
_PRIORITIES: Final = {"high": 0, "normal": 1, "low": 2}


def wall_clock() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Scheduler:
    """The schedules of a dispatcher.

    `clock`: milliseconds since 1970. `write`: keeps notes in the store, together with the jobs that were submitted
    before. `may_fire`: whether this server is the one that submits; asked each time. `on_change`: called when a command
    has changed what is due, maybe while the dispatcher answers.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        *,
        clock: Callable[[], int] = wall_clock,
        write: Write | None = None,
        may_fire: Callable[[], bool] | None = None,
    ) -> None:
        self.table = Table(write)
        self.may_fire = may_fire
        self.on_change: Callable[[], object] | None = None
        self.now = clock
        self._dispatcher = dispatcher

    def begin(self, file: Mapping[str, Schedule], notes: Mapping[str, bytes], *, write: bool = True) -> None:
        """Begin with the schedules of the configuration and the notes of a store; also anew, with other notes.

        `write`: whether what these notes say too much, or too little, is put right; one of several servers does that.
        """
        self.table.begin(file, notes, self.now(), write=write)
        for name, why in self.table.wrong.items():
            logger.error("Schedule %s of the store is not used: %s", name, why, extra={"schedule": name})
        self._dispatcher.on_schedule_line = self._answer

    def hear(self, notes: Mapping[str, bytes]) -> None:
        """Others, which share the store, have changed notes: that is what there is now."""
        file = {name: entry.schedule for name, entry in self.table.entries.items() if entry.from_file}
        self.begin(file, notes, write=False)
        self._has_changed()

    def set_file(self, file: Mapping[str, Schedule]) -> None:
        """The configuration was read again."""
        self.table.set_file(file, self.now(), write=self.may_fire is None or self.may_fire())
        self._has_changed()

    def take_back(self, key: str, value: bytes | None) -> None:
        """Jobs were not stored, and this note with them."""
        self.table.take_back(key, value)
        self._has_changed()

    def turn(self) -> int | None:
        """Submit what is due; then as `wait`."""
        if not self.table:
            return None
        if self._dispatcher.restoring:
            return SOON
        if self.may_fire is not None and not self.may_fire():
            return LOOK
        now = self.now()
        for run in self.table.due(now):
            self._fire(run, now)
        return self.wait()

    def wait(self) -> int | None:
        """Milliseconds until something is due, if nobody sets the clock; None: nothing is."""
        following = self.table.next_time()
        return None if following is None else following - self.now()

    def _fire(self, run: Run, now: int) -> None:
        name = run.schedule.name
        try:
            handle = self._submit(run.schedule, run.time)
        except (ServerError, MemoryError) as error:
            if self.table.refused(run, now):
                logger.warning(
                    "Schedule %s: its job was refused and is tried again: %s", name, error, extra={"schedule": name}
                )
            return
        if run.missed:
            logger.warning("Schedule %s: one run for several times that were missed", name, extra={"schedule": name})
        self.table.done(run)
        logger.debug("Schedule %s: job %s", name, handle, extra={"schedule": name, "handle": handle})

    def _submit(self, schedule: Schedule, moment: int) -> str:
        function = schedule.function.encode("utf-8", "surrogateescape")
        unique = schedule.unique_at(moment)
        priority = _PRIORITIES[schedule.priority]
        return self._dispatcher.submit(function, unique, schedule.workload, priority).decode("ascii")

    # What the text command does

    def _answer(self, line: bytes, read_only: bool) -> tuple[bytes, bool]:
        return answer(self, line, read_only)

    def check_store(self) -> None:
        """Raises ServerError while nothing can be kept."""
        if self._dispatcher.refusing:
            raise ServerError("QUEUE_ERROR", "The schedule could not be stored")

    def run_now(self, name: str) -> str:
        """Submits a job of this schedule, besides those of its times; its handle. Raises KeyError, ServerError."""
        handle = self._submit(self.table.get(name).schedule, self.now())
        logger.info("Text command: schedule run %s", name, extra={"schedule": name, "handle": handle})
        return handle

    def changed(self, verb: str, name: str) -> None:
        """A command has changed this schedule."""
        logger.info("Text command: schedule %s %s", verb, name, extra={"schedule": name})
        self._has_changed()

    def _has_changed(self) -> None:
        if self.on_change is not None:
            self.on_change()


class Timer:
    """Runs a scheduler in a loop. `do(call)`: makes a call in a way that what has come of it goes out."""

    def __init__(self, scheduler: Scheduler, do: Callable[[Callable[[], object]], object]) -> None:
        self._scheduler = scheduler
        self._do = do
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """From now on, in the running loop."""
        self._loop = asyncio.get_running_loop()
        # A command may come while the loop waits for its selector: only this ends that.
        self._scheduler.on_change = lambda: self._loop and self._loop.call_soon_threadsafe(self._turn)
        self._turn()

    def stop(self) -> None:
        """No more. Calling it again does nothing."""
        self._scheduler.on_change = self._loop = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _turn(self) -> None:
        if self._loop is None:
            return
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        wait: int | None = None

        def turn() -> None:
            nonlocal wait
            wait = self._scheduler.turn()

        self._do(turn)
        if wait is not None:
            self._handle = self._loop.call_later(min(max(wait, 0), LOOK) / 1000, self._turn)
