# SPDX-License-Identifier: BSD-3-Clause
"""The text protocol, the administrator's half: commands as bytes, replies as typed values.

A reply is one line, or a list of lines that ends in a lone dot; every line ends in a newline, with or without a
carriage return before it. Lines have no limit here: a worker with thousands of functions has a long one. Names are
UTF-8; other bytes in them survive as surrogates.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import unquote_to_bytes

from gearfast.errors import GearfastError, JobNotFound, ProtocolError, ServerError, UsageError, server_error
from gearfast.protocol import MAX_LINE
from gearfast.types import (
    ClusterServer,
    DeadLetter,
    FunctionStatus,
    JobInfo,
    KeptResult,
    PolicyInfo,
    Priority,
    PriorityStatus,
    WorkerInfo,
)

__all__ = ["AdminRequest", "AdminSession"]

T = TypeVar("T")
ERROR_LINE = re.compile(r"ERR ([^\t]*)")
WORKER_LINE = re.compile(r"(-?\d+) (\S*) (.*?) :( .*|)")
ERROR_CODE = re.compile(r"([A-Z][A-Z_]+)(?: (.*))?")


class AdminRequest(Generic[T]):
    """A command, and how its reply is read. `done`, then `error` or `result`."""

    __slots__ = ("_result", "done", "error", "is_list", "line", "parse", "waiter")

    def __init__(self, words: str, parse: Callable[[list[str]], T], is_list: bool = False) -> None:
        self.line = words.encode("utf-8", "surrogateescape")
        if len(self.line) >= MAX_LINE:
            raise UsageError(f"a text command has less than {MAX_LINE} bytes: {words[:80]!r}")
        self.parse = parse
        self.is_list = is_list
        self.done = False
        self.error: GearfastError | None = None
        self.waiter: Any = None
        self._result: T | None = None

    @property
    def result(self) -> T:
        """The reply's value. Raises the request's error."""
        if self.error is not None:
            raise self.error
        return self._result  # type: ignore[return-value]

    def finish(self, lines: list[str]) -> None:
        """Take the reply in. A reply that does not look like one becomes a ProtocolError, raised here too."""
        self.done = True
        try:
            self._result = self.parse(lines)
        except (ValueError, IndexError) as error:
            said = " / ".join(lines)[:200]
            self.error = ProtocolError(f"the reply to {self.line.decode('utf-8', 'replace')!r} is odd: {said!r}")
            raise self.error from error

    def refuse(self, error: GearfastError) -> None:
        """End it with an error."""
        self.done = True
        self.error = error


class AdminSession:
    """The administrator's half of one connection: commands in order, replies in the same order."""

    __slots__ = ("_buffer", "_lines", "_out", "_requests")

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[str] = []
        self._out: list[bytes] = []
        self._requests: deque[AdminRequest[Any]] = deque()

    def send(self, request: AdminRequest[Any]) -> None:
        """Queue a command. It ends in CR LF: gearmand's `create function` loses a letter without the CR."""
        self._out.append(request.line + b"\r\n")
        self._requests.append(request)

    def take_output(self) -> bytes:
        """All bytes to be sent, once."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> list[AdminRequest[Any]]:
        """Take bytes from the server; returns the requests whose replies are complete. Raises ProtocolError."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        finished = []
        for raw in lines:
            if not self._requests:
                raise ProtocolError(f"text {raw[:40]!r} came, but nothing was asked", head=raw[:32])
            request = self._requests[0]
            line = raw.removesuffix(b"\r").decode("utf-8", "surrogateescape")
            refused = ERROR_LINE.fullmatch(line) if not self._lines else None
            if refused:
                request.refuse(_refusal(refused[1]))
            elif not request.is_list:
                request.finish([line])
            elif line == ".":
                lines_of_it, self._lines = self._lines, []
                request.finish(lines_of_it)
            else:
                self._lines.append(line)
                continue
            self._requests.popleft()
            finished.append(request)
        return finished

    def pending(self) -> list[AdminRequest[Any]]:
        """Requests without their reply."""
        return list(self._requests)


def _refusal(text: str) -> ServerError:
    match = ERROR_CODE.fullmatch(text)
    code, words = (match[1], match[2] or "") if match else ("ERR", text)
    words = words.replace("+", " ")
    if code == "UNKNOWN_JOB":
        return JobNotFound(code, words or "the server does not know the job")
    return server_error(code.encode(), words.encode("utf-8", "replace"))


# The commands


def status() -> AdminRequest[list[FunctionStatus]]:
    """`status`: FUNCTION TOTAL RUNNING WORKERS"""

    def parse(lines: list[str]) -> list[FunctionStatus]:
        rows = (line.rsplit("\t", 3) for line in lines)
        return [FunctionStatus(name, int(total), int(running), int(workers)) for name, total, running, workers in rows]

    return AdminRequest("status", parse, is_list=True)


