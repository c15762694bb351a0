# SPDX-License-Identifier: BSD-3-Clause
"""What a client does with a task, over the real bytes to a server in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import create_autospec

import pytest

from gearfast import (
    App,
    AsyncClient,
    Backoff,
    Client,
    Data,
    Fail,
    Handle,
    Job,
    JobException,
    JobFailed,
    JobFuture,
    Priority,
    SerializeError,
    Status,
    UsageError,
    as_completed,
)
from gearfast.testing import MemoryServer

from .conftest import Serve

app = App(prefix="t.")
failures: dict[str, int] = {}


@app.task("resize", priority=Priority.LOW)
def resize(path: str, width: int = 320) -> str:
    return f"{path}@{width}"


@app.task
def count(job: Job, text: str) -> int:
    job.send_data(b"part")
    job.send_status(1, 2)
    return len(text)


@app.task
def divide(one: int, two: int) -> float:
    if two == 0:
        raise Fail("by zero")
    return one / two


@app.task
def odd() -> Any:
    return {1}


@app.task(retries=2, backoff=Backoff(0))
def flaky(key: str) -> int:
    failures[key] = failures.get(key, 0) + 1
    if failures[key] < 3:
        raise ValueError("not yet")
    return failures[key]


@app.task(unique=lambda path, width=1: f"{path}/{width}")
def once(path: str, width: int = 1) -> None: ...


@pytest.fixture
def client(serve: Serve) -> Client:
    return serve(app)[1]


@pytest.fixture
def manual() -> Iterator[tuple[MemoryServer, Client]]:
    """A server that keeps the jobs."""
    with MemoryServer() as server, Client(server.url) as client:
        yield server, client


def test_run(client: Client) -> None:
    assert resize.run(client, "a.png") == "a.png@320"
    assert resize.run(client, "a.png", width=64) == resize.run(client, "a.png", 64) == "a.png@64"
    assert count.run(client, "text") == 4


def test_submit(client: Client) -> None:
    future = count.submit(client, "text")
    assert isinstance(future, JobFuture)
    assert future.result(30) == 4
    assert list(future.events(30)) == [Data(b"part"), Status(1, 2)]
    assert (future.function, future.progress) == ("t.count", (1, 2))
    assert future.exception(30) is None
    others = [count.submit(client, "x" * number) for number in range(5)]
    assert sorted(done.result() for done in as_completed(others, timeout=30)) == [0, 1, 2, 3, 4]


def test_the_future_of_a_job_that_fails(client: Client) -> None:
    with pytest.raises(JobFailed):
        divide.submit(client, 1, 0).result(30)
    with pytest.raises(JobException) as caught:
        odd.submit(client).result(30)
    assert caught.value.remote_type == "SerializeError"
    assert "function 't.odd': the result cannot be sent as json: TypeError" in str(caught.value)


def test_a_result_that_is_none_of_the_tasks(serve: Serve) -> None:
    """Somebody else's worker answers."""
    server, client = serve(app)
    server.function("t.resize")(lambda job: b"no JSON")
    with pytest.raises(SerializeError, match=r"function 't\.resize': the result cannot be read as json"):
        resize.run(client, "a")
    with pytest.raises(SerializeError):
        resize.submit(client, "a").result(30)
    assert isinstance(resize.submit(client, "a").exception(30), SerializeError)
    found = list(resize.options(return_exceptions=True).map(client, ["a", "b"]))
    assert [type(each) for each in found] == [SerializeError] * 2
    with pytest.raises(SerializeError):
        list(resize.map(client, ["a"]))


def test_submit_background(manual: tuple[MemoryServer, Client]) -> None:
    server, client = manual
    handle = resize.submit_background(client, "a.png", width=64)
    assert isinstance(handle, Handle) and client.status(handle).known
    server.assert_submitted("t.resize", resize.workload("a.png", width=64), background=True, priority=Priority.LOW)
    assert server.drain(app) == 1
    assert resize.decode(server.submissions[0].result) == "a.png@64"


