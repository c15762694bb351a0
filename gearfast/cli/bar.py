# SPDX-License-Identifier: BSD-3-Clause
"""A line at the bottom of a terminal that tells how many jobs are done."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Bar"]

PAUSE: Final = 0.1
"""Seconds between two drawings, so that drawing costs nothing beside the jobs."""

_CLEAR: Final = "\r\x1b[K"


class Bar:
    """Counts jobs and draws the line; nothing is drawn where `stream` is no terminal. Safe to use from many threads.

    `total`: how many jobs there will be, None if nobody knows.
    """

    def __init__(self, stream: TextIO, total: int | None) -> None:
        self.shown = stream.isatty()
        self._stream = stream
        self._total = total
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._drawn_at = 0.0
        self._done = 0
        self._failed = 0
        self._status = ""

    def add(self, ok: bool) -> None:
        """One more job has ended."""
        with self._lock:
            self._done += 1
            self._failed += not ok
            self._draw(last=self._done == self._total)

    def tell(self, status: str) -> None:
        """What the oldest job under way says of itself."""
        with self._lock:
            self._status = status
            self._draw()

    @contextlib.contextmanager
    def aside(self, stream: TextIO) -> Iterator[None]:
        """While something is written to `stream`, which may be the same terminal, the line is not there."""
        with self._lock:
            if self.shown and stream.isatty():
                self._stream.write(_CLEAR)
                self._stream.flush()
                self._drawn_at = 0.0
            yield

    def close(self) -> None:
        """Leave the last state on the terminal."""
        with self._lock:
            if self.shown:
                self._status = ""
                self._draw(last=True)
                self._stream.write("\n")
                self._stream.flush()
                self.shown = False

    def line(self, seconds: float, width: int) -> str:
        """The text, `seconds` after the beginning."""
        rate = self._done / seconds if seconds > 0 else 0.0
        of = "" if self._total is None else f"/{self._total}"
        text = f"{self._done}{of} jobs"
        if self._failed:
            text += f", {self._failed} failed"
        text += f", {rate:.3g}/s"
        if self._total is None or self._total <= self._done:
            text += f", {_clock(seconds)}"
        elif rate:
            text += f", {_clock((self._total - self._done) / rate)} left"
        if self._status:
            text += f", {self._status}"
        if self._total:
            room = min(30, width - len(text) - 4)
            if room >= 5:
                full = round(room * min(1.0, self._done / self._total))
                text = f"[{'#' * full}{'-' * (room - full)}] {text}"
        return text[: width - 1]

    def _draw(self, last: bool = False) -> None:
        now = time.monotonic()
        if self.shown and (last or now - self._drawn_at >= PAUSE):
            self._drawn_at = now
            self._stream.write(_CLEAR + self.line(now - self._began, shutil.get_terminal_size().columns))
            self._stream.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
