# SPDX-License-Identifier: BSD-3-Clause
"""What was submitted, read off the bytes that went over the connections, and assertions about it.

A `Recorder` is told the bytes of each connection by a `MemoryServer` or a `FaultProxy`. As it sees only what a client
has really sent, no test passes with arguments that would not travel.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields
from difflib import SequenceMatcher
from typing import Final, Literal

from gearfast._codec import Decoder, Packet
from gearfast.errors import ProtocolError
from gearfast.protocol import RESULT_FUNCTION, RESULT_NOW_FUNCTION, Command
from gearfast.types import Priority

__all__ = ["Outcome", "Recorder", "Submission"]

Outcome = Literal["pending", "complete", "failed", "exception", "refused"]
"""What became of a job: nothing yet; WORK_COMPLETE, WORK_FAIL or WORK_EXCEPTION of its worker; ERROR of the server."""

SHOWN: Final = 20
"""Submissions that a failure message lists."""
LONG: Final = 120
"""Bytes of a workload that it shows."""

# Priority and whether it is in the background, of each kind of submission.
KINDS: Final = {
    int(Command.SUBMIT_JOB): (Priority.NORMAL, False),
    int(Command.SUBMIT_JOB_BG): (Priority.NORMAL, True),
    int(Command.SUBMIT_JOB_HIGH): (Priority.HIGH, False),
    int(Command.SUBMIT_JOB_HIGH_BG): (Priority.HIGH, True),
    int(Command.SUBMIT_JOB_LOW): (Priority.LOW, False),
    int(Command.SUBMIT_JOB_LOW_BG): (Priority.LOW, True),
    int(Command.SUBMIT_JOB_EPOCH): (Priority.NORMAL, True),
    int(Command.SUBMIT_JOB_SCHED): (Priority.NORMAL, True),
    int(Command.SUBMIT_REDUCE_JOB): (Priority.NORMAL, False),
    int(Command.SUBMIT_REDUCE_JOB_BACKGROUND): (Priority.NORMAL, True),
}
QUESTIONS: Final = {RESULT_FUNCTION.encode(), RESULT_NOW_FUNCTION.encode()}
"""Functions that the server answers itself: what is submitted of them is no job."""
ENDS: Final[dict[int, Outcome]] = {
    int(Command.WORK_COMPLETE): "complete",
    int(Command.WORK_FAIL): "failed",
    int(Command.WORK_EXCEPTION): "exception",
}


@dataclass(slots=True)
class Submission:
    """A job as a client submitted it. Two submissions may be one job, if the server joined them by their unique."""

    function: str
    workload: bytes
    unique: bytes
    priority: Priority = Priority.NORMAL
    background: bool = False
    at: float | None = None
    """Seconds since 1970 at which it may run (SUBMIT_JOB_EPOCH)."""
    reducer: str = ""
    handle: str = ""
    """As the server gave it; empty before, and if it was refused."""
    outcome: Outcome = "pending"
    result: bytes = b""
    """The result, the text of the exception, or that of the refusal."""
    data: list[bytes] = field(default_factory=list)
    """What the worker sent of the result before its end (WORK_DATA)."""

    def __str__(self) -> str:
        workload = repr(self.workload[:LONG]) + (f"… ({len(self.workload)} bytes)" if self.workload[LONG:] else "")
        words = [f"{self.function!r} {workload} unique={self.unique!r} priority={self.priority.value}"]
        words.append("background" if self.background else "foreground")
        if self.at is not None:
            words.append(f"at={self.at:g}")
        if self.reducer:
            words.append(f"reducer={self.reducer!r}")
        words.append(
            self.outcome if self.outcome in ("pending", "failed") else f"{self.outcome} {self.result[:LONG]!r}"
        )
        return " ".join(words)


@dataclass
class _Link:
    """A connection: both directions, and its requests that may be answered by JOB_CREATED or ERROR, oldest first."""

    up: Decoder = field(default_factory=Decoder)
    down: Decoder = field(default_factory=Decoder)
    asked: deque[Submission | None] = field(default_factory=deque)


class Recorder:
    """All submissions in the order of their arrival, with what became of them. Safe to use from many threads.

    Questions for results (`Client.result`) are none.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[Hashable, _Link] = {}
        self._submissions: list[Submission] = []
        self._by_handle: dict[str, list[Submission]] = {}

    @property
    def submissions(self) -> list[Submission]:
        """All of them, as far as they have reached the server."""
        with self._lock:
            return list(self._submissions)

    def of(self, function: str) -> list[Submission]:
        """Those of one function."""
        return [submission for submission in self.submissions if submission.function == function]

    def clear(self) -> None:
        """Forget what was submitted so far; jobs that are still in the server keep their handles, and are not told."""
        with self._lock:
            self._submissions.clear()
            self._by_handle.clear()

    def assert_submitted(
        self,
        function: str,
        workload: bytes | str | Callable[[bytes], bool] | None = None,
        *,
        unique: bytes | str | None = None,
        priority: Priority | None = None,
        background: bool | None = None,
        at: float | None = None,
        times: int | None = None,
    ) -> list[Submission]:
        """Assert that there are submissions like this, and return them. What is None may be anything.

        `workload`: bytes, text (as UTF-8), or what is called with the bytes. `times`: so many, not just any number.
        Raises AssertionError, which lists what was submitted, and how the nearest differs.
        """
        __tracebackhide__ = True
        wanted: dict[str, object] = {"function": function, "workload": _bytes(workload), "unique": _bytes(unique)}
        wanted |= {"priority": priority, "background": background, "at": at}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        every = self.submissions
        found = [submission for submission in every if not _differences(submission, wanted)]
        if found if times is None else len(found) == times:
            return found
        raise AssertionError(_complaint(wanted, times, found, every))

    def assert_not_submitted(self, function: str) -> None:
        """Assert that no job of this function was submitted."""
        __tracebackhide__ = True
        found = self.of(function)
        if found:
            raise AssertionError(f"function {function!r} was submitted:\n{_list(found)}")

    def assert_nothing_submitted(self) -> None:
        """Assert that no job was submitted at all."""
        __tracebackhide__ = True
        found = self.submissions
        if found:
            raise AssertionError(f"{len(found)} submitted, and none was to be:\n{_list(found)}")

    # What a server or relay tells.

    def sent(self, link: Hashable, data: bytes | memoryview) -> None:
        """A client or worker sent bytes. `link` names its connection and is not used again for another one."""
        with self._lock:
            connection = self._links.setdefault(link, _Link())
            for packet in _packets(connection.up, data):
                self._sent(connection, packet)

    def answered(self, link: Hashable, data: bytes | memoryview) -> None:
        """The server sent bytes."""
        with self._lock:
            connection = self._links.setdefault(link, _Link())
            for packet in _packets(connection.down, data):
                self._answered(connection, packet)

    def ended(self, link: Hashable) -> None:
        """The connection is gone."""
        with self._lock:
            self._links.pop(link, None)

    def _sent(self, connection: _Link, packet: Packet) -> None:
        kind = KINDS.get(packet.command)
        if packet.command == Command.OPTION_REQ or (kind is not None and packet.args[0] in QUESTIONS):
            connection.asked.append(None)
        elif kind is not None:
            submission = _submission(packet, *kind)
            self._submissions.append(submission)
            connection.asked.append(submission)
        elif packet.command in ENDS or packet.command == Command.WORK_DATA:
            for submission in self._by_handle.get(_text(packet.args[0]), ()):
                if packet.command == Command.WORK_DATA:
                    submission.data.append(packet.args[1])
                elif submission.outcome == "pending":
                    submission.outcome = ENDS[packet.command]
                    submission.result = packet.args[1] if len(packet.args) > 1 else b""

    def _answered(self, connection: _Link, packet: Packet) -> None:
        asked = connection.asked
        if packet.command not in (Command.JOB_CREATED, Command.ERROR, Command.OPTION_RES) or not asked:
            return
        submission = asked.popleft()
        if submission is None:
            return
        if packet.command == Command.JOB_CREATED:
            submission.handle = _text(packet.args[0])
            self._by_handle.setdefault(submission.handle, []).append(submission)
        else:
            submission.outcome = "refused"
            submission.result = packet.args[0]


