# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast submit`, `worker` and `admin` beside Debian's `gearman` and `gearadmin`: the same bytes, the same status.

Where gearman exits with 0 though nothing was done (a time-out, nobody listens), `gearfast submit` says so.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator

import pytest

from ..command_line import command as gearfast_command
from ..command_line import gearfast
from ..servers import HOST, PATIENCE, ServerProcess, clean_environment
from .conftest import Completed, Needs, Pool
from .peers import Client, Request, acting, b64, command, completing, unused

PIECES = acting(
    ["status", 1, 4], ["data", b64(b"one ")], ["warning", b64(b"careful\n")], ["data", b64(b"two ")], completing(b"end")
)
FAILING = acting(["data", b64(b"half")], ["fail"])


def both(server: ServerProcess, *arguments: str, data: bytes = b"") -> tuple[Completed, Completed]:
    """What `gearman` and `gearfast submit` make of the same words."""
    there = ["-h", server.host, "-p", str(server.port)]
    return command("gearman", server, *arguments, data=data), gearfast("submit", *there, *arguments, data=data)


def same(server: ServerProcess, *arguments: str, data: bytes = b"") -> Completed:
    """The result of both, which must be the same."""
    theirs, ours = both(server, *arguments, data=data)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    return ours


@pytest.fixture
def prefix(needs: Needs, pool: Pool, server: ServerProcess) -> str:
    """Of the functions of a worker in PHP."""
    needs("gearman", "php")
    return pool.prefix("php", server)


def test_results(server: ServerProcess, prefix: str) -> None:
    echo = prefix + "echo"
    assert same(server, "-f", echo, "one", "two").stdout == b"onetwo"
    assert same(server, "-f", echo, data=bytes(range(256))).stdout == bytes(range(256))
    assert same(server, "-n", "-f", echo, data=b"a\r\n\nb").stdout == b"a\r\n\nb"
    assert same(server, "-N", "-P", "-I", "-f", echo, data=b"a\r\nb\n").stdout.endswith(b"echo: b")
    assert same(server, "-s", "-L", "-f", echo).stdout == b""
    assert same(server, "-P", "-f", echo, "-s").stdout == f"{echo}: ".encode()
    assert same(server, "-n", "-f", echo, data=b"").stdout == b""


def test_what_comes_before_the_end(server: ServerProcess, prefix: str) -> None:
    act = prefix + "act"
    head = act.encode() + b": "
    pieces = same(server, "-P", "-f", act, data=PIECES)
    assert pieces.stdout == b"%b25%% Complete\n%bone %btwo %bend" % (head, head, head, head)
    assert pieces.stderr == head + b"careful\n"
    # Without -P gearman writes its lines of text when it ends; on a terminal they come in order, as here.
    theirs, ours = both(server, "-f", act, data=PIECES)
    assert (ours.returncode, ours.stdout, theirs.stdout) == (
        0,
        b"25% Complete\none two end",
        b"one two end25% Complete\n",
    )


def test_failures(server: ServerProcess, prefix: str) -> None:
    act = prefix + "act"
    assert (done := same(server, "-f", act, data=FAILING)).returncode == 1
    assert (done.stdout, done.stderr) == (b"half", b"Job failed\n")
    lines = same(server, "-P", "-n", "-f", act, data=FAILING + b"\n" + acting(completing(b"fine")) + b"\n")
    assert (lines.returncode, lines.stderr) == (1, f"{act}: Job failed\n".encode())


def test_background(server: ServerProcess, needs: Needs) -> None:
    needs("gearman")
    name = unused()
    assert same(server, "-b", "-f", name, "one", "two").stdout == b""
    theirs, ours = both(server, "-b", "-v", "-P", "-f", name, "-u", "unique", "x")
    assert ours.stdout == theirs.stdout  # the handle too: it is one job
    assert re.fullmatch(rb"Task created: H:.+\n", ours.stdout)
    assert server.function(name).total == 5


