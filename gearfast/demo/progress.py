# SPDX-License-Identifier: BSD-3-Clause
"""How the demo shows what it does: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Show"]


class Show:
    """The output of the demo. One object for the whole run."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console if console is not None else Console(highlight=False)
        self._began = time.monotonic()
        self._bars: Progress | None = None
        self._tasks: dict[str, int] = {}
        self._totals: dict[str, int] = {}
        self._step, self._steps = 0, 1

    def say(self, text: str, style: str | None = None) -> None:
        """A line, with the seconds since the start before it."""
        stamp = f"{time.monotonic() - self._began:6.1f} s  "
        self.console.print(stamp + text, style=style, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def round(self, title: str, totals: Mapping[str, int], *, keep: bool = False, steps: int = 4) -> Iterator[None]:
        """Shows the progress of one round: a bar for each kind of work.

        `keep`: leave the bars on the screen. `steps`: how many lines to print where there are no bars.
        """
        self.say(title, "bold")
        self._totals, self._step, self._steps = dict(totals), 0, steps
        if not self.console.is_terminal:
            yield
            return
        self._bars = Progress(
            TextColumn("          {task.description:<10}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=not keep,
        )
        with self._bars:
            self._tasks = {name: self._bars.add_task(name, total=total) for name, total in totals.items()}
            try:
                yield
            finally:
                self._bars = None

    def update(self, done: Mapping[str, int]) -> None:
        """How much is done by now, by kind of work."""
        if self._bars is not None:
            for name, task in self._tasks.items():
                self._bars.update(task, completed=done.get(name, 0))  # type: ignore[arg-type]
            return
        step = self._steps * sum(done.values()) // max(1, sum(self._totals.values()))
        if step > self._step:
            self._step = step
            self.say("  " + ", ".join(f"{name} {done.get(name, 0)}/{of}" for name, of in self._totals.items()))
