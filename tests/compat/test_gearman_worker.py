# SPDX-License-Identifier: BSD-3-Clause
"""The worker of `gearfast.compat.gearman` against gearfast and gearmand: what the original does, and what is mended."""

from __future__ import annotations

import functools
import json
import logging
import threading
from typing import Any

import pytest

from ..functional.gearmand import StartServer
from ..functional.servers import PATIENCE, ServerProcess, wait_until
from .programs import TURN, Running, client_of, worker_for, working


def submit(gearman: Any, server: ServerProcess, task: Any, data: Any = "x", **options: Any) -> Any:
    """A job in the foreground, or what `options` say."""
    with client_of(gearman, server) as client:
        return client.submit_job(task, data, **{"background": False, "poll_timeout": PATIENCE, **options})


def echo(worker: Any, job: Any) -> Any:
    return job.data


def refuse(*arguments: Any) -> Any:
    raise ValueError("refused")


@pytest.mark.parametrize("name", ["task", b"task"])
def test_task_names_in_both_kinds(any_gearman: Any, job_server: ServerProcess, name: Any) -> None:
    """gearman3 and pygearman want bytes, or str, by version; with the other one the worker dies, or all jobs fail."""
    seen: list[Any] = []
    worker = any_gearman.GearmanWorker([job_server.address])
    assert worker.register_task(name, lambda worker, job: seen.append(job.task)) == name
    with working(worker):
        submit(any_gearman, job_server, "task")
    assert seen == [name]


def test_a_job_has_bytes(gearman: Any, job_server: ServerProcess) -> None:
    seen: list[Any] = []
    with working(worker_for(gearman, job_server, f=lambda worker, job: seen.append(job))):
        submit(gearman, job_server, "f", "data", unique="id")
    (job,) = seen
    assert (job.data, job.unique) == (b"data", b"id")
    assert job.to_dict() == {"task": "f", "job_handle": job.handle, "unique": b"id", "data": b"data"}
    assert isinstance(job.handle, bytes)


def test_a_partial_and_a_method_are_callbacks(gearman: Any, job_server: ServerProcess) -> None:
    def add(more: bytes, worker: Any, job: Any) -> bytes:
        return bytes(job.data) + more

    with working(worker_for(gearman, job_server, f=functools.partial(add, b"!"))):
        assert submit(gearman, job_server, "f").result == b"x!"


# --- what a callback returns and raises ------------------------------------------------------------------------------


def test_no_result_is_an_empty_one(any_gearman: Any, job_server: ServerProcess) -> None:
    """In the original a TypeError leaves work(), and the job kills the next worker too."""
    with working(worker_for(any_gearman, job_server, f=lambda worker, job: None)):
        request = submit(any_gearman, job_server, "f")
    assert (request.state, request.result) == (any_gearman.JOB_COMPLETE, "" if isinstance(request.result, str) else b"")


def test_a_result_that_cannot_be_sent_fails_the_job(gearman: Any, job_server: ServerProcess) -> None:
    errors: list[Any] = []

    class Worker(gearman.GearmanWorker):  # type: ignore[misc]
        def on_job_exception(self, current_job: Any, exc_info: Any) -> Any:
            errors.append(exc_info[0])
            return super().on_job_exception(current_job, exc_info)

    worker = Worker([job_server.address])
    worker.register_task("f", lambda worker, job: 7)
    with working(worker):
        assert submit(gearman, job_server, "f").state == gearman.JOB_FAILED
        assert submit(gearman, job_server, "f").state == gearman.JOB_FAILED
    assert errors == [TypeError, TypeError]


def test_data_that_cannot_be_decoded_fails_the_job(gearman: Any, job_server: ServerProcess) -> None:
    """In the original the exception leaves work(), and the job kills the next worker too."""

    class Json(gearman.DataEncoder):  # type: ignore[misc]
        decode = staticmethod(json.loads)
        encode = staticmethod(json.dumps)

    errors: list[Any] = []

    class Worker(gearman.GearmanWorker):  # type: ignore[misc]
        data_encoder = Json

        def on_job_exception(self, current_job: Any, exc_info: Any) -> Any:
            errors.append((current_job.data, exc_info[0]))
            return super().on_job_exception(current_job, exc_info)

    worker = Worker([job_server.address])
    worker.register_task("f", echo)
    with working(worker):
        assert submit(gearman, job_server, "f", "{").state == gearman.JOB_FAILED
        assert submit(gearman, job_server, "f", "{}").result == b"{}"
    assert errors == [(b"{", json.JSONDecodeError)]


