# SPDX-License-Identifier: BSD-3-Clause
"""Debian's `gearadmin`: every operation, its exact output and its exit status."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from ..servers import HOST, ServerProcess
from .conftest import Completed, Needs
from .peers import Client, Request, Worker, command, completing

Gearadmin = Callable[..., Completed]
MakeClient = Callable[[str, ServerProcess], Client]
MakeWorker = Callable[..., Worker]
OK = (0, b"OK\n", b"")


def seen(done: Completed) -> tuple[int, bytes, bytes]:
    return done.returncode, done.stdout, done.stderr


def rows(done: Completed) -> list[bytes]:
    """The lines of a list, sorted, as servers give them in any order; it must end in a dot."""
    assert (done.returncode, done.stderr) == (0, b"")
    *lines, dot = done.stdout.splitlines(keepends=True)
    assert dot == b".\n"
    return sorted(lines)


@pytest.fixture
def php(own_server: ServerProcess, make_client: MakeClient) -> Client:
    return make_client("php", own_server)


# One line.


def test_server_version(own_server: ServerProcess, gearadmin: Gearadmin) -> None:
    version = own_server.admin("version").removeprefix("OK ")
    assert seen(gearadmin("--server-version")) == (0, version.encode(), b"")
    assert re.fullmatch(r"\d+\.\d+\S*\n", version)


def test_server_verbose(own_server: ServerProcess, gearadmin: Gearadmin) -> None:
    code, output, errors = seen(gearadmin("--server-verbose"))
    assert (code, errors) == (0, b"")
    assert output in (b"ERROR\n", b"WARNING\n", b"NOTICE\n", b"INFO\n", b"DEBUG\n")


def test_getpid(own_server: ServerProcess, gearadmin: Gearadmin) -> None:
    assert seen(gearadmin("--getpid")) == (0, f"{own_server.pid}\n".encode(), b"")


def test_create_and_drop_function(gearadmin: Gearadmin) -> None:
    assert seen(gearadmin("--create-function", "made")) == OK
    assert seen(gearadmin("--create-function", "made")) == OK
    assert rows(gearadmin("--status")) == [b"made\t0\t0\t0\n"]
    assert seen(gearadmin("--drop-function", "MADE")) == OK
    assert rows(gearadmin("--status")) == []
    assert seen(gearadmin("--drop-function", "made")) == (0, b"", b"Error: function not found\r\n")


def test_drop_function_with_a_worker(own_server: ServerProcess, gearadmin: Gearadmin, make_worker: MakeWorker) -> None:
    make_worker("php", own_server, "w.")
    own_server.wait_for("w.hold", workers=1)
    refusal = b"Error: there are still connected workers or executing clients\r\n"
    assert seen(gearadmin("--drop-function", "w.hold")) == (0, b"", refusal)
    assert own_server.function("w.hold").workers == 1


def test_cancel_job(own_server: ServerProcess, gearadmin: Gearadmin, php: Client) -> None:
    php.begin(Request("f", b"x"))
    own_server.wait_for("f", total=1)
    handle = own_server.admin("show jobs").split("\t")[0]
    assert seen(gearadmin("--cancel-job", handle)) == OK
    assert [outcome.state for outcome in php.outcomes()] == ["fail"]


def test_cancel_a_job_that_waits_in_the_background(
    own_server: ServerProcess, gearadmin: Gearadmin, php: Client, make_worker: MakeWorker
) -> None:
    cancelled, kept = (php.background(Request("w.hold", word)) for word in (b"cancelled", b"kept"))
    assert seen(gearadmin("--cancel-job", cancelled)) == OK
    worker = make_worker("php", own_server, "w.")
    assert worker.event("start")["handle"] == kept
    assert php.status(cancelled)[:2] == (0, 0)


def test_cancel_an_unknown_job(gearadmin: Gearadmin) -> None:
    assert seen(gearadmin("--cancel-job", "H:nobody:1")) == (0, b"", b"Error: UNKNOWN_JOB\r\n")


# Lists.


def test_empty_lists(gearadmin: Gearadmin) -> None:
    for option in ("--status", "--priority-status", "--show-jobs", "--show-unique-jobs"):
        assert seen(gearadmin(option)) == (0, b".\n", b"")


def test_workers_of_an_idle_server(gearadmin: Gearadmin) -> None:
    [line] = rows(gearadmin("--workers"))
    assert re.fullmatch(rb"\d+ 127\.0\.0\.1 - :\n", line)


@pytest.mark.parametrize("language", ["php", "perl"])
def test_workers(own_server: ServerProcess, gearadmin: Gearadmin, make_worker: MakeWorker, language: str) -> None:
    make_worker(language, own_server, "w.")
    own_server.wait_for("w.hold", workers=1)
    lines = rows(gearadmin("--workers"))
    [line] = [line for line in lines if b"worker" in line]
    found = re.fullmatch(rb"(\d+) 127\.0\.0\.1 (\S+) : (.+)\n", line)
    assert found is not None
    assert found[2] == f"{language}-worker".encode()
    functions = found[3].split(b" ")
    assert sorted(functions) == [b"w.act", b"w.echo", b"w.hold", b"w.reverse"]
    if language == "php":
        # libgearman registers what was added last first, and the newest registration is shown first; Perl's order
        # is random.
        assert functions == [b"w.echo", b"w.reverse", b"w.act", b"w.hold"]


def test_status_and_jobs(own_server: ServerProcess, gearadmin: Gearadmin, php: Client, make_worker: MakeWorker) -> None:
    worker = make_worker("php", own_server, "w.")
    running = php.background(Request("w.hold", b"running", unique="u-running"))
    assert worker.event("start")["handle"] == running
    waiting = [
        php.background(Request("w.hold", priority.encode(), unique=f"u-{priority}", priority=priority))
        for priority in ("high", "normal", "low")
    ]
    assert rows(gearadmin("--status")) == [
        b"w.act\t0\t0\t1\n", b"w.echo\t0\t0\t1\n", b"w.hold\t4\t1\t1\n", b"w.reverse\t0\t0\t1\n",
    ]  # fmt: skip
    assert rows(gearadmin("--priority-status")) == [
        b"w.act\t0\t0\t0\t1\n", b"w.echo\t0\t0\t0\t1\n", b"w.hold\t1\t1\t1\t1\n", b"w.reverse\t0\t0\t0\t1\n",
    ]  # fmt: skip
    # The last column is 1 for a job in the background, running or not.
    assert rows(gearadmin("--show-jobs")) == sorted(f"{handle}\t0\t0\t1\n".encode() for handle in [running, *waiting])
    assert rows(gearadmin("--show-unique-jobs")) == [b"u-high\n", b"u-low\n", b"u-normal\n", b"u-running\n"]
    worker.order(completing(b"done"))
    assert worker.event("start")["handle"] == waiting[0]
    assert own_server.function("w.hold") == (3, 1, 1)


def test_show_jobs_counts_retries(
    own_server: ServerProcess, gearadmin: Gearadmin, php: Client, make_worker: MakeWorker
) -> None:
    first = make_worker("php", own_server, "w.")
    handle = php.background(Request("w.hold", b"x"))
    first.event("start")
    first.kill()
    own_server.wait_for("w.hold", running=0)
    assert rows(gearadmin("--show-jobs")) == [f"{handle}\t1\t0\t1\n".encode()]


def test_a_foreground_job_is_not_queued_in_the_background(
    own_server: ServerProcess, gearadmin: Gearadmin, php: Client
) -> None:
    php.begin(Request("f", b"x", unique="mine"))
    own_server.wait_for("f", total=1)
    [line] = rows(gearadmin("--show-jobs"))
    assert line.endswith(b"\t0\t0\t0\n")
    assert rows(gearadmin("--show-unique-jobs")) == [b"mine\n"]


# Several operations, and what goes wrong.


def test_several_operations_have_a_fixed_order(own_server: ServerProcess, gearadmin: Gearadmin) -> None:
    version = own_server.admin("version").removeprefix("OK ").encode()
    code, output, errors = seen(
        gearadmin("--status", "--workers", "--server-version", "--create-function", "made", "--getpid")
    )
    assert (code, errors) == (0, b"")
    own = rb"\d+ 127\.0\.0\.1 - :\n\.\n"
    expected = rb"%d\nOK\n" % own_server.pid + re.escape(version) + own + rb"made\t0\t0\t0\n\.\n"
    assert re.fullmatch(expected, output)


@pytest.mark.parametrize("arguments", [[], ["--maxqueue", "f"], ["--shutdown"]], ids=["none", "maxqueue", "shutdown"])
def test_usage_errors(gearadmin: Gearadmin, arguments: list[str]) -> None:
    done = gearadmin(*arguments)
    assert done.returncode == 1
    assert b"Options:" in done.stdout


def test_no_server(needs: Needs) -> None:
    needs("gearadmin")

    class Nobody:
        host, port = HOST, 1

    done = command("gearadmin", Nobody, "--status")  # type: ignore[arg-type]
    assert done.returncode == 1
    assert done.stderr.startswith(b"Error: Error connecting to 127.0.0.1.")


def test_many_at_once(own_server: ServerProcess, gearadmin: Gearadmin, php: Client) -> None:
    for n in range(300):
        php.background(Request(f"function-{n}", b"x", unique=f"unique-{n}"))
    assert len(rows(gearadmin("--status"))) == 300
    assert rows(gearadmin("--show-unique-jobs")) == sorted(f"unique-{n}\n".encode() for n in range(300))
    assert len(rows(gearadmin("--show-jobs"))) == 300
