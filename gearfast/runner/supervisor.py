# SPDX-License-Identifier: BSD-3-Clause
"""The parent of worker processes: starts them, replaces those that end, and ends them all in order.

Everything happens in one loop that sleeps until a signal, a word of a process, or a time that is due. POSIX only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import selectors
import signal
import socket
import subprocess
from collections import deque
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Final

from gearfast.errors import UsageError
from gearfast.frontend.stop_signals import TOGETHER_SECONDS
from gearfast.runner.settings import VARIABLE
from gearfast.session.routing import retry_delay

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Supervisor"]

log = logging.getLogger("gearfast.worker")

STEADY_SECONDS: Final = 60.0
"""A process that worked so long before it crashed is replaced as if it were the first that did."""

AT_ONCE_SECONDS: Final = 2.0
"""What is left of the stop time-out after a second signal."""

CANNOT_START: Final = 2
"""Exit status of a process whose program is wrong: to start it again would change nothing."""

CUT_OFF: Final = 4
"""Exit status of a supervisor that had to kill processes, whose jobs go back to the queue."""


class Process:
    """A child process and what it has said."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            try:
                # A session of its own: Ctrl-C at the terminal is for the supervisor, which lets jobs finish.
                self._popen = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    env=environ | {VARIABLE: str(theirs.fileno())},
                    start_new_session=True,
                )
            except BaseException:
                self.socket.close()
                raise
        self.socket.setblocking(False)
        self.pid = self._popen.pid
        self.words: set[str] = set()
        self.ready_at = inf
        self.kill_at = inf
        self.told_to_stop = False
        self.was_killed = False
        self._buffer = b""

    def read(self) -> None:
        """Take in what it says."""
        with contextlib.suppress(OSError):
            while data := self.socket.recv(4096):
                *lines, self._buffer = (self._buffer + data).split(b"\n")
                self.words.update(line.decode("ascii", "replace") for line in lines)
        if "ready" in self.words and self.ready_at == inf:
            self.ready_at = monotonic()

    @property
    def is_ready(self) -> bool:
        """It has loaded its worker."""
        return self.ready_at != inf

    def status(self) -> int | None:
        """Exit status once it has ended, negative for a signal."""
        return self._popen.poll()

    def stop(self, seconds: float, again: bool = False) -> None:
        """Let it finish its jobs, for so many seconds; `again`: it gets a second signal, and ends at once."""
        if again or not self.told_to_stop:
            self._popen.terminate()
        self.told_to_stop = True
        self.kill_at = min(self.kill_at, monotonic() + seconds)

    def kill(self) -> None:
        """End it at once."""
        self.was_killed = True
        self.kill_at = inf
        self._popen.kill()


