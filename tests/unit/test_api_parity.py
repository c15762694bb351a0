# SPDX-License-Identifier: BSD-3-Clause
"""The blocking and the asyncio front ends are twins: same names, parameters, defaults and first docstring lines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gearfast.aio.admin import AsyncAdminClient
from gearfast.aio.client import AsyncClient, AsyncJobFuture
from gearfast.aio.worker import AsyncJob, AsyncWorker
from gearfast.sync.admin import AdminClient
from gearfast.sync.client import Client
from gearfast.sync.future import JobFuture
from gearfast.sync.worker import Job, Worker

TWINS = [(Client, AsyncClient), (Worker, AsyncWorker), (AdminClient, AsyncAdminClient), (Job, AsyncJob)]
# What a future has besides its base's methods, which the two kinds of future inherit from different classes.
FUTURES = (JobFuture, AsyncJobFuture)
CONTEXT = {"__enter__": "__aenter__", "__exit__": "__aexit__"}
# Plain calls in both worlds: they only note something or hand out an object that is waited for.
NEVER_ASYNC = {"submit", "map", "stop", "register", "unregister", "function", "add", "pause", "resume"}


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
    for name in ("function", "unique", "handle", "progress", "events"):
        yield pytest.param(vars(FUTURES[0])[name], vars(FUTURES[1])[name], id=f"JobFuture.{name}")


@pytest.mark.parametrize(("plain", "twin"), TWINS, ids=lambda kind: kind.__name__)
def test_same_names(plain: type, twin: type) -> None:
    assert sorted(public(plain)) == sorted(public(twin))
    assert first_line(plain.__doc__) == first_line(twin.__doc__) != ""


def test_futures_have_the_same_names() -> None:
    assert set(public(FUTURES[0])) == set(public(FUTURES[1])) - {"settle"}


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