def test_what_an_override_of_on_job_complete_raises_leaves_work(gearman: Any, job_server: ServerProcess) -> None:
    class Worker(gearman.GearmanWorker):  # type: ignore[misc]
        def on_job_complete(self, current_job: Any, job_result: Any) -> Any:
            raise LookupError

    worker = Worker([job_server.address])
    worker.register_task("f", echo)
    submit(gearman, job_server, "f", background=True)
    assert isinstance(Running(worker.work).join(), LookupError)
    job_server.wait_for("f", total=1, running=0, workers=0)
    worker.shutdown()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_an_exit_leaves_work_and_the_job_goes_back(
    gearman: Any, job_server: ServerProcess, error: type[BaseException]
) -> None:
    def leave(worker: Any, job: Any) -> None:
        raise error

    submit(gearman, job_server, "f", background=True)
    worker = worker_for(gearman, job_server, f=leave)
    assert isinstance(Running(worker.work).join(), error)
    job_server.wait_for("f", total=1, running=0, workers=0)
    worker.register_task("f", echo)
    with working(worker):  # the same object, at work again
        job_server.wait_for("f", total=0)
    assert not worker.has_job_lock()


def test_completed_in_the_callback(gearman: Any, job_server: ServerProcess, caplog: pytest.LogCaptureFixture) -> None:
    def twice(worker: Any, job: Any) -> str:
        worker.send_job_complete(job, "first")
        return "second"

    with caplog.at_level(logging.ERROR), working(worker_for(gearman, job_server, f=twice)):
        assert submit(gearman, job_server, "f").result == b"first"
        assert submit(gearman, job_server, "f").result == b"first"
    assert "JOB_NOT_FOUND" in caplog.text


def test_numbers_of_a_status(gearman: Any) -> None:
    handler = gearman.worker_handler.GearmanWorkerCommandHandler()
    job = gearman.job.GearmanJob(None, b"H", "f", None, b"")
    with pytest.raises(AssertionError, match="Numerator must be a numeric value"):
        handler.send_job_status(job, "1", 2)
    with pytest.raises(AssertionError, match="Denominator must be a numeric value"):
        handler.send_job_status(job, 1, True)


# --- shutdown, hooks -------------------------------------------------------------------------------------------------


def test_shutdown_in_a_callback(gearman: Any, job_server: ServerProcess) -> None:
    def stop(worker: Any, job: Any) -> str:
        worker.shutdown()
        return "lost"

    submit(gearman, job_server, "f", background=True)
    worker = worker_for(gearman, job_server, f=stop)
    assert isinstance(Running(worker.work).join(), gearman.errors.ServerUnavailable)
    job_server.wait_for("f", total=1, running=0, workers=0)


def test_shutdown_while_it_waits(gearman: Any, job_server: ServerProcess) -> None:
    """As a signal handler does: it comes in the midst of a poll. The original goes on waiting on what is closed."""
    worker = worker_for(gearman, job_server, f=echo)
    seen = threading.Event()
    worker.after_poll = lambda any_activity: seen.set() or True
    running = Running(lambda: worker.work(poll_timeout=TURN))
    assert seen.wait(PATIENCE)
    job_server.wait_for("f", workers=1)

    def close_within(any_activity: bool) -> bool:
        worker.shutdown()
        return True

    worker.after_poll = close_within
    assert isinstance(running.join(), gearman.errors.ServerUnavailable)


def test_after_poll_ends_work(gearman: Any, job_server: ServerProcess) -> None:
    calls: list[bool] = []
    worker = worker_for(gearman, job_server, f=echo)
    worker.after_poll = lambda any_activity: calls.append(any_activity)
    assert worker.work() is None
    assert calls == [False]
    assert not worker.connection_list[0].connected


def test_after_job_is_called_after_a_job(gearman: Any, job_server: ServerProcess) -> None:
    done: list[Any] = []
    submit(gearman, job_server, "f", background=True)
    submit(gearman, job_server, "f", background=True)
    worker = worker_for(gearman, job_server, f=lambda worker, job: done.append(job))
    worker.after_job = lambda: False
    worker.work(poll_timeout=PATIENCE)
    assert len(done) == 1
    job_server.wait_for("f", total=1)