def _submission(packet: Packet, priority: Priority, background: bool) -> Submission:
    function, unique, *middle, workload = packet.args
    at = float(middle[0]) if packet.command == Command.SUBMIT_JOB_EPOCH and middle[0].isdigit() else None
    reduces = packet.command in (Command.SUBMIT_REDUCE_JOB, Command.SUBMIT_REDUCE_JOB_BACKGROUND)
    reducer = _text(middle[0]) if reduces else ""
    return Submission(_text(function), workload, unique, priority, background, at, reducer)


def _packets(decoder: Decoder, data: bytes | memoryview) -> list[Packet]:
    """The packets that end in `data`. Text commands are not looked at; what is no Gearman is the server's matter."""
    if decoder.failed:
        return []
    try:
        found = decoder.receive(data)
    except ProtocolError as error:
        found = error.packets
    return [packet for packet in found if isinstance(packet, Packet)]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _bytes(value: bytes | str | Callable[[bytes], bool] | None) -> bytes | Callable[[bytes], bool] | None:
    return value.encode() if isinstance(value, str) else value


def _differences(submission: Submission, wanted: dict[str, object]) -> list[str]:
    """Names of what is not as wanted."""
    wrong = []
    for name, value in wanted.items():
        actual = getattr(submission, name)
        if not (value(actual) if callable(value) else value == actual):
            wrong.append(name)
    return wrong


