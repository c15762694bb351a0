# SPDX-License-Identifier: BSD-3-Clause
"""Child processes of a worker, for functions that need a CPU to themselves.

One child does one job at a time. The worker's thread that has the job waits for it here and passes on what it says, so
the job looks the same on both sides of the pipe. A child that dies takes only its own job with it.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gearfast.errors import Cancelled, Fail, UsageError
from gearfast.session.crew import CHECK_SECONDS, OVERDUE_SECONDS
from gearfast.session.job import BaseJob, Place, current
from gearfast.session.results import RemoteError, check_size, describe, text_of, to_bytes, traceback_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

__all__ = ["ChildDied", "Children", "check_not_a_child", "pickled"]

COMPLETE: Final = 0
FAIL: Final = 1
EXCEPTION: Final = 2
CANCELLED: Final = 3
TELL: Final = 4
LOOK: Final = 5
END_SECONDS: Final = 5.0
"""A child that was told to end, or was killed, is waited for so long."""


class ChildDied(RemoteError):
    """The child process that did a job is gone; the text tells its exit code or signal."""

    def __init__(self, text: str) -> None:
        super().__init__(f"ChildDied: {text}".encode(), "")


class Facts(NamedTuple):
    """What a child gets of a job; it has the names that a job reads from a worker's assignment."""

    handle: bytes
    function: bytes
    unique: bytes
    reducer: bytes
    workload: bytes
    deadline: float | None
    server: str
    max_result: int
    assigned_at: float = 0.0
    cancelled: bool = False
    lost: bool = False

    @property
    def session(self) -> Facts:
        """Where a job finds its server's name and the worker's limit."""
        return self


def pickled(callable_: Callable[[Any], Any], name: str) -> bytes:
    """A callable as bytes for a child, which imports it by its name. Raises UsageError."""
    try:
        return pickle.dumps(callable_)
    except Exception as error:
        raise UsageError(
            f"function {name!r} cannot run in a child process: {error}; it must be importable by its name"
        ) from error


def check_not_a_child() -> None:
    """Raise UsageError where a child process imports the program's main module, which must not start to work there."""
    import sys

    process = sys.modules.get("multiprocessing.process")
    if process is not None and getattr(process.current_process(), "_inheriting", False):
        raise UsageError("a child process came here by importing the main module: guard it by __name__ == '__main__'")


class Children:
    """At most `most` child processes, started when they are needed. Safe to use from many threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Condition()
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._starting = 0

    def run(self, task: bytes, job: BaseJob) -> bytes:
        """Let a child do the job; returns what it gives back. Raises what the callable raised, or ChildDied."""
        child = self._take()
        try:
            result = child.run(task, job)
        except ChildDied:
            self._discard(child)
            raise
        except (RemoteError, Fail, Cancelled):
            self._give_back(child)
            raise
        except BaseException:
            self._discard(child)
            raise
        self._give_back(child)
        return result

    def close(self) -> None:
        """End all children. Those that have a job are killed."""
        with self._lock:
            children, idle = list(self._all), list(self._idle)
            self._all.clear()
            self._idle.clear()
            self._lock.notify_all()
        for child in children:
            child.end(kill=child not in idle)
        for child in children:
            child.wait()

    def forked(self) -> None:
        """In a forked child of the worker: these are the parent's."""
        self._lock = threading.Condition()
        self._idle.clear()
        self._all.clear()

    def _take(self) -> Child:
        with self._lock:
            while not self._idle:
                if len(self._all) + self._starting < self._most:
                    self._starting += 1
                    break
                self._lock.wait()
            else:
                return self._idle.pop()
        child = None
        try:
            child = Child()
        finally:
            with self._lock:
                self._starting -= 1
                if child is not None:
                    self._all.add(child)
                else:
                    self._lock.notify()
        return child

    def _give_back(self, child: Child) -> None:
        with self._lock:
            if child in self._all:
                self._idle.append(child)
                self._lock.notify()

    def _discard(self, child: Child) -> None:
        child.end(kill=True)
        child.wait()
        with self._lock:
            self._all.discard(child)
            self._lock.notify()