def test_hooks_of_a_job(gearman: Any, job_server: ServerProcess) -> None:
    called: list[str] = []

    class Worker(gearman.GearmanWorker):  # type: ignore[misc]
        def create_job(self, *arguments: Any) -> Any:
            called.append("create_job")
            return super().create_job(*arguments)

        def on_job_execute(self, current_job: Any) -> Any:
            called.append("on_job_execute")
            return super().on_job_execute(current_job)

        def on_job_exception(self, current_job: Any, exc_info: Any) -> Any:
            called.append("on_job_exception")
            self.send_job_data(current_job, str(exc_info[1]))
            return super().on_job_exception(current_job, exc_info)

        def on_job_complete(self, current_job: Any, job_result: Any) -> Any:
            called.append("on_job_complete")
            return super().on_job_complete(current_job, job_result)

        def set_job_lock(self, command_handler: Any, lock: bool) -> bool:
            called.append(f"lock {lock}")
            return bool(super().set_job_lock(command_handler, lock))

        def establish_worker_connections(self) -> Any:
            called.append("establish")
            return super().establish_worker_connections()

    worker = Worker([job_server.address])
    worker.register_task("good", echo)
    worker.register_task("bad", refuse)
    with working(worker):
        assert submit(gearman, job_server, "good").result == b"x"
        request = submit(gearman, job_server, "bad")
    assert (request.state, list(request.data_updates)) == (gearman.JOB_FAILED, [b"refused"])
    assert {"create_job", "on_job_execute", "on_job_exception", "on_job_complete"} <= set(called)
    assert {"lock True", "lock False", "establish"} <= set(called)


def test_abilities_change_while_it_works(gearman: Any, job_server: ServerProcess) -> None:
    def learn(worker: Any, job: Any) -> str:
        worker.register_task("second", echo)
        assert worker.unregister_task("third") == "third"
        assert worker.set_client_id("clever") == "clever"
        return "learned"

    worker = worker_for(gearman, job_server, second_name=echo, third=echo)
    worker.set_client_id("simple")
    ready: list[bool] = []

    def once(any_activity: bool) -> bool:
        if not ready and any_activity:
            ready.append(True)
            learn(worker, None)
        return True

    worker.after_poll = once
    with working(worker):
        # Its answer comes behind the new abilities; gearmand wakes nobody for a job that was there before them.
        assert submit(gearman, job_server, "second_name").result == b"x"
        assert submit(gearman, job_server, "second").result == b"x"
        wait_until(lambda: " clever : " in job_server.admin("workers"), "the worker has its new name")
        job_server.wait_for("third", workers=0)
    assert (worker.worker_client_id, set(worker.worker_abilities)) == ("clever", {"second_name", "second"})


# --- several servers -------------------------------------------------------------------------------------------------


def test_jobs_from_all_servers_one_at_a_time(gearman: Any, start_server: StartServer) -> None:
    servers = [start_server(), start_server()]
    running = threading.Lock()
    together: list[bool] = []

    def alone(worker: Any, job: Any) -> Any:
        together.append(not running.acquire(blocking=False))
        running.release()
        return job.data

    for server in servers:
        for number in range(10):
            submit(gearman, server, "f", str(number), background=True)
    worker = gearman.GearmanWorker([server.address for server in servers])
    worker.register_task("f", alone)
    with working(worker):
        for server in servers:
            server.wait_for("f", total=0)
    assert together == [False] * 20


def test_one_of_several_servers_is_lost_and_comes_not_back(gearman: Any, start_server: StartServer) -> None:
    servers = [start_server(), start_server()]
    worker = gearman.GearmanWorker([server.address for server in servers])
    worker.register_task("f", echo)
    with working(worker):
        for server in servers:
            server.wait_for("f", workers=1)
        servers[0].kill()
        assert submit(gearman, servers[1], "f").result == b"x"


def test_the_only_server_is_lost(gearman: Any, job_server: ServerProcess) -> None:
    worker = worker_for(gearman, job_server, f=echo)
    running = Running(worker.work)
    job_server.wait_for("f", workers=1)
    job_server.kill()
    error = running.join()
    assert isinstance(error, gearman.errors.ServerUnavailable)
    assert str(error).startswith("Found no valid connections in list: [")


def test_the_server_is_lost_while_a_job_runs(gearman: Any, job_server: ServerProcess) -> None:
    def lose(worker: Any, job: Any) -> None:
        job_server.kill()
        with pytest.raises(gearman.errors.ServerUnavailable):
            while True:  # the kernel takes some after the end
                worker.send_job_data(job, "x" * 1000)

    submit(gearman, job_server, "f", background=True)
    worker = worker_for(gearman, job_server, f=lose)
    assert isinstance(Running(worker.work).join(), gearman.errors.ServerUnavailable)
    assert not worker.has_job_lock()
