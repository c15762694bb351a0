# SPDX-License-Identifier: BSD-3-Clause
"""Jobs that a program does: the workload on its standard input, the result on its standard output."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Final, Literal

from gearfast.errors import Fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gearfast.sync.worker import Job

__all__ = ["CommandFunction", "Stderr"]

log = logging.getLogger("gearfast.worker")

Stderr = Literal["log", "warn", "inherit"]

GRACE: Final = 5.0
"""Seconds that a program has between SIGTERM and SIGKILL when its time is over."""

CHUNK: Final = 1 << 16


class CommandFunction:
    """A worker's function that runs a program for each job; without words it prints the workload, as `gearman -w`.

    `pieces`: what is sent as WORK_DATA while the program runs: nothing (""), each line ("lines"), each line without
    its newline ("bare"), or output as it comes ("stream"). `stderr`: what becomes of its standard error: log lines,
    WORK_WARNING, or that of the worker. `limit`: seconds after which it is ended and the job fails.
    `count`: called with the number of jobs done, after each.
    """

    def __init__(
        self,
        words: list[str],
        *,
        pieces: Literal["", "lines", "bare", "stream"] = "",
        stderr: Stderr = "log",
        limit: float | None = None,
        count: Callable[[int], None] = lambda done: None,
    ) -> None:
        self._words = words
        self._pieces = pieces
        self._stderr = stderr
        self._limit = limit
        self._count = count
        self._done = 0
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()

    def __call__(self, job: Job) -> bytes:
        """Does one job. Raises Fail."""
        try:
            if self._words:
                return self._run(job)
            with self._lock:
                sys.stdout.buffer.write(job.workload)
                sys.stdout.buffer.flush()
            return b""
        finally:
            with self._lock:
                self._done += 1
                done = self._done
            self._count(done)

    def kill(self) -> None:
        """End all programs that run, at once."""
        for process in list(self._running):
            _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))

    # Inside

    def _run(self, job: Job) -> bytes:
        process = self._start(job)
        self._running.add(process)
        timer = _Timer(process, self._limit)
        try:
            with process:
                if self._pieces:
                    output, errors = b"", self._send_pieces(job, process)
                else:
                    output, errors = process.communicate(job.workload)
        except BaseException:
            _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
            raise
        finally:
            timer.cancel()
            self._running.discard(process)
        self._tell_errors(job, (errors or b"").splitlines(keepends=True))
        if process.returncode != 0 or timer.over:
            if output:
                job.send_data(output)
            raise Fail(f"{self._words[0]}: {self._ending(process.returncode, timer.over)}\n")
        return output

    def _ending(self, status: int, over: bool) -> str:
        if over:
            return f"took longer than {self._limit:g} s"
        if status >= 0:
            return f"exit status {status}"
        with contextlib.suppress(ValueError):
            return f"ended by {signal.Signals(-status).name}"
        return f"ended by signal {-status}"

    def _start(self, job: Job) -> subprocess.Popen[bytes]:
        environ = os.environ | {
            "GEARFAST_FUNCTION": job.function.replace("\0", ""),
            "GEARFAST_HANDLE": job.handle,
            "GEARFAST_UNIQUE": job.unique.decode("utf-8", "backslashreplace").replace("\0", ""),
        }
        try:
            # A session of its own: Ctrl-C at the terminal is for the worker, which lets the job finish.
            return subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if self._stderr == "inherit" else subprocess.PIPE,
                env=environ,
                start_new_session=True,
            )
        except OSError as error:
            raise Fail(f"{self._words[0]}: {error.strerror}\n") from None

    def _send_pieces(self, job: Job, process: subprocess.Popen[bytes]) -> bytes:
        """Sends output while the program runs. Returns nothing: errors are told as they come, too."""
        assert process.stdin is not None
        assert process.stdout is not None
        others = [threading.Thread(target=_feed, args=(process.stdin, job.workload))]
        if process.stderr is not None:
            others.append(threading.Thread(target=self._tell_errors, args=(job, process.stderr)))
        for thread in others:
            thread.start()
        if self._pieces == "stream":
            while piece := process.stdout.read1(CHUNK):  # type: ignore[attr-defined]
                job.send_data(piece)
        else:
            for line in process.stdout:
                job.send_data(line.removesuffix(b"\n") if self._pieces == "bare" else line)
        for thread in others:
            thread.join()
        process.wait()
        return b""

    def _tell_errors(self, job: Job, lines: Iterable[bytes]) -> None:
        for line in lines:
            if self._stderr == "warn":
                job.send_warning(line)
            else:
                facts = {"function": job.function, "handle": job.handle}
                text = line.decode("utf-8", "backslashreplace").rstrip()
                log.warning("%s %s: %s", job.function, job.handle, text, extra=facts)


class _Timer:
    """Ends a program when its time is over."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float | None) -> None:
        self.over = False
        self._process = process
        self._timer = None if seconds is None else threading.Timer(seconds, self._end)
        self._start()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def _end(self) -> None:
        if not self.over:
            self.over = True
            _signal(self._process, signal.SIGTERM)
            self._timer = threading.Timer(GRACE, self._end)
            self._start()
        else:
            _signal(self._process, getattr(signal, "SIGKILL", signal.SIGTERM))

    def cancel(self) -> None:
        """The program has ended."""
        if self._timer is not None:
            self._timer.cancel()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    """To the program and all that it has started in its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.terminate()


def _feed(pipe: IO[bytes], data: bytes) -> None:
    # The command may end without reading all of it.
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(data)
