# SPDX-License-Identifier: BSD-3-Clause
"""Debian's `gearman` command as client and as worker: its exit codes and the bytes that it prints."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ..servers import HOST, ServerProcess, wait_until
from .conftest import Completed, Needs, Pool
from .peers import EVERY_BYTE, CommandWorker, Request, acting, b64, command, completing, unused

Gearman = Callable[..., Completed]
GearmanWorker = Callable[..., CommandWorker]

MEGABYTE = EVERY_BYTE * 4096
TIMED_OUT = rb"gearman: gearman_client_run_tasks : gearman_wait\(GEARMAN_TIMEOUT\) .*\n"
REFUSED = rb"gearman: gearman_client_run_tasks : flush\(GEARMAN_COULD_NOT_CONNECT\) .*\n"


def seen(done: Completed) -> tuple[int, bytes, bytes]:
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def cat(server: ServerProcess, gearman_worker: GearmanWorker) -> str:
    """A function that returns its workload, served by `gearman -w`."""
    name = unused("cat")
    gearman_worker(server, "-f", name, "--", "cat")
    return name


# As client and as worker.


@pytest.mark.parametrize("options", [[], ["-I"], ["-L"]], ids=["normal", "high", "low"])
def test_result_of_every_priority(gearman: Gearman, cat: str, options: list[str]) -> None:
    assert seen(gearman(*options, "-f", cat, data=EVERY_BYTE)) == (0, EVERY_BYTE, b"")


def test_each_data_argument_is_a_job(gearman: Gearman, cat: str) -> None:
    assert seen(gearman("-f", cat, "first", "second")) == (0, b"firstsecond", b"")


def test_no_data(gearman: Gearman, cat: str) -> None:
    assert seen(gearman("-f", cat, "-s")) == (0, b"", b"")


@pytest.mark.parametrize(("option", "output"), [("-n", b"one\ntwo\n"), ("-N", b"onetwo")])
def test_a_job_for_each_line(gearman: Gearman, cat: str, option: str, output: bytes) -> None:
    assert seen(gearman("-f", cat, option, data=b"one\ntwo\n")) == (0, output, b"")


def test_a_megabyte_both_ways(
    server: ServerProcess, gearman: Gearman, gearman_worker: GearmanWorker, tmp_path: Path
) -> None:
    # The command copies all that it has for every piece that it reads from a pipe, so that five take many seconds.
    name, kept = unused(), tmp_path / "kept"
    # The worker reads no output before the command has read all its input, so plain `cat` would block it.
    gearman_worker(server, "-f", name, "--", "sh", "-c", f"cat > {kept}; cat {kept}")
    done = gearman("-f", name, data=MEGABYTE)
    assert done.returncode == 0
    assert done.stdout == MEGABYTE


def test_five_megabytes_to_the_worker(pool: Pool, server: ServerProcess, gearman_worker: GearmanWorker) -> None:
    name = unused()
    gearman_worker(server, "-f", name, "--", "md5sum")
    digest = hashlib.md5(5 * MEGABYTE).hexdigest()
    assert pool.client("perl", server).run(Request(name, MEGABYTE[:256], 5 * 4096)) == f"{digest}  -\n".encode()


def test_five_megabytes_to_the_client(pool: Pool, server: ServerProcess, gearman: Gearman) -> None:
    done = gearman("-f", pool.prefix("perl", server) + "act", data=acting(["repeat", b64(EVERY_BYTE), 5 * 4096]))
    assert done.returncode == 0
    assert done.stdout == 5 * MEGABYTE


def test_verbose_tells_the_handle(gearman: Gearman, cat: str) -> None:
    code, output, errors = seen(gearman("-v", "-f", cat, "x"))
    assert (code, errors) == (0, b"")
    assert re.fullmatch(rb"xTask created: H:.+:\d+\n", output)


def test_prefix_of_two_functions(
    server: ServerProcess, gearman: Gearman, cat: str, gearman_worker: GearmanWorker
) -> None:
    other = unused("cat")
    gearman_worker(server, "-f", other, "--", "cat")
    done = gearman("-P", "-f", cat, "-f", other, "line\n")
    assert done.returncode == 0
    # 1.1.20 hands the same memory to both jobs, so that the one printed second shows the other's prefix as well.
    lines = {f"{cat}: line\n".encode(), f"{other}: line\n".encode()}
    assert any(line in done.stdout for line in lines)
    assert done.stdout.count(b"line\n") == 2


def test_unique_joins_the_job_that_is_there(
    server: ServerProcess, gearman: Gearman, gearman_worker: GearmanWorker
) -> None:
    name = unused()
    created = [gearman("-b", "-v", "-u", "same", "-f", name, f"data {n}").stdout for n in range(2)]
    created.append(gearman("-b", "-v", "-u", "other", "-f", name, "data 3").stdout)
    assert created[0] == created[1] != created[2]
    assert server.function(name).total == 2


def test_background_is_done_by_a_later_worker(
    server: ServerProcess, gearman: Gearman, gearman_worker: GearmanWorker, tmp_path: Path
) -> None:
    name, done = unused(), tmp_path / "done"
    assert seen(gearman("-b", "-f", name, "one")) == (0, b"", b"")
    assert re.fullmatch(rb"Task created: H:.+:\d+\n", gearman("-b", "-v", "-I", "-f", name, "two").stdout)
    gearman_worker(server, "-f", name, "--", "sh", "-c", f"cat >> {done}; echo >> {done}")
    server.wait_for(name, total=0)
    assert done.read_text() == "two\none\n"


def test_data_of_each_line(server: ServerProcess, gearman: Gearman, gearman_worker: GearmanWorker) -> None:
    name = unused()
    gearman_worker(server, "-n", "-f", name, "--", "cat")
    # Each WORK_DATA of 1.1.20's worker repeats the lines before it, whatever the server.
    assert seen(gearman("-f", name, data=b"one\ntwo\n")) == (0, b"one\none\ntwo\n", b"")


def test_failure(server: ServerProcess, gearman: Gearman, gearman_worker: GearmanWorker) -> None:
    name = unused()
    gearman_worker(server, "-f", name, "--", "sh", "-c", "cat; exit 3")
    assert seen(gearman("-f", name, "so far")) == (1, b"so far", b"Job failed\n")


def test_worker_without_a_command_prints_the_data(
    server: ServerProcess, gearman: Gearman, gearman_worker: GearmanWorker
) -> None:
    name = unused()
    worker = gearman_worker(server, "-c", "2", "-f", name)
    assert seen(gearman("-f", name, "first\n")) == (0, b"", b"")
    assert seen(gearman("-f", name, "second\n")) == (0, b"", b"")
    assert worker.process.wait(30) == 0
    assert (worker.output.take(), worker.output.take(), worker.output.take()) == ("first", "second", None)


def test_worker_of_several_functions(server: ServerProcess, gearman: Gearman, gearman_worker: GearmanWorker) -> None:
    names = [unused() for _ in range(3)]
    options = [word for name in names for word in ("-f", name)]
    gearman_worker(server, *options, "--", "cat")
    for name in names:
        assert seen(gearman("-f", name, name)) == (0, name.encode(), b"")


# What ends without a result.


def test_timeout(server: ServerProcess, gearman: Gearman) -> None:
    name = unused()
    code, output, errors = seen(gearman("-t", "100", "-f", name, "x"))
    assert (code, output) == (0, b"")
    assert re.fullmatch(TIMED_OUT, errors)


def test_queue_of_a_client_that_left(
    server: ServerProcess, gearman: Gearman, gearman_worker: GearmanWorker, tmp_path: Path
) -> None:
    name, done = unused(), tmp_path / "done"
    gearman("-t", "100", "-f", name, "abandoned")
    gearman("-b", "-f", name, "wanted")
    gearman_worker(server, "-f", name, "--", "sh", "-c", f"cat >> {done}; echo >> {done}")
    server.wait_for(name, total=0)
    assert done.read_text() == "wanted\n"


def test_no_server(needs: Needs) -> None:
    needs("gearman")

    class Nobody:
        host, port = HOST, 1  # nothing listens on tcpmux here

    code, output, errors = seen(command("gearman", Nobody, "-f", "f", "x"))  # type: ignore[arg-type]
    assert (code, output) == (0, b"")
    assert re.fullmatch(REFUSED, errors)


@pytest.mark.parametrize("arguments", [["x"], ["-f"], ["-q"]], ids=["no-function", "no-name", "unknown-option"])
def test_usage_errors(gearman: Gearman, arguments: list[str]) -> None:
    code, output, errors = seen(gearman(*arguments))
    assert (code, output) == (1, b"")
    assert b"Error in usage" in errors


def test_help(gearman: Gearman) -> None:
    code, output, errors = seen(gearman("-H"))
    assert (code, output) == (0, b"")
    assert errors.startswith(b"\ngearman\tError in usage")


# With workers and clients of other languages.


@pytest.mark.parametrize("language", ["php", "perl"])
def test_as_client_of_another_worker(pool: Pool, server: ServerProcess, gearman: Gearman, language: str) -> None:
    prefix = pool.prefix(language, server)
    assert seen(gearman("-f", prefix + "reverse", data=EVERY_BYTE)) == (0, EVERY_BYTE[::-1], b"")
    workload = acting(
        ["status", 1, 4], ["data", b64(b"data ")], ["warning", b64(b"careful\n")], ["status", 4, 4], completing(b"done")
    )
    done = gearman("-f", prefix + "act", data=workload)
    # Data is written at once, the lines of the status when the program ends.
    assert seen(done) == (0, b"data done25% Complete\n100% Complete\n", b"careful\n")
    assert seen(gearman("-f", prefix + "act", data=acting(["fail"]))) == (1, b"", b"Job failed\n")


@pytest.mark.parametrize("language", ["php", "perl"])
def test_as_worker_of_another_client(
    pool: Pool, server: ServerProcess, cat: str, gearman_worker: GearmanWorker, language: str
) -> None:
    client = pool.client(language, server)
    bad, lines = unused("bad"), unused("lines")
    gearman_worker(server, "-f", bad, "--", "sh", "-c", "cat; exit 3")
    gearman_worker(server, "-n", "-f", lines, "--", "cat")
    for priority in ("normal", "high", "low"):
        assert client.run(Request(cat, EVERY_BYTE, priority=priority)) == EVERY_BYTE
    [failed, parts] = client.submit(Request(bad, b"so far"), Request(lines, b"one\ntwo\n"))
    assert (failed.state, failed.data) == ("fail", (b"so far",))
    assert (parts.state, parts.data, parts.result) == ("complete", (b"one\n", b"one\ntwo\n"), b"")


def test_killed_worker_passes_its_job_on(
    server: ServerProcess, gearman: Gearman, gearman_worker: GearmanWorker, tmp_path: Path
) -> None:
    name, started, never = unused(), tmp_path / "started", tmp_path / "never"
    os.mkfifo(never)  # nobody writes to it, so reading it takes until the end of the test
    first = gearman_worker(server, "-f", name, "--", "sh", "-c", f"echo > {started}; cat {never}")
    gearman("-b", "-f", name, "job")
    wait_until(started.exists, "the first worker has the job")
    assert server.function(name).running == 1
    second = gearman_worker(server, "-c", "1", "-f", name)
    server.wait_for(name, workers=2)
    first.kill()
    assert second.process.wait(30) == 0
    assert second.output.take() == "job"
