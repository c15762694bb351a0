# SPDX-License-Identifier: BSD-3-Clause
"""The blocking and the asyncio front ends are twins: same names, parameters, defaults and first docstring lines."""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gearfast
from gearfast.aio.admin import AsyncAdminClient
from gearfast.aio.client import AsyncClient
from gearfast.aio.future import AsyncJobFuture, async_as_completed
from gearfast.aio.worker import AsyncJob, AsyncWorker
from gearfast.sync.admin import AdminClient
from gearfast.sync.client import Client
from gearfast.sync.future import JobFuture, as_completed
from gearfast.sync.worker import Job, Worker

TWINS = [(Client, AsyncClient), (Worker, AsyncWorker), (AdminClient, AsyncAdminClient), (Job, AsyncJob)]
# What a future has besides its base's methods, which the two kinds of future inherit from different classes.
FUTURES = (JobFuture, AsyncJobFuture)
CONTEXT = {"__enter__": "__aenter__", "__exit__": "__aexit__"}
# Plain calls in both worlds: they only note something or hand out an object that is waited for.
NEVER_ASYNC = {"submit", "map", "map_background", "stop", "register", "unregister", "function", "add"} | {
    "pause",
    "resume",
    "before_job",
    "after_job",
    "on_failure",
}


def public(kind: type) -> dict[str, Any]:
    found = {}
    for name, member in vars(kind).items():
        if name in CONTEXT.values():
            name = next(plain for plain, twin in CONTEXT.items() if twin == name)
        if not name.startswith("_") or name in CONTEXT or name == "__init__":
            found[name] = member
    return found


def function(member: Any) -> Callable[..., Any]:
    return member.fget if isinstance(member, property) else member


def first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0] if text else ""


def pairs() -> Iterator[Any]:
    for plain, twin in TWINS:
        for name in sorted(public(plain).keys() & public(twin).keys()):
            if callable(function(public(plain)[name])):
                yield pytest.param(public(plain)[name], public(twin)[name], id=f"{plain.__name__}.{name}")
    for name in ("function", "unique", "handle", "progress", "submissions", "wait", "status", "events", "data"):
        yield pytest.param(vars(FUTURES[0])[name], vars(FUTURES[1])[name], id=f"JobFuture.{name}")


@pytest.mark.parametrize(("plain", "twin"), TWINS, ids=lambda kind: kind.__name__)
def test_same_names(plain: type, twin: type) -> None:
    assert sorted(public(plain)) == sorted(public(twin))
    assert first_line(plain.__doc__) == first_line(twin.__doc__) != ""


def test_futures_have_the_same_names() -> None:
    # asyncio's `result` and `exception` never wait, so they need no words of their own for a time-out
    assert set(public(FUTURES[0])) - {"result", "exception"} == set(public(FUTURES[1])) - {"settle"}


def test_as_completed_has_a_twin() -> None:
    one, two = (inspect.signature(function).parameters.values() for function in (as_completed, async_as_completed))
    assert [(p.name, p.kind, p.default) for p in one] == [(p.name, p.kind, p.default) for p in two]
    assert first_line(as_completed.__doc__) == first_line(async_as_completed.__doc__) != ""


@pytest.mark.parametrize(("plain", "twin"), list(pairs()))
def test_same_parameters_and_first_lines(plain: Any, twin: Any) -> None:
    one, two = function(plain), function(twin)
    name = one.__name__
    if name != "cancel":
        left, right = inspect.signature(one).parameters, inspect.signature(two).parameters
        assert [(p.name, p.kind, p.default) for p in left.values()] == [
            (p.name, p.kind, p.default) for p in right.values()
        ]
    if not name.startswith("__"):
        assert first_line(one.__doc__) == first_line(two.__doc__) != ""


@pytest.mark.parametrize(("plain", "twin"), list(pairs()))
def test_what_waits_is_awaited(plain: Any, twin: Any) -> None:
    one, two = function(plain), function(twin)
    assert not inspect.iscoroutinefunction(one)
    waits = isinstance(twin, property) or one.__name__.startswith(("send_", "__init__")) or one.__name__ in NEVER_ASYNC
    if not waits and not inspect.isasyncgenfunction(two):
        assert inspect.iscoroutinefunction(two)


def test_a_star_hides_no_builtin() -> None:
    names: dict[str, object] = {}
    exec("from gearfast import *", names)
    assert set(gearfast.__all__) <= names.keys()
    assert set(gearfast.__all__) & set(dir(builtins)) == set()
    # All else that is public can be named, and is told of.
    assert set(dir(gearfast)) - set(gearfast.__all__) == {"Warning"}
    assert gearfast.Warning is not Warning