def test_where_gearman_says_nothing_by_its_status(server: ServerProcess, needs: Needs) -> None:
    needs("gearman")
    theirs, ours = both(server, "-t", "50", "-f", unused(), "x")
    assert (theirs.returncode, ours.returncode, ours.stdout) == (0, 4, b"")

    class Nobody:
        host, port = HOST, 1

    theirs, ours = both(Nobody, "-f", "f", "x")  # type: ignore[arg-type]
    assert (theirs.returncode, ours.returncode, ours.stdout) == (0, 3, b"")
    theirs, ours = both(server, "-Q")
    assert (theirs.returncode, ours.returncode, ours.stdout) == (1, 2, b"")
    for done in (theirs, ours):
        assert done.stderr


@contextlib.contextmanager
def working(server: ServerProcess, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean_environment())
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("who", ["gearman", "gearfast"])
def test_the_same_words_make_the_same_worker(server: ServerProcess, needs: Needs, who: str) -> None:
    needs("gearman")
    name = unused()
    there = ["-h", server.host, "-p", str(server.port), "-w", "-f", name]
    start = ["gearman", *there] if who == "gearman" else gearfast_command("worker", *there)
    with working(server, *start, "--", "sh", "-c", 'read -r word; printf "%s!" "$word"; [ "$word" = fine ]'):
        fine = command("gearman", server, "-f", name, "fine\n")
        bad = command("gearman", server, "-f", name, "bad\n")
        assert (fine.returncode, fine.stdout, fine.stderr) == (0, b"fine!", b"")
        assert (bad.returncode, bad.stdout) == (1, b"bad!")
        assert bad.stderr.endswith(b"Job failed\n")
    with working(server, *start, "-c", "1") as printing:
        done = command("gearman", server, "-f", name, "data")
        assert (done.returncode, done.stdout) == (0, b"")
        assert printing.communicate(timeout=PATIENCE)[0] == b"data"
        assert printing.returncode == 0


def test_admin(own_server: ServerProcess, needs: Needs, make_client: type[Client]) -> None:
    """All of gearadmin's options; what differs is the number of the asker's own connection."""
    needs("gearadmin")
    server = own_server
    gearfast("submit", "-b", "-h", HOST, "-p", str(server.port), "-f", "one", "-f", "two", "-u", "u", "x")
    there = ["-h", server.host, "-p", str(server.port)]
    flags = ["--status", "--priority-status", "--workers", "--show-unique-jobs", "--show-jobs", "--getpid"]
    flags += ["--server-verbose", "--server-version", "--create-function", "made", "--drop-function", "made"]
    theirs = command("gearadmin", server, *flags)
    ours = gearfast("admin", *there, *flags)
    anonymous = [re.sub(rb"\d+ 127", b"N 127", done.stdout) for done in (theirs, ours)]
    assert anonymous[0] == anonymous[1]
    assert (theirs.returncode, ours.returncode, ours.stderr) == (0, 0, b"")
    assert b"\n.\n" in ours.stdout
    handle = server.admin("show jobs").split("\t")[0]
    assert gearfast("admin", *there, "--cancel-job", handle).stdout == b"OK\n"
    # gearadmin exits with 0 when the server refuses.
    theirs, ours = (
        command("gearadmin", server, "--cancel-job", "H:nobody:1"),
        gearfast("admin", *there, "--cancel-job", "H:nobody:1"),
    )
    assert (theirs.returncode, theirs.stdout, ours.returncode, ours.stdout) == (0, b"", 1, b"")
    assert b"UNKNOWN_JOB" in ours.stderr


def test_another_client_is_served(server: ServerProcess, pool: Pool, needs: Needs) -> None:
    """PHP's client gets what a program wrote, from `gearfast worker`."""
    needs("php")
    name = unused()
    words = gearfast_command("worker", "-h", server.host, "-p", str(server.port), "-f", name, "--", "rev")
    with working(server, *words):
        assert pool.client("php", server).run(Request(name, b"abc\n")) == b"cba\n"
