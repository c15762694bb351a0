# SPDX-License-Identifier: BSD-3-Clause
"""Declaring tasks, and handing them to a worker."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest

from gearfast import App, AsyncWorker, Backoff, ConnectError, Function, JobFailed, Priority, Task, UsageError, Worker
from gearfast.session.functions import collect

app = App()


@app.task
def double(number: int) -> int:
    """Twice the number."""
    return 2 * number


def test_a_task_is_still_the_callable() -> None:
    assert double(21) == 42 == double(number=21)
    assert double.__doc__ == "Twice the number." and double.__name__ == "double"
    assert str(inspect.signature(double)) == "(number: 'int') -> 'int'"
    assert repr(double) == "<Task 'double'>"
    assert isinstance(double, Task)
    with pytest.raises(TypeError):
        double()  # type: ignore[call-arg]


def test_names() -> None:
    shop = App(prefix="shop.")

    @shop.task
    def one() -> None: ...

    @shop.task("second")
    def two() -> None: ...

    @shop.task()
    def three() -> None: ...

    @shop.task(priority=Priority.LOW)
    def four() -> None: ...

    assert [one.name, two.name, three.name, four.name] == ["shop.one", "shop.second", "shop.three", "shop.four"]
    assert list(shop.tasks.items()) == [(task.name, task) for task in (one, two, three, four)]
    with pytest.raises(TypeError):
        shop.tasks["more"] = one  # type: ignore[index]


def test_what_cannot_be_declared() -> None:
    one = App()
    one.task("f")(lambda: None)
    wrong: list[tuple[Any, str]] = [
        (lambda: one.task("f")(lambda: None), "the app has a task 'f' already"),
        (lambda: one.task("")(lambda: None), "a function's name has 1 to"),
        (lambda: one.task("g", timeout=0)(lambda: None), "timeout is a number of seconds above 0"),
        (lambda: one.task("g", concurrency=0)(lambda: None), "concurrency is at least 1"),
        (lambda: one.task("g")(5), "a function needs a callable, not int"),
        (lambda: one.task(5), "5 has no name"),
        (lambda: one.task("g", retries=-1)(lambda: None), "retries is 0 or more, not -1"),
        (lambda: one.task("g", backoff=Backoff())(lambda: None), "say how many, retries="),
        (lambda: one.task("g", serializer="yaml")(lambda: None), "there is no serializer 'yaml'"),
        (lambda: one.task("g", serializer="raw")(lambda: None), "'raw' needs a callable that takes one argument"),
        (lambda: one.task("h")(double), "<Task 'double'> is a task already"),
        (lambda: one.task(double.callable, timeout=5), "go into the decorator"),
        (lambda: App(serializer="yaml"), "there is no serializer 'yaml'"),
    ]
    for call, said in wrong:
        with pytest.raises(UsageError) as caught:
            call()
        assert said in str(caught.value)
    assert list(one.tasks) == ["f"]


def test_what_a_worker_gets() -> None:
    one = App(prefix="p.")

    @one.task("f", timeout=30, concurrency=2)
    def function() -> None: ...

    @one.task(process=True)
    def child() -> None: ...

    table = collect(one)
    assert {name: each[1:] for name, each in table.items()} == {"p.f": (30, 2, False), "p.child": (None, None, True)}
    assert all(isinstance(each, Function) for each in table.values())
    assert not one.needs_loop
    with pytest.raises(UsageError, match="the app has no task"):
        Worker().add(App())


def test_a_task_of_a_module_can_be_pickled() -> None:
    """By its name, as a child process of a worker needs it."""
    assert pickle.loads(pickle.dumps(double)) is double
    work = collect(app)["double"].callable
    again = pickle.loads(pickle.dumps(work))
    assert type(again) is type(work)


def test_one_of_a_function_cannot() -> None:
    local = App()

    @local.task(process=True)
    def inner() -> None: ...

    with pytest.raises(UsageError, match="function 'inner' cannot run in a child process"):
        Worker().add(local)


def test_a_coroutine_function_needs_an_async_worker() -> None:
    one = App()

    @one.task
    async def fetch(url: str) -> str:
        return url

    assert one.needs_loop
    with pytest.raises(UsageError, match="function 'fetch' needs an event loop, and a Worker has none: use an AsyncWo"):
        Worker().add(one)
    AsyncWorker().add(one)


def test_so_does_a_hook_that_is_one() -> None:
    one = App()
    one.task("f")(lambda: None)

    @one.before
    async def before(job: object) -> None: ...

    assert one.needs_loop
    with pytest.raises(UsageError, match="function 'f' needs an event loop"):
        Worker().add(one)
    AsyncWorker().add(one)


def test_the_first_hook_that_is_one_comes_before_the_worker() -> None:
    one = App()
    one.task("f")(lambda: None)
    Worker().add(one)

    async def hook(job: object) -> None: ...

    with pytest.raises(UsageError, match="comes before a worker gets the app"):
        one.after(hook)
    assert one.after(lambda job: None) is not None


@pytest.mark.parametrize("settings", [{"serializer": "pickle"}, {"serializer": pickle}])
def test_a_worker_refuses_pickle(settings: Any) -> None:
    one = App(**settings)
    one.task("f")(lambda: None)
    with pytest.raises(UsageError) as caught:
        Worker().add(one)
    assert "task 'f': serializer 'pickle' lets whoever submits jobs run any code" in str(caught.value)
    assert "App(allow_pickle=True)" in str(caught.value)
    allowed = App(**settings, allow_pickle=True)
    allowed.task("f")(lambda: None)
    Worker().add(allowed)


def test_a_worker_refuses_pickle_of_one_task() -> None:
    one = App()
    one.task("f")(lambda: None)
    one.task("g", serializer="pickle")(lambda: None)
    with pytest.raises(UsageError, match="task 'g': serializer 'pickle'"):
        Worker().add(one)


def test_defaults_of_a_task() -> None:
    one = App()
    task = one.task("f", retries=4, backoff=Backoff(2, max=300), priority=Priority.HIGH, unique="u")(lambda: None)
    retry = task.defaults.pop("retry")
    assert (retry.attempts, retry.backoff.first, retry.backoff.max) == (5, 2, 300)
    assert retry.on == (ConnectError, JobFailed)
    assert task.defaults == {"priority": Priority.HIGH, "unique": "u"}
    assert one.task("g")(lambda: None).defaults == {}


def test_what_is_imported_when() -> None:
    code = (
        "import sys, gearfast\n"
        "assert not any(name.startswith('gearfast.tasks') for name in sys.modules)\n"
        "app = gearfast.App()\n"
        "app.task('f')(lambda: None)\n"
        "print({'asyncio', 'ssl', 'logging', 'pickle', 'msgpack'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
