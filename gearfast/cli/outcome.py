# SPDX-License-Identifier: BSD-3-Clause
"""What `gearfast submit` shows of a job: results, data, warnings and statuses as `gearman` does, or JSON, or files."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from gearfast.cli import FAILED, OK, status_of
from gearfast.errors import GearfastError, JobException, JobFailed, UsageError
from gearfast.session.events import Data, Status, Warning

if TYPE_CHECKING:
    import argparse

    from gearfast.cli.bar import Bar
    from gearfast.session.events import Event
    from gearfast.sync.future import JobFuture

__all__ = ["Outcomes"]


class Outcomes:
    """Shows one job after the other. `many`: several functions, whose results need folders of their own."""

    def __init__(self, args: argparse.Namespace, bar: Bar | None, many: bool) -> None:
        self._json: bool = args.json
        self._prefix: bool = args.prefix
        self._verbose: bool = args.verbose
        self._progress: bool = args.progress
        self._output: str | None = args.output
        self._bar = bar
        self._many = many

    def accepted(self, function: str, handle: str, name: str) -> None:
        """A background job is with its server."""
        if self._json:
            self._line(sys.stdout, json.dumps({"function": function, "handle": handle} | _file(name)))
        elif self._verbose:
            self._line(sys.stdout, f"Task created: {handle}")

    def show(self, future: JobFuture, name: str) -> int:
        """Shows what comes of a job until it ends; returns the exit status for it."""
        kept: list[bytes] = []
        warnings: list[bytes] = []
        error: GearfastError | None = None
        keeps = self._json or self._output is not None
        told = not self._verbose
        for event in future.events():
            told = told or self._created(future)
            if keeps and isinstance(event, Data):
                kept.append(event.data)
            elif self._json and isinstance(event, Warning):
                warnings.append(event.data)
            else:
                self._event(future.function, event)
        try:
            kept.append(future.result())
        except GearfastError as failure:
            error = failure
        if not told:
            self._created(future)
        if error is None and self._output is not None:
            self._store(self._output, future.function, name, b"".join(kept))
            kept.clear()
        if self._json:
            self._line(sys.stdout, json.dumps(_as_json(future, b"".join(kept), warnings, error) | _file(name)))
        elif error is not None:
            self._complain(future.function, error, name)
        elif kept and (kept[-1] or self._prefix):
            self._write(sys.stdout, self._head(future.function).encode() + kept[-1])
        return OK if error is None else status_of(error) or FAILED

    # Inside

    def _head(self, function: str) -> str:
        return f"{function}: " if self._prefix else ""

    def _created(self, future: JobFuture) -> bool:
        if future.handle and not self._json:
            self._line(sys.stdout, f"Task created: {future.handle}")
        return True

    def _event(self, function: str, event: Event) -> None:
        if isinstance(event, Data):
            self._write(sys.stdout, self._head(function).encode() + event.data)
        elif isinstance(event, Warning):
            self._write(sys.stderr, self._head(function).encode() + event.data)
        else:
            self._status(function, event)

    def _status(self, function: str, event: Status) -> None:
        said = f"{event.fraction:.0%} ({event.numerator}/{event.denominator})"
        if self._bar is not None and self._bar.shown:
            self._bar.tell(f"{function} {said}")
        elif self._progress or self._json or self._output is not None:
            self._line(sys.stderr, f"{function}: {said}")
        else:
            percent = 100 * event.numerator // event.denominator if event.denominator else 0
            self._line(sys.stdout, f"{self._head(function)}{percent}% Complete")

    def _complain(self, function: str, error: GearfastError, name: str) -> None:
        where = f"{name}: " if name else ""
        if isinstance(error, JobException):
            data = error.data if error.data.endswith(b"\n") else error.data + b"\n"
            self._write(sys.stderr, (self._head(function) + where).encode() + data)
        elif type(error) is JobFailed:
            self._line(sys.stderr, f"{self._head(function)}{where}Job failed")
        else:
            self._line(sys.stderr, f"gearfast submit: {where}{error}")

    def _line(self, stream: TextIO, text: str) -> None:
        self._write(stream, (text + "\n").encode("utf-8", "surrogateescape"))

    def _write(self, stream: Any, data: bytes) -> None:
        with contextlib.nullcontext() if self._bar is None else self._bar.aside(stream):
            stream.flush()
            stream.buffer.write(data)
            stream.buffer.flush()

    def _store(self, folder: str, function: str, name: str, result: bytes) -> None:
        """Writes the file of a result; it appears under its name when it is whole. Raises UsageError."""
        path = os.path.join(folder, function.replace(os.sep, "_") if self._many else "", name)
        part = f"{path}.part"
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(part, "wb") as file:
                file.write(result)
            os.replace(part, path)
        except OSError as error:
            raise UsageError(f"--output {path}: {error.strerror}") from None


def _file(name: str) -> dict[str, str]:
    return {"file": name} if name else {}


def _as_json(future: JobFuture, result: bytes, warnings: list[bytes], error: GearfastError | None) -> dict[str, object]:
    """Bytes as text if they are UTF-8, else in base64 as `…_base64`."""
    found: dict[str, object] = {"function": future.function, "handle": future.handle, "ok": error is None}
    found |= _bytes("result", result)
    if warnings:
        found |= _bytes("warnings", b"".join(warnings))
    if error is not None:
        found["error"] = str(error)
        found["kind"] = type(error).__name__
        if isinstance(error, JobException):
            found |= _bytes("exception", error.data)
    return found


def _bytes(name: str, data: bytes) -> dict[str, str]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}