def priority_status() -> AdminRequest[list[PriorityStatus]]:
    """`prioritystatus`: FUNCTION HIGH NORMAL LOW WORKERS"""

    def parse(lines: list[str]) -> list[PriorityStatus]:
        rows = (line.rsplit("\t", 4) for line in lines)
        return [PriorityStatus(name, int(h), int(n), int(low), int(workers)) for name, h, n, low, workers in rows]

    return AdminRequest("prioritystatus", parse, is_list=True)


def workers() -> AdminRequest[list[WorkerInfo]]:
    """`workers`: FD ADDRESS ID : FUNCTION …"""

    def parse(lines: list[str]) -> list[WorkerInfo]:
        found = []
        for line in lines:
            match = WORKER_LINE.fullmatch(line)
            if match is None:
                raise ValueError(line)
            found.append(WorkerInfo(int(match[1]), match[2], match[3], tuple(match[4].split())))
        return found

    return AdminRequest("workers", parse, is_list=True)


def jobs() -> AdminRequest[list[JobInfo]]:
    """`show jobs`: HANDLE RETRIES IGNORE QUEUED"""

    def parse(lines: list[str]) -> list[JobInfo]:
        rows = (line.rsplit("\t", 3) for line in lines)
        return [
            JobInfo(handle, int(retries), ignored == "1", queued == "1") for handle, retries, ignored, queued in rows
        ]

    return AdminRequest("show jobs", parse, is_list=True)


def unique_jobs() -> AdminRequest[list[str]]:
    """`show unique jobs`: UNIQUE"""
    return AdminRequest("show unique jobs", lambda lines: lines, is_list=True)


def cancel_job(handle: str) -> AdminRequest[None]:
    """`cancel job HANDLE`"""
    return AdminRequest(f"cancel job {_word('handle', handle)}", _nothing)


def create_function(function: str) -> AdminRequest[None]:
    """`create function FUNCTION`"""
    return AdminRequest(f"create function {_word('function', function)}", _nothing)


def drop_function(function: str) -> AdminRequest[None]:
    """`drop function FUNCTION`"""
    return AdminRequest(f"drop function {_word('function', function)}", _nothing)


def maxqueue(function: str, *limits: int | None) -> AdminRequest[None]:
    """`maxqueue FUNCTION [HIGH [NORMAL [LOW]]]`; None or 0 is no limit"""
    if len(limits) not in (0, 1, 3):
        raise UsageError(f"maxqueue takes no limit, one for all priorities, or three, not {len(limits)}")
    numbers = []
    for limit in limits:
        if limit is not None and limit < 0:
            raise UsageError(f"a limit is 0 or more jobs, or None, not {limit!r}")
        numbers.append(str(limit or 0))
    return AdminRequest(" ".join(["maxqueue", _word("function", function), *numbers]), _nothing)


def cluster() -> AdminRequest[list[ClusterServer]]:
    """`cluster`: ID HOST PID ADDRESSES JOBS LEASE LAG, with tabs between them"""
    return AdminRequest("cluster", lambda lines: [_server(line) for line in lines], is_list=True)


def _server(line: str) -> ClusterServer:
    id, host, pid, addresses, jobs, lease, lag = line.split("\t")
    return ClusterServer(int(id), host, int(pid), addresses, int(jobs), float(lease), float(lag))


def policies() -> AdminRequest[list[PolicyInfo]]:
    """`policy`: PATTERN KEY=VALUE …"""
    return AdminRequest("policy", lambda lines: [_policy(line) for line in lines], is_list=True)


def policy(function: str) -> AdminRequest[dict[str, str]]:
    """`policy get FUNCTION`: FUNCTION KEY=VALUE …"""

    def parse(lines: list[str]) -> dict[str, str]:
        return _policy(lines[0]).settings if lines else {}

    return AdminRequest(f"policy get {_word('function', function)}", parse, is_list=True)


def set_policy(pattern: str, settings: Mapping[str, object]) -> AdminRequest[None]:
    """`policy set PATTERN KEY=VALUE …`; None takes a key away"""
    if not settings:
        raise UsageError("a policy needs a key at least, such as timeout=30")
    words = [f"{_word('key', key)}={_setting(value)}" for key, value in settings.items()]
    return AdminRequest(" ".join(["policy set", _word("pattern", pattern), *words]), _nothing)


def unset_policy(pattern: str) -> AdminRequest[None]:
    """`policy unset PATTERN`"""
    return AdminRequest(f"policy unset {_word('pattern', pattern)}", _nothing)


def _policy(line: str) -> PolicyInfo:
    pattern, _, words = line.rpartition("\t")
    if not pattern:
        raise ValueError(line)
    return PolicyInfo(pattern, dict(word.split("=", 1) for word in words.split()))


