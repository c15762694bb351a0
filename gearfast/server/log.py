# SPDX-License-Identifier: BSD-3-Clause
"""Log lines of the job server. The package only logs to `gearfast.server`; `configure` is for the command line."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import asyncio

__all__ = ["LEVELS", "NOTICE", "Burst", "configure", "install", "level_number", "logger"]

NOTICE = 25
"""Between INFO and WARNING, as syslog and gearmand have it."""

LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "NOTICE": NOTICE,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
    "ALERT": logging.CRITICAL,
    "FATAL": logging.CRITICAL,
}

BURST_PAUSE = 10.0
"""Seconds between two lines of a `Burst`; the reactor has the same."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "bare"}

logger = logging.getLogger("gearfast.server")
logger.addHandler(logging.NullHandler())


def level_number(name: str) -> int:
    """logging's number of a level name in any case; an unknown one counts as INFO."""
    return LEVELS.get(name.upper(), logging.INFO)


def _level_name(record: logging.LogRecord) -> str:
    return "NOTICE" if record.levelno == NOTICE else record.levelname


def _time(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


class Burst:
    """Warnings of one kind that may come by the thousand: the first is logged at once, then their number at times."""

    def __init__(self, text: str, loop: asyncio.AbstractEventLoop) -> None:
        self._text = text
        self._loop = loop
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, detail: str = "") -> None:
        """One more of them; `detail` is what only a line of its own would show."""
        if self._timer is not None:
            self._count += 1
            return
        logger.warning("%s%s", self._text, f" ({detail})" if detail else "")
        self._timer = self._loop.call_later(BURST_PAUSE, self._sum)

    def _sum(self) -> None:
        self._timer = None
        if self._count:
            logger.warning("%s (%d times in %g seconds)", self._text, self._count, BURST_PAUSE)
            self._count = 0
            self._timer = self._loop.call_later(BURST_PAUSE, self._sum)

    def close(self) -> None:
        """No more of them."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._count = 0


class TextFormatter(logging.Formatter):
    """`TIME LEVEL TEXT`, UTC. Records with the attribute `bare` are their text alone: other programs wait for them."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if not getattr(record, "bare", False):
            text = f"{_time(record)} {_level_name(record)} {text}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what the record's `extra` says."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": _level_name(record),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Sends log lines of gearfast and asyncio to `stream` (standard error), in `form` text or json.

    Calling it again replaces what the last call set.
    """
    install(logging.StreamHandler(sys.stderr if stream is None else stream), level, form)


def install(handler: logging.Handler, level: str, form: str) -> None:
    """Makes `handler` the one for log lines of gearfast and asyncio; an earlier one is closed."""
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.set_name("gearfast")
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == "gearfast"]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    logging.getLogger("gearfast").setLevel(level_number(level))
