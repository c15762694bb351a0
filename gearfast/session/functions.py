# SPDX-License-Identifier: BSD-3-Clause
"""What a worker can do: functions with their settings, one by one, in a table, or marked in a class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from gearfast.errors import UsageError
from gearfast.protocol import MAX_ARGUMENT

__all__ = ["Function", "HasFunctions", "check_function_name", "collect", "function", "make_function"]

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__gearfast_function__"
_TABLE = "__gearfast_functions__"


class Function(NamedTuple):
    """A callable and how its jobs are done; a table for `Worker.add` may hold such instead of plain callables."""

    callable: Callable[[Any], Any]
    timeout: float | None = None
    """Seconds after which the server gives a job to somebody else."""
    concurrency: int | None = None
    """Jobs of this function at a time; None: as many as the worker does at all."""
    process: bool = False
    """It runs in a child process."""


class HasFunctions(Protocol):
    """An object that tells its functions itself, as an App does."""

    def __gearfast_functions__(self) -> Mapping[str, Function | Callable[..., Any]]:
        """A table of them."""


def function(
    name: str, *, timeout: float | None = None, concurrency: int | None = None, process: bool = False
) -> Callable[[F], F]:
    """Decorator that marks a method: `Worker.add(instance)` registers it as function `name`, with these settings.

    The settings are those of `Worker.register`. Raises UsageError.
    """
    check_function_name(name)
    settings = (name, timeout, concurrency, process)
    make_function(function, timeout, concurrency, process)

    def mark(callable: F) -> F:
        bare = getattr(callable, "__func__", callable)  # what a static or class method wraps
        setattr(bare, _MARK, (*getattr(bare, _MARK, ()), settings))
        return callable

    return mark


def collect(source: object) -> dict[str, Function]:
    """The functions of a table, or of an object with marked methods. Raises UsageError if there is none.

    A table maps names to callables or to `Function`. An object may also tell them itself: its method
    `__gearfast_functions__` returns a table. A class stands for an instance made without arguments.
    """
    if isinstance(source, type):
        source = source()
    teller = getattr(source, _TABLE, None)
    table = teller() if callable(teller) else source
    if isinstance(table, Mapping):
        found = {name: value if isinstance(value, Function) else Function(value) for name, value in table.items()}
    else:
        found = _marked(source)
    if not found:
        raise UsageError(f"{type(source).__name__} has no function: no table, and no method marked by @function")
    for name, one in found.items():
        check_function_name(name)
        make_function(*one)
    return found


def _marked(source: object) -> dict[str, Function]:
    found = {}
    for attribute in dir(type(source)):
        for name, timeout, concurrency, process in getattr(getattr(type(source), attribute), _MARK, ()):
            if name in found:
                raise UsageError(f"function {name!r} is marked twice in {type(source).__name__}")
            found[name] = Function(getattr(source, attribute), timeout, concurrency, process)
    return found


def make_function(
    callable_: Callable[[Any], Any], timeout: float | None, concurrency: int | None, process: bool
) -> Function:
    """The same, checked. Raises UsageError."""
    if not callable(callable_):
        raise UsageError(f"a function needs a callable, not {type(callable_).__name__}")
    if timeout is not None and timeout <= 0:
        raise UsageError(f"a function's timeout is a number of seconds above 0, not {timeout!r}")
    if concurrency is not None and concurrency < 1:
        raise UsageError(f"a function's concurrency is at least 1, not {concurrency!r}")
    return Function(callable_, timeout, concurrency, bool(process))


def check_function_name(name: str) -> bytes:
    """A function's name as bytes. Raises UsageError for one that cannot be sent."""
    if not isinstance(name, str):
        raise UsageError(f"a function is named by text, not {type(name).__name__}")
    try:
        data = name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"a function's name goes out as UTF-8, which {name[:80]!r} has none of") from None
    if not data or len(data) > MAX_ARGUMENT or b"\0" in data:
        raise UsageError(f"a function's name has 1 to {MAX_ARGUMENT} bytes and no NUL: {name[:80]!r}")
    return data
