# SPDX-License-Identifier: BSD-3-Clause
"""Functions by table, by class, and by what tells them itself; and what a callable's outcome looks like on the wire."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast.errors import UsageError
from gearfast.session.functions import Function, collect, function, make_function
from gearfast.session.results import RemoteError, describe


def work(job: Any) -> bytes:
    return b""


class Photos:
    """A class with functions."""

    @function("resize", timeout=30, concurrency=2)
    @function("thumbnail")
    def resize(self, job: Any) -> bytes:
        return b"small"

    @function("sum", process=True)
    @staticmethod
    def total(job: Any) -> bytes:
        return b"3"

    def helper(self) -> None:
        """Not marked, so no function."""


class MorePhotos(Photos):
    """One that inherits them."""


class Teller:
    """What App-like objects do."""

    def __gearfast_functions__(self) -> dict[str, Function]:
        return {"told": Function(work, timeout=1.5)}


class Twice:
    """The same function twice."""

    @function("f")
    def one(self, job: Any) -> None: ...

    @function("f")
    def two(self, job: Any) -> None: ...


def test_a_table() -> None:
    assert collect({"a": work, "b": Function(work, 2.0, 3, True)}) == {
        "a": Function(work),
        "b": Function(work, 2.0, 3, True),
    }


@pytest.mark.parametrize("source", [Photos, Photos(), MorePhotos()])
def test_a_class_and_its_instances(source: object) -> None:
    found = collect(source)
    assert sorted(found) == ["resize", "sum", "thumbnail"]
    assert found["resize"].callable(None) == b"small"
    assert found["resize"][1:] == (30, 2, False)
    assert found["thumbnail"][1:] == (None, None, False)
    assert found["sum"].callable(None) == b"3" and found["sum"].process


def test_an_object_that_tells_its_functions() -> None:
    assert collect(Teller()) == {"told": Function(work, timeout=1.5)}


@pytest.mark.parametrize("source", [{}, object(), Twice, {"a": 5}, {"": work}, {"a": Function(work, timeout=-1)}])
def test_what_is_no_source_of_functions(source: object) -> None:
    with pytest.raises(UsageError):
        collect(source)


@pytest.mark.parametrize(("timeout", "concurrency"), [(0, None), (-1.0, None), (None, 0), (None, -3)])
def test_settings_that_cannot_be(timeout: float | None, concurrency: int | None) -> None:
    with pytest.raises(UsageError):
        make_function(work, timeout, concurrency, False)
    with pytest.raises(UsageError):
        function("f", timeout=timeout, concurrency=concurrency)


def test_what_an_exception_looks_like() -> None:
    def deeper() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError) as caught:
        deeper()
    assert describe(caught.value) == b"ValueError: boom"
    head, _, trace = describe(caught.value, tracebacks=True).partition(b"\n\n")
    assert head == b"ValueError: boom"
    assert trace.startswith(b"Traceback (most recent call last):\n") and trace.endswith(b"ValueError: boom\n")
    assert b"in deeper" in trace and b"in test_what" not in trace  # the caller's frame is the worker's
    assert describe(KeyError()) == b"KeyError"


def test_an_exception_from_a_child_process_is_told_as_there() -> None:
    error = RemoteError(b"KeyError: 'x'", "Traceback …\n")
    assert describe(error) == b"KeyError: 'x'"
    assert describe(error, tracebacks=True) == "KeyError: 'x'\n\nTraceback …\n".encode()