def test_options(manual: tuple[MemoryServer, Client]) -> None:
    server, client = manual
    call = resize.options(unique="p/17", priority=Priority.HIGH)
    call.submit_background(client, "a")
    call.submit_background(client, "b")
    resize.options(delay=60, priority=Priority.NORMAL).submit_background(client, "c")
    found = server.submissions
    assert [each.unique for each in found[:2]] == [b"p/17"] * 2
    assert [each.priority for each in found] == [Priority.HIGH, Priority.HIGH, Priority.NORMAL]
    assert found[0].handle == found[1].handle
    assert [each.at is not None for each in found] == [False, False, True]
    with pytest.raises(TimeoutError):
        resize.options(timeout=0.01).run(client, "d")
    with pytest.raises(TimeoutError):
        resize.options(timeout=0.01).submit(client, "e").result()


def test_a_unique_made_of_the_arguments(manual: tuple[MemoryServer, Client]) -> None:
    server, client = manual
    once.submit_background(client, "a", width=3)
    once.submit_background(client, "a")
    once.options(unique="mine").submit_background(client, "a")
    once.options(unique=lambda path: path.upper()).submit_background(client, "a")
    assert [each.unique for each in server.submissions] == [b"a/3", b"a/1", b"mine", b"A"]


def test_the_tasks_own_arguments_may_have_any_name(serve: Serve) -> None:
    mine = App()

    @mine.task
    def names(self: str, client: str, unique: str, timeout: int, args: int, *, kwargs: int, job: int) -> list[Any]:
        return [self, client, unique, timeout, args, kwargs, job]

    _, client = serve(mine)
    call = names.options(priority=Priority.HIGH)
    assert call.run(client, "s", "c", unique="u", timeout=1, args=2, kwargs=3, job=4) == ["s", "c", "u", 1, 2, 3, 4]
    given: dict[str, Any] = {"self": "s", "client": "c", "unique": "u", "timeout": 1, "args": 2, "kwargs": 3, "job": 4}
    assert names.run(client, **given) == names(**given) == ["s", "c", "u", 1, 2, 3, 4]
    assert names.workload(**given).startswith(b'{"args":[],"kwargs":{"self":"s",')


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda client: resize.options(delay=3).run(client, "a"), "task 't.resize': run has no option delay"),
        (lambda client: resize.options(window=3).submit(client, "a"), "submit has no option window"),
        (lambda client: resize.options(ordered=False).submit_background(client, "a"), "has no option ordered"),
        (lambda client: resize.options(at=3).map(client, ["a"]), "map has no option at"),
        (lambda client: resize.options(unique="u").map(client, ["a"]), "map has one job; give a callable"),
        (lambda client: resize.options(uniqe="u"), "a task has no option uniqe; there are at, delay, ordered"),  # type: ignore[call-overload]
    ],
)
def test_options_that_are_not_there(client: Client, call: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(client)
    assert said in str(caught.value)


def test_nothing_is_sent_that_is_wrong(manual: tuple[MemoryServer, Client]) -> None:
    server, client = manual
    wrong: Any = resize
    for verb in (wrong.run, wrong.submit, wrong.submit_background):
        with pytest.raises(TypeError, match=r"t\.resize\(\): missing a required argument: 'path'"):
            verb(client)
        with pytest.raises(TypeError, match="unexpected keyword argument 'height'"):
            verb(client, "a", height=3)
        with pytest.raises(SerializeError, match="argument 'width' cannot be sent as json"):
            verb(client, "a", width={3})
        with pytest.raises(TypeError, match="a task's first argument is a Client or an AsyncClient, not str"):
            verb("a.png")
    with pytest.raises(SerializeError, match="argument 'path'"):
        wrong.map(client, ["a", {3}])
    with pytest.raises(TypeError, match="unexpected keyword argument 'height'"):
        wrong.map(client, ["a"], height=3)
    server.assert_nothing_submitted()


def test_map(client: Client) -> None:
    assert list(resize.map(client, ["a", "b"])) == ["a@320", "b@320"]
    assert list(resize.map(client, ("a", "b"), width=3)) == ["a@3", "b@3"]
    assert list(resize.options(window=2).map(client, (str(n) for n in range(10)), 5)) == [f"{n}@5" for n in range(10)]
    assert sorted(resize.options(ordered=False).map(client, iter("cab"))) == ["a@320", "b@320", "c@320"]
    assert list(resize.map(client, [])) == []


def test_map_takes_no_more_than_the_window(client: Client) -> None:
    taken: list[str] = []

    def items() -> Iterator[str]:
        for letter in "abcdef":
            taken.append(letter)
            yield letter

    results = resize.options(window=2).map(client, items())
    assert taken == []
    assert next(results) == "a@320"
    assert taken in (["a"], ["a", "b"])
    results.close()  # type: ignore[attr-defined]
    assert resize.run(client, "x") == "x@320"


def test_map_with_failures(client: Client) -> None:
    found = list(divide.options(return_exceptions=True).map(client, [4, 0], 2))
    assert found == [2.0, 0.0]
    results = divide.options(return_exceptions=True).map(client, [4, 6], 0)
    assert [type(each) for each in results] == [JobFailed, JobFailed]
    with pytest.raises(JobFailed):
        list(divide.map(client, [4], 0))


@pytest.mark.parametrize("items", [["a", "b", "c"], iter(["a", "b", "c"])])
def test_map_with_uniques(manual: tuple[MemoryServer, Client], items: Any) -> None:
    server, client = manual
    call = once.options(unique=lambda path, width=1: f"{path}-{width}", timeout=0.05, return_exceptions=True)
    assert len(list(call.map(client, items, width=2))) == 3
    sent = [(each.workload, each.unique) for each in server.submissions]
    assert sent == [(once.workload(name, width=2), f"{name}-2".encode()) for name in "abc"]


def test_retries_are_the_clients(client: Client) -> None:
    assert flaky.run(client, "run") == 3
    assert flaky.submit(client, "submit").result(30) == 3
    with pytest.raises(JobException):
        flaky.options(retry=None).submit(client, "none").result(30)


def test_arguments_that_do_not_fit_at_the_worker(client: Client) -> None:
    """What another client sends fails its own job; the worker goes on."""
    for workload, remote, said in (
        (b"{", "SerializeError", "the workload cannot be read as json"),
        (b'{"args": [1, 2, 3]}', "TypeError", "t.resize(): too many positional arguments"),
        (b'{"kwargs": {"height": 3}}', "TypeError", "t.resize(): missing a required argument: 'path'"),
    ):
        with pytest.raises(JobException, match=remote) as caught:
            client.run("t.resize", workload)
        assert caught.value.remote_type == remote
        assert said in caught.value.data.decode()
    assert client.run("t.resize", b'{"args": ["a"], "kwargs": {"width": 5}}') == b'"a@5"'


def test_asyncio() -> None:
    async def letters() -> AsyncIterator[str]:
        for letter in "ab":
            yield letter

    async def main() -> None:
        with MemoryServer(mode="inline", functions=app) as server:
            async with AsyncClient(server.url) as client:
                assert await resize.run(client, "a", width=3) == "a@3"
                future = count.submit(client, "text")
                assert await future == 4
                assert [event async for event in future.events()] == [Data(b"part"), Status(1, 2)]
                assert await asyncio.gather(resize.submit(client, "a"), count.submit(client, "b")) == ["a@320", 1]
                assert isinstance(await resize.submit_background(client, "a"), Handle)
                assert [each async for each in resize.map(client, letters(), width=3)] == ["a@3", "b@3"]
                assert [each async for each in resize.map(client, ["a"])] == ["a@320"]
                call = divide.options(return_exceptions=True)
                assert [type(each) async for each in call.map(client, [1], 0)] == [JobFailed]
                server.function("t.resize")(lambda job: b"no JSON")
                for result in (resize.run(client, "a"), resize.submit(client, "a")):
                    with pytest.raises(SerializeError):
                        await result
                with pytest.raises(SerializeError):
                    [each async for each in resize.map(client, ["a"])]
                with pytest.raises(TypeError):  # at once, not when it is awaited
                    resize.run(client, "a", 1, 2)  # type: ignore[call-overload]

    asyncio.run(main())


def test_a_client_that_is_none_of_ours() -> None:
    """Such as a test's stand-in: what its `run` gives is a result, or awaited for one."""
    client = create_autospec(Client, instance=True)
    client.run.return_value = b'"stand-in"'
    assert resize.run(client, "a") == "stand-in"
    client.run.assert_called_once_with("t.resize", resize.workload("a"), priority=Priority.LOW)
    other = create_autospec(AsyncClient, instance=True)
    other.run.return_value = b'"stand-in"'
    assert asyncio.run(resize.run(other, "a")) == "stand-in"
