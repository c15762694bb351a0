# SPDX-License-Identifier: BSD-3-Clause
"""Where the job server's log lines go: a descriptor that may block, be full, or be gone, while the server goes on.

Lines are written by a thread of their own, so that a pipe nobody reads or a disk that hangs never holds up a tick. What
cannot be written waits, up to a limit; beyond it lines are counted and dropped, and their number is the next thing in
the log once it can be written again. Standard error gets its thread only when it takes no line at once: as soon as a
process has two threads, the C library makes each of its system calls dearer (400 of 6,500 instructions of a job).
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LogWriter"]

LIMIT: Final = 4 << 20
"""Bytes of lines that may wait to be written."""
AT_ONCE: Final = 4096
"""Bytes that a pipe takes without blocking if it can be written to at all (PIPE_BUF)."""
RETRY: Final = 0.5
"""Seconds between two tries to write where it has failed."""


class LogWriter(logging.Handler):
    """Writes each record as a line to a file, or to standard error. Raises OSError if the file cannot be opened.

    `limit`: bytes that may wait. `complain`: told once, in words, each time that writing begins to fail.
    """

    def __init__(
        self, path: str | None = None, limit: int = LIMIT, complain: Callable[[str], object] | None = None
    ) -> None:
        super().__init__()
        self.path = path
        self._limit = limit
        self._complain = complain if complain is not None else _tell_stderr
        self._fd = _open(path)
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._lost = 0
        self._changed = threading.Condition()
        self._closing = False
        self._failing = False
        self._torn = False  # the last line is not whole
        self._thread: threading.Thread | None = None
        if path is not None or not _takes_at_once(self._fd):
            self._start()

    @property
    def lost(self) -> int:
        """Lines that were dropped and not told of yet."""
        return self._lost

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record).encode("utf-8", "backslashreplace") + b"\n"
        except Exception:  # noqa: BLE001  (whatever a record's arguments do when they are formatted)
            self.handleError(record)
            return
        with self._changed:
            if self._thread is None and self._write_now(line):
                return
            if self._waiting + len(line) > self._limit:
                self._lost += 1
                return
            self._add_note()
            self._add(line)
            self._changed.notify()
            if self._thread is None:
                self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="gearfast-log", daemon=True)
        self._thread.start()

    def _write_now(self, line: bytes) -> bool:
        """Writes a line to standard error if that cannot block; False: it is the thread's business from now on."""
        if len(line) > AT_ONCE or not _is_ready(self._fd):
            return False
        try:
            written = os.write(self._fd, line)
        except OSError:
            return False
        if written < len(line):
            self._add(line[written:])
            self._start()
        return True

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        self._waiting += len(line)

    def _add_note(self) -> None:
        """With the lock: the line that tells what is missing at this place."""
        if self._lost:
            text = "%d log lines were lost"
            record = logging.LogRecord("gearfast.server", logging.WARNING, "", 0, text, (self._lost,), None)
            self._lost = 0
            self._add(self.format(record).encode("utf-8", "backslashreplace") + b"\n")

    def flush(self, patience: float = 0.0) -> None:
        """Waits until all lines are written, at most `patience` seconds."""
        end = time.monotonic() + patience
        with self._changed:
            while self._waiting and not self._failing:
                left = end - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def close(self) -> None:
        """Writes what can be written within a second; the thread ends when it can."""
        self.flush(1.0)
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None and not self._waiting:
            self._thread.join(1.0)
        super().close()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._lines:
                    self._add_note()
                while not (self._lines or self._closing):
                    self._changed.wait()
                if not self._lines:
                    break
                line = self._lines[0]
            done = self._write(line)
            with self._changed:
                if done:
                    self._lines.popleft()
                    self._waiting -= len(line)
                    self._changed.notify_all()
                elif self._closing:
                    break
                else:
                    self._changed.wait(RETRY)
        if self.path is not None and self._fd >= 0:
            os.close(self._fd)

    def _write(self, data: bytes) -> bool:
        """Writes all of it; False if it fails, which is complained of once until it works again."""
        if self._torn:
            data = b"\n" + data
        try:
            while data:
                written = os.write(self._fd, data)
                self._torn = written < len(data)
                data = data[written:]
        except OSError as error:
            if not self._failing:
                self._failing = True
                self._complain(f"cannot write the log{f' {self.path}' if self.path else ''}: {error.strerror}")
            with self._changed:
                self._changed.notify_all()
            return False
        self._failing = False
        return True


def _open(path: str | None) -> int:
    if path is not None:
        try:
            return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        except OSError as error:
            raise OSError(error.errno, f"cannot open the log file {path}: {error.strerror}") from error
    try:
        # None if the process was started without; its number may be another file's by now.
        return -1 if sys.stderr is None else sys.stderr.fileno()
    except (OSError, ValueError):
        return -1


def _takes_at_once(fd: int) -> bool:
    """Whether it can be known that a write will not block: of a file, a pipe or a socket, or of the null device."""
    if sys.platform == "win32":
        return False
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISCHR(mode):
            return os.path.samestat(os.fstat(fd), os.stat(os.devnull))
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _is_ready(fd: int) -> bool:
    try:
        return bool(select.select((), (fd,), (), 0)[1])
    except (OSError, ValueError):
        return False


def _tell_stderr(text: str) -> None:
    """Says it where somebody may see it, but not if that would block."""
    fd = _open(None)
    if fd < 0:
        return
    if _is_ready(fd):
        with contextlib.suppress(OSError):
            os.write(fd, f"gearfast server: {text}\n".encode())