class Slot:
    """The place of one process. `coming`: the one that shall take over; `leaving`: the one that it takes over from."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Process | None = None
        self.coming: Process | None = None
        self.leaving: Process | None = None
        self.start_at = 0.0
        self.failures = 0
        self.done = False

    def processes(self) -> list[Process]:
        """All of its processes."""
        return [process for process in (self.process, self.coming, self.leaving) if process is not None]


class Supervisor:
    """Keeps `processes` processes of `command` running.

    SIGTERM or SIGINT: each finishes its jobs and leaves, for `stop_timeout` seconds, then it is killed; a second signal
    ends all at once. SIGHUP: they are replaced one after another, each by one that has begun before the old one leaves.
    A process that crashes is replaced, at once the first time, then after up to 30 s.
    `changes`: called with a function; it watches the program's files from a thread and calls that when they change.
    """

    def __init__(
        self,
        command: list[str],
        *,
        processes: int = 1,
        stop_timeout: float = 30.0,
        changes: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        if processes < 1:
            raise UsageError(f"at least 1 process, not {processes}")
        if stop_timeout < 0:
            raise UsageError(f"the stop time-out is 0 seconds or more, not {stop_timeout:g}")
        self._command = command
        self._stop_timeout = stop_timeout
        self._changes = changes
        self._slots = [Slot(number) for number in range(processes)]
        self._rolling: deque[Slot] = deque()
        self._replaced: Slot | None = None
        self._selector = selectors.DefaultSelector()
        self._signals: deque[int] = deque()
        self._stop_signals: list[int] = []
        self._stopped_at = 0.0
        self._changed = False
        self._ever_ready = False
        self._status = 0

    def run(self) -> int:
        """Returns the exit status once all processes have ended.

        0: all left in order; 2: the program could not be started; 4: some had to be killed; 128 + N after a second
        signal N; else the status of a process that had nothing more to do.
        """
        with contextlib.ExitStack() as stack:
            stack.callback(self._selector.close)
            stack.callback(self._kill_all)
            wake = self._hear_signals(stack)
            if self._changes is not None:

                def changed() -> None:
                    self._changed = True
                    wake()

                self._changes(changed)
            while True:
                self._take_signals()
                for slot in self._slots:
                    self._reap(slot)
                self._kill_overdue()
                if all(slot.done and not slot.processes() for slot in self._slots):
                    return self._status
                self._start_due()
                self._roll()
                for key, _ in self._selector.select(self._pause()):
                    if isinstance(key.data, Process):
                        self._hear(key.data)
                    else:
                        key.data()

    # Signals

    def _hear_signals(self, stack: contextlib.ExitStack) -> Callable[[], None]:
        """Let signals wake the loop. Returns what wakes it from elsewhere."""
        ours, theirs = socket.socketpair()
        for one in (ours, theirs):
            stack.enter_context(one)
            one.setblocking(False)

        def drain() -> None:
            with contextlib.suppress(OSError):
                while ours.recv(4096):
                    pass

        def wake() -> None:
            with contextlib.suppress(OSError):
                theirs.send(b"\0")

        self._selector.register(ours, selectors.EVENT_READ, drain)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        stack.callback(signal.set_wakeup_fd, before)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            # nohup has SIGHUP ignored, and means it.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.signal(number, self._signalled))
        return wake

    def _signalled(self, number: int, frame: object) -> None:
        self._signals.append(number)

    def _take_signals(self) -> None:
        while self._signals:
            number = self._signals.popleft()
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stop(number)
            elif number == signal.SIGHUP:
                log.info("SIGHUP: processes are replaced one after another")
                self._replace_all()
        if self._changed:
            self._changed = False
            log.info("files have changed: processes are replaced one after another")
            self._replace_all()

    def _stop(self, number: int) -> None:
        again = bool(self._stop_signals)
        now = monotonic()
        if number in self._stop_signals[-1:] and now - self._stopped_at < TOGETHER_SECONDS:
            return
        self._stopped_at = now
        self._stop_signals.append(number)
        self._rolling.clear()
        if again:
            self._status = 128 + number
            log.info("%s, the second signal: jobs in hand are given up", signal.Signals(number).name)
        else:
            log.info("%s: jobs in hand are finished", signal.Signals(number).name)
        for slot in self._slots:
            slot.done = True
            for process in slot.processes():
                process.stop(AT_ONCE_SECONDS if again else self._stop_timeout, again)

    def _replace_all(self) -> None:
        if not self._stop_signals:
            self._rolling.extend(slot for slot in self._slots if slot not in self._rolling and not slot.done)

    # Processes

    def _spawn(self) -> Process | None:
        try:
            process = Process(self._command, dict(os.environ))
        except OSError as error:
            log.error("cannot start a process: %s", error.strerror)
            return None
        self._selector.register(process.socket, selectors.EVENT_READ, process)
        return process

    def _vacant(self) -> list[Slot]:
        """Slots that need a process: one until one was ready, so that a wrong program is told of once."""
        if not self._ever_ready and any(slot.process for slot in self._slots):
            return []
        vacant = [slot for slot in self._slots if not (slot.done or slot.process or slot.coming)]
        return vacant if self._ever_ready else vacant[:1]

    def _start_due(self) -> None:
        now = monotonic()
        for slot in self._vacant():
            if slot.start_at <= now:
                slot.process = self._spawn()
                if slot.process is None:
                    self._delay(slot)

    def _hear(self, process: Process) -> None:
        process.read()
        if process.is_ready:
            self._ever_ready = True
        if not process.words.isdisjoint(("again", "done")):
            # Its jobs are finished; a thread of the program may still keep it from ending.
            process.kill_at = min(process.kill_at, monotonic() + self._stop_timeout)

    def _reap(self, slot: Slot) -> None:
        """See which of its processes have ended, and what follows from it."""
        for process in slot.processes():
            status = process.status()
            if status is None:
                continue
            self._hear(process)  # its last words
            self._selector.unregister(process.socket)
            process.socket.close()
            if process is slot.leaving:
                slot.leaving = None
            elif process is slot.coming:
                slot.coming = None
                self._rolling.clear()
                log.error("the new process ended %s before it began; the old ones stay", _ending(status))
            else:
                slot.process = None
                self._ended(slot, process, status)

    def _ended(self, slot: Slot, process: Process, status: int) -> None:
        if self._stop_signals or process.told_to_stop:
            return
        if "again" in process.words and status == 0:
            log.info("process %d has left and is replaced", process.pid)
            slot.failures = 0
            slot.start_at = 0.0
        elif "done" in process.words:
            slot.done = True
            self._status = self._status or max(status, 0)
        elif status == CANNOT_START and not process.is_ready and not self._ever_ready:
            self._stop_signals.append(0)  # no process will ever start: its own message says why
            self._status = CANNOT_START
            for each in self._slots:
                each.done = True
                for other in each.processes():
                    other.stop(AT_ONCE_SECONDS)
        else:
            steady = monotonic() - process.ready_at >= STEADY_SECONDS
            slot.failures = 0 if steady else slot.failures
            delay = self._delay(slot)
            log.error("process %d ended %s; another one starts in %.1f s", process.pid, _ending(status), delay)

    def _delay(self, slot: Slot) -> float:
        """Let the next process of a slot wait; the more often one crashed, the longer."""
        slot.failures += 1
        seconds = retry_delay(slot.failures, random.random())
        slot.start_at = monotonic() + seconds
        return seconds

    def _kill_overdue(self) -> None:
        now = monotonic()
        for slot in self._slots:
            for process in slot.processes():
                if process.kill_at <= now:
                    process.kill()
                    log.warning("process %d did not leave in time and is killed; its jobs go back", process.pid)
                    if len(self._stop_signals) == 1:
                        self._status = self._status or CUT_OFF

    def _roll(self) -> None:
        """Replace the first slot that is to be: start another process, and when it is ready stop the old one."""
        while self._rolling:
            slot = self._rolling[0]
            if slot.leaving is not None:  # it finishes its jobs
                return
            if slot is self._replaced or (slot.process is None and slot.coming is None):
                self._replaced = None
                slot.start_at = 0.0  # one that waits after a crash waits no longer
                self._rolling.popleft()
            elif slot.coming is None:
                slot.coming = self._spawn()
                if slot.coming is None:
                    self._rolling.clear()
                return
            elif not slot.coming.is_ready:
                return
            else:
                slot.process, slot.leaving, slot.coming = slot.coming, slot.process, None
                self._replaced = slot
                if slot.leaving is not None:
                    slot.leaving.stop(self._stop_timeout)

    def _pause(self) -> float | None:
        """Seconds until something is due."""
        times = [slot.start_at for slot in self._vacant()]
        times += [process.kill_at for slot in self._slots for process in slot.processes()]
        until = min(times, default=inf)
        return None if until == inf else max(0.0, until - monotonic())

    def _kill_all(self) -> None:
        """However the loop ended, no process stays."""
        for slot in self._slots:
            for process in slot.processes():
                process.kill()
                process.socket.close()


def _ending(status: int) -> str:
    if status >= 0:
        return f"with status {status}"
    with contextlib.suppress(ValueError):
        return f"by {signal.Signals(-status).name}"
    return f"by signal {-status}"
