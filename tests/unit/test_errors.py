# SPDX-License-Identifier: BSD-3-Clause
"""The exceptions themselves: they survive pickling, and know what a worker said."""

from __future__ import annotations

import copy
import pickle

import pytest

from gearfast import errors
from gearfast.errors import ConnectError, GearfastError, JobException, ProtocolError, ResultTooLarge, ServerError
from gearfast.session.results import describe

ABOUT = {"server": "h:4730", "function": "f", "handle": "H:h:1"}
PLAIN = (errors.UsageError, errors.Fail, errors.Cancelled, GearfastError)


def made(kind: type[GearfastError]) -> GearfastError:
    """One with all that it can have."""
    if kind in PLAIN:
        return kind("text")
    if issubclass(kind, ServerError):
        return kind("CODE", "text", what="job H:h:1", **ABOUT)
    if issubclass(kind, ConnectError):
        return kind("text", {"h:4730": "refused"}, function="f")
    if issubclass(kind, ProtocolError):
        return kind("text", offset=7, head=b"\1", left=3, packets=[b"line"])
    if issubclass(kind, JobException):
        return kind("text", data=b"ValueError: no", **ABOUT)
    if issubclass(kind, ResultTooLarge):
        return kind("text", size=5, limit=4, **ABOUT)
    return kind("text", **ABOUT)  # type: ignore[call-arg]


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, GearfastError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_can_be_pickled_and_copied(kind: type[GearfastError]) -> None:
    error = made(kind)
    for other in (*(pickle.loads(pickle.dumps(error, n)) for n in range(2, 6)), copy.copy(error), copy.deepcopy(error)):
        assert type(other) is kind
        assert str(other) == str(error) and vars(other) == vars(error)
        assert (other.server, other.function, other.handle) == (error.server, error.function, error.handle)


def raised(*texts: str) -> BaseException:
    """An exception with frames, the first of which is the worker's; the others are causes of the first."""

    def work() -> None:
        if len(texts) == 1:
            raise ValueError(texts[0])
        try:
            raise KeyError(texts[1])
        except KeyError as error:
            raise ValueError(texts[0]) from error

    try:
        work()
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("texts", [("no",), ("",), ("two\n\nlines: of it",), ("no", "the cause")])
@pytest.mark.parametrize("tracebacks", [False, True])
def test_what_a_gearfast_worker_says_of_an_exception(texts: tuple[str, ...], tracebacks: bool) -> None:
    error = JobException("", data=describe(raised(*texts), tracebacks=tracebacks))
    assert error.remote_type == "ValueError"
    if tracebacks:
        assert error.traceback.startswith("Traceback (most recent call last):\n")
        assert "in work\n" in error.traceback and error.traceback.rstrip().endswith(
            f"ValueError: {texts[0]}".rstrip(": ")
        )
    else:
        assert error.traceback == ""


def test_a_group_of_exceptions() -> None:
    try:
        try:
            raise ExceptionGroup("all of them", [ValueError("one")])
        finally:
            pass
    except ExceptionGroup as group:
        error = JobException("", data=describe(group, tracebacks=True))
    assert error.remote_type == "ExceptionGroup"


@pytest.mark.parametrize(
    "data", [b"", b"out of memory", b"it said: no", b"\xff\xfe", b"line\nline", b"7: seven", b": x"]
)
def test_what_another_worker_says(data: bytes) -> None:
    error = JobException("", data=data)
    assert (error.remote_type, error.traceback) == ("", "")