class Child:
    """One child process and the pipe to it."""

    def __init__(self) -> None:
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(theirs,), name="gearfast-child", daemon=True)
        try:
            self._process.start()
        except BaseException:
            self._pipe.close()
            raise
        finally:
            theirs.close()

    def run(self, task: bytes, job: BaseJob) -> bytes:
        """As `Children.run`."""
        facts = _facts(job)
        limit = inf if facts.deadline is None else facts.deadline + OVERDUE_SECONDS
        looks = False
        try:
            self._pipe.send((task, facts))
            while True:
                left = max(0.0, limit - monotonic())
                if not self._pipe.poll(min(left, CHECK_SECONDS) if looks else None if left == inf else left):
                    if monotonic() >= limit:
                        raise TimeoutError("it was still running after its time-out; its child process was killed")
                    if job.cancelled:
                        looks = False
                        self._pipe.send(True)
                    continue
                kind, *values = self._pipe.recv()
                if kind == LOOK:
                    looks = True
                elif kind == TELL:
                    getattr(job, values[0])(*values[1:])
                else:
                    return _outcome(kind, values)
        except (EOFError, ConnectionError, pickle.UnpicklingError):
            self.wait()
            raise ChildDied(f"its child process died: {_cause(self._process.exitcode)}") from None

    def end(self, *, kill: bool) -> None:
        """Let it end, or kill it."""
        if kill:
            self._process.kill()
        else:
            self._pipe.close()

    def wait(self) -> None:
        """Wait until it has ended, and give back what it used."""
        self._process.join(END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _facts(job: BaseJob) -> Facts:
    a = job._assignment
    return Facts(
        a.handle, a.function, a.unique, a.reducer, bytes(a.workload), a.deadline, job.server, a.session.max_result
    )


def _outcome(kind: int, values: list[Any]) -> bytes:
    if kind == COMPLETE:
        result: bytes = values[0]
        return result
    if kind == FAIL:
        raise Fail(*values)
    if kind == CANCELLED:
        raise Cancelled(*values)
    raise RemoteError(*values)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


# In the child


class _Far:
    """The job's desk in the child: what it says goes to the worker."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.lock = threading.Lock()
        self.asked = False
        self.cancelled = False

    def send(self, *message: object) -> None:
        with self.lock:
            self.pipe.send(message)


class Job(BaseJob):
    """A job in a child process: the same names as everywhere."""

    __slots__ = ("_far",)
    _far: _Far

    def __new__(cls, far: _Far, facts: Facts) -> Job:
        job = super().__new__(cls, None, facts)  # type: ignore[arg-type]
        job._far = far
        return job

    @property
    def cancelled(self) -> bool:
        far = self._far
        if not far.asked:
            far.asked = True
            far.send(LOOK)
        if not far.cancelled and far.pipe.poll(0):
            far.cancelled = far.pipe.recv()
        return far.cancelled

    def send_status(self, numerator: int, denominator: int) -> None:
        self._far.send(TELL, "send_status", int(numerator), int(denominator))

    def send_data(self, data: bytes | bytearray | memoryview | str) -> None:
        self._far.send(TELL, "send_data", bytes(self._sendable(data, "data")))

    def send_warning(self, data: bytes | bytearray | memoryview | str) -> None:
        self._far.send(TELL, "send_warning", bytes(self._sendable(data, "a warning")))


def _serve(pipe: Connection) -> None:
    """A child's life: jobs, until the worker closes its end."""
    with contextlib.suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the worker decides
    tasks: dict[bytes, Any] = {}
    me = os.getpid()
    while os.getpid() == me:  # a copy that the callable forked has no say
        try:
            message = pipe.recv()
        except (EOFError, ConnectionError):
            return
        if not isinstance(message, tuple):
            continue  # that a job was cancelled which has ended since
        task, facts = message
        far = _Far(pipe)
        outcome = _do(tasks, task, Job(far, facts))
        if os.getpid() == me:
            with contextlib.suppress(ConnectionError):
                far.send(*outcome)


def _do(tasks: dict[bytes, Any], task: bytes, job: Job) -> tuple[object, ...]:
    current.set(Place(job))
    try:
        if task not in tasks:
            tasks[task] = pickle.loads(task)
        result = to_bytes(tasks[task](job), f"the result of function {job.function!r}")
        check_size(job._assignment, "result", result)
        return COMPLETE, bytes(result)
    except Fail as error:
        return FAIL, text_of(error)
    except Cancelled as error:
        return CANCELLED, text_of(error)
    except Exception as error:  # noqa: BLE001
        return EXCEPTION, describe(error), traceback_of(error)
    finally:
        current.set(None)