def _setting(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return _word("value", ",".join(f"{name}:{number}" for name, number in value.items()))
    return _word("value", str(value))


def dead_letters(function: str | None = None) -> AdminRequest[list[DeadLetter]]:
    """`dead [FUNCTION]`: HANDLE FUNCTION UNIQUE TRIES REASON TIME"""

    def parse(lines: list[str]) -> list[DeadLetter]:
        rows = (line.split("\t") for line in lines)
        return [
            DeadLetter(handle, _text(name), _bytes(unique), int(tries), reason, float(time))
            for handle, name, unique, tries, reason, time in rows
        ]

    return AdminRequest("dead" if function is None else f"dead {_word('function', function)}", parse, is_list=True)


def dead_letter(handle: str) -> AdminRequest[DeadLetter]:
    """`dead show HANDLE`: KEY VALUE"""

    def parse(lines: list[str]) -> DeadLetter:
        said = dict(line.split("\t", 1) for line in lines)
        try:
            return DeadLetter(
                said["handle"],
                _text(said["function"]),
                _bytes(said["unique"]),
                int(said["tries"]),
                said["reason"],
                float(said["time"]),
                Priority[said["priority"].upper()],
                _bytes(said["workload"]),
                _bytes(said["exception"]) if "exception" in said else None,
            )
        except KeyError as error:
            raise ValueError(str(error)) from None

    return AdminRequest(f"dead show {_word('handle', handle)}", parse, is_list=True)


def requeue_dead(which: str) -> AdminRequest[int]:
    """`dead requeue HANDLE|FUNCTION|*`"""
    return AdminRequest(f"dead requeue {_word('handle or function', which)}", lambda lines: int(_ok(lines)))


def drop_dead(which: str) -> AdminRequest[int]:
    """`dead drop HANDLE|FUNCTION|*`"""
    return AdminRequest(f"dead drop {_word('handle or function', which)}", lambda lines: int(_ok(lines)))


def results(function: str | None = None) -> AdminRequest[list[KeptResult]]:
    """`results [FUNCTION]`: HANDLE FUNCTION UNIQUE OUTCOME SIZE TIME"""

    def parse(lines: list[str]) -> list[KeptResult]:
        rows = (line.split("\t") for line in lines)
        return [
            KeptResult(handle, _text(name), _bytes(unique), outcome, int(size), float(time))
            for handle, name, unique, outcome, size, time in rows
        ]

    return AdminRequest(
        "results" if function is None else f"results {_word('function', function)}", parse, is_list=True
    )


def result(handle: str) -> AdminRequest[KeptResult]:
    """`results show HANDLE`: KEY VALUE"""

    def parse(lines: list[str]) -> KeptResult:
        said = dict(line.split("\t", 1) for line in lines)
        data = said.get("result", said.get("exception"))
        try:
            return KeptResult(
                said["handle"],
                _text(said["function"]),
                _bytes(said["unique"]),
                said["outcome"],
                int(said["size"]),
                float(said["time"]),
                int(said["numerator"]),
                int(said["denominator"]),
                None if data is None else _bytes(data),
            )
        except KeyError as error:
            raise ValueError(str(error)) from None

    return AdminRequest(f"results show {_word('handle', handle)}", parse, is_list=True)


def drop_results(which: str) -> AdminRequest[int]:
    """`results drop HANDLE|FUNCTION|*`"""
    return AdminRequest(f"results drop {_word('handle or function', which)}", lambda lines: int(_ok(lines)))


def _bytes(text: str) -> bytes:
    """Without its percent-escapes."""
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def _text(text: str) -> str:
    return _bytes(text).decode("utf-8", "surrogateescape")


def getpid() -> AdminRequest[int]:
    """`getpid`"""
    return AdminRequest("getpid", lambda lines: int(_ok(lines)))


def version() -> AdminRequest[str]:
    """`version`"""
    return AdminRequest("version", _ok)


def verbose() -> AdminRequest[str]:
    """`verbose`"""
    return AdminRequest("verbose", _ok)


def shutdown(graceful: bool) -> AdminRequest[None]:
    """`shutdown [graceful]`"""
    return AdminRequest("shutdown graceful" if graceful else "shutdown", _nothing)


def _word(what: str, text: str) -> str:
    if not text or any(mark in text for mark in " \r\n\0"):
        raise UsageError(f"the text protocol cannot say this {what}: {text!r}")
    return text


def _ok(lines: list[str]) -> str:
    """What stands behind OK; gearmand before 1.1 sent versions without it."""
    return lines[0].removeprefix("OK").strip()


def _nothing(lines: list[str]) -> None:
    if lines[0].strip() != "OK":
        raise ValueError
