# SPDX-License-Identifier: BSD-3-Clause
"""Functions in child processes: the same job on both sides, and a child that dies takes only its own job with it."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gearfast import AdminClient, Client, Data, JobException, JobFailed, Server, Status, UsageError, Warning

from .either_worker import KINDS, AnyWorker, at_work, leaves, start
from .servers import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("pid", "talk", "boom", "fail", "number", "starve", "die", "leave", "fork", "hang", "until_cancelled")


@pytest.fixture(scope="module")
def functions() -> Iterator[Any]:
    """The module of functions, importable by the children, who get this process's path."""
    sys.path.insert(0, str(Path(__file__).parent))
    yield importlib.import_module("child_functions")
    sys.path.remove(str(Path(__file__).parent))


@pytest.fixture(scope="module", params=KINDS, ids=["Worker", "AsyncWorker"])
def busy(request: pytest.FixtureRequest, functions: Any) -> Iterator[tuple[Server, AnyWorker]]:
    """A server and a worker with all functions, two children at most."""
    with Server() as server:
        worker = request.param(server.url, concurrency=3, processes=2, tracebacks=True)
        for name in NAMES:
            worker.register(name, getattr(functions, name), process=True)
        worker.register("late", functions.hang, process=True, timeout=1)
        worker.register("here", lambda job: str(os.getpid()))
        with at_work(worker):
            yield server, worker


@pytest.fixture
def client(busy: tuple[Server, AnyWorker]) -> Iterator[Client]:
    """A client of that server."""
    with Client(busy[0].url) as one:
        yield one


def test_a_child_does_one_job_after_the_other(client: Client) -> None:
    here = client.run("here", timeout=PATIENCE)
    pids = {client.run("pid", timeout=PATIENCE) for _ in range(5)}
    assert here == str(os.getpid()).encode() and here not in pids and len(pids) == 1


def test_a_job_is_the_same_there(client: Client) -> None:
    future = client.submit("talk", b"data", unique="u-1")
    assert list(future.events(PATIENCE)) == [Status(1, 2), Data(b"part"), Warning(b"careful")]
    assert future.result(PATIENCE) == b"data u-1 talk " + str(future.handle).encode()


def test_what_a_callable_raises_there(client: Client) -> None:
    with pytest.raises(JobException) as caught:
        client.run("boom", timeout=PATIENCE)
    assert caught.value.data.startswith(b"ValueError: boom\n\nTraceback (most recent call last):\n")
    assert b"child_functions.py" in caught.value.data
    with pytest.raises(JobFailed) as failed:
        client.run("fail", timeout=PATIENCE)
    assert type(failed.value) is JobFailed
    for name, text in (("number", b"TypeError: the result of function 'number'"), ("starve", b"MemoryError")):
        with pytest.raises(JobException) as caught:
            client.run(name, timeout=PATIENCE)
        assert caught.value.data.startswith(text)


@pytest.mark.parametrize(("name", "cause"), [("die", b"killed by SIGKILL"), ("leave", b"exit code 3")])
def test_a_child_that_dies_fails_its_job_and_is_replaced(
    client: Client, name: str, cause: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):  # more often than there are children
        future = client.submit(name)
        error = future.exception(PATIENCE)
        assert isinstance(error, JobException) and error.data == b"ChildDied: its child process died: " + cause
        assert f"job {future.handle} of function {name!r} from 127.0.0.1:" in caplog.text
    assert client.run("pid", timeout=PATIENCE).isdigit()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_callable_that_forks_there(client: Client) -> None:
    assert client.run("fork", timeout=PATIENCE) == b"parent"
    assert client.run("talk", b"1", timeout=PATIENCE).startswith(b"1 ")


def test_a_job_is_cancelled_there(busy: tuple[Server, AnyWorker], client: Client) -> None:
    future = client.submit("until_cancelled")
    assert next(future.events(PATIENCE)) == Data(b"begun")
    with AdminClient(busy[0].url) as admin:
        admin.cancel_job(str(future.handle))
        assert isinstance(future.exception(PATIENCE), JobFailed)
        wait_until(
            lambda: not any(line.running for line in admin.status() if line.function == "until_cancelled"),
            "the callable has left",
        )


def test_a_child_that_overruns_its_time_is_killed(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    future = client.submit("late")
    child = int(next(future.events(PATIENCE)).data)
    wait_until(lambda: "its child process was killed" in caplog.text, "it is killed")
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    future.cancel()


@pytest.mark.parametrize("kind", KINDS)
def test_stopping_with_a_limit_kills_children_and_gives_jobs_back(kind: type[AnyWorker], functions: Any) -> None:
    with Server() as server, Client(server.url) as client:
        worker = kind(server.url, processes=1)
        worker.register("hang", functions.hang, process=True)
        thread = start(worker)
        future = client.submit("hang")
        child = int(next(future.events(PATIENCE)).data)  # type: ignore[union-attr]
        worker.stop(0.05)
        assert leaves(thread)
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
        heir = kind(server.url)
        heir.register("hang", lambda job: b"heir")
        with at_work(heir):
            assert future.result(PATIENCE) == b"heir"


def test_what_cannot_run_in_a_child() -> None:
    async def coroutine(job: Any) -> None: ...

    for kind in KINDS:
        with pytest.raises(UsageError, match="child process"):
            kind("a").register("f", lambda job: b"", process=True)
        with pytest.raises(UsageError, match="processes"):
            kind("a", processes=0)
    with pytest.raises(UsageError, match="coroutine"):
        KINDS[1]("a").register("f", coroutine, process=True)


UNGUARDED = """
import signal, sys
from gearfast import Worker
def f(job):
    return b"never"
worker = Worker(sys.argv[1])
worker.register("f", f, process=True)
worker.register("stop", lambda job: worker.stop())
worker.run()
print("left")
"""


def test_a_main_module_without_a_guard(tmp_path: Path) -> None:
    """The child would run the program again: it says so and dies instead."""
    script = tmp_path / "unguarded.py"
    script.write_text(UNGUARDED)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Server() as server, Client(server.url) as client:
        command = [sys.executable, str(script), server.url]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as it:
            with pytest.raises(JobException, match="its child process died"):
                client.run("f", timeout=PATIENCE)
            client.run("stop", timeout=PATIENCE)
            left, errors = it.communicate(timeout=PATIENCE)
        assert left == "left\n" and "guard it by __name__ == '__main__'" in errors


def test_children_do_not_outlive_a_killed_worker(tmp_path: Path) -> None:
    script = tmp_path / "guarded.py"
    lines = [
        line if line.startswith(("import", "from", "def", " ")) else f"    {line}" for line in UNGUARDED.splitlines()
    ]
    at = lines.index("    worker = Worker(sys.argv[1])")
    text = "\n".join([*lines[:at], "if __name__ == '__main__':", *lines[at:]])
    script.write_text(text.replace('return b"never"', "import os\n    return str(os.getpid())"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with Server() as server, Client(server.url) as client:
        with subprocess.Popen([sys.executable, str(script), server.url], env=environment) as it:
            child = int(client.run("f", timeout=PATIENCE))
            it.send_signal(signal.SIGKILL)
            it.wait(PATIENCE)

        def is_gone() -> bool:
            try:
                return Path(f"/proc/{child}/stat").read_text().split()[2] == "Z"
            except OSError:
                return True

        wait_until(is_gone, "the child has ended")
        assert is_gone()