def _likeness(submission: Submission, wanted: dict[str, object]) -> float:
    """How near a submission is to what is wanted: what is equal counts 1, what is similar less."""
    score = 0.0
    for name, value in wanted.items():
        actual = getattr(submission, name)
        weight = 2.0 if name == "function" else 1.0
        if not callable(value) and value == actual:
            score += weight
        elif isinstance(value, bytes):
            score += 0.9 * SequenceMatcher(None, value[:LONG], actual[:LONG]).ratio()
        elif isinstance(value, str):
            score += 0.9 * weight * SequenceMatcher(None, value, actual).ratio()
    return score


def _complaint(wanted: dict[str, object], times: int | None, found: list[Submission], every: list[Submission]) -> str:
    told = ", ".join(f"{name}={_shown(value)}" for name, value in wanted.items())
    if found:
        return f"expected {times} submissions with {told}, found {len(found)}; submitted:\n{_list(every)}"
    lines = [f"no job was submitted with {told}"]
    if not every:
        return f"{lines[0]}, nor any other"
    nearest = max(every, key=lambda submission: _likeness(submission, wanted))
    lines.append(f"submitted:\n{_list(every)}\nthe nearest:\n  {nearest}")
    names = [each.name for each in fields(Submission)]
    lines.extend(
        f"    {name}: expected {_shown(wanted[name])}, not {_shown(getattr(nearest, name))}"
        for name in sorted(_differences(nearest, wanted), key=names.index)
    )
    return "\n".join(lines)


def _shown(value: object) -> str:
    if isinstance(value, Priority):
        return value.value
    if isinstance(value, bytes) and value[LONG:]:
        return f"{value[:LONG]!r}… ({len(value)} bytes)"
    return getattr(value, "__name__", None) or repr(value)


def _list(submissions: list[Submission]) -> str:
    lines = [f"  {submission}" for submission in submissions[:SHOWN]]
    if submissions[SHOWN:]:
        lines.append(f"  … and {len(submissions) - SHOWN} more")
    return "\n".join(lines)
