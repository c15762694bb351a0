# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast admin`: tables on a terminal, lines and JSON elsewhere, several servers, gearadmin's options."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from gearfast import Client, Server
from gearfast.cli import FAILED, OK, UNREACHABLE, USAGE, main

from . import gearmand
from .command_line import command
from .server_tools import LIMIT, Wire
from .servers import ServerProcess, clean_environment

Out = pytest.CaptureFixture[bytes]
server_kind = gearmand.server_kind
start_server = gearmand.start_server
job_server = gearmand.job_server
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX terminal")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with a background job in each of three functions."""
    with Server() as server, Client(server.url) as client:
        for name in ("resize", "mail", "reports"):
            client.submit_background(name, unique=f"u-{name}")
        yield server


@pytest.fixture(scope="module")
def other() -> Iterator[Server]:
    with Server() as server, Client(server.url) as client:
        client.submit_background("mail")
        yield server


@pytest.fixture
def gearfast(server: Server) -> Callable[..., int]:
    """Runs a command line in this process, with this server unless another one is named."""
    return lambda *words: main(["admin", *([] if "--server" in words else ["--server", server.url]), *words])


def label(server: Server) -> str:
    return f"{server.host}:{server.port}"


def test_lines(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("status") == OK
    assert capsysbinary.readouterr().out == b"mail\t1\t0\t0\nreports\t1\t0\t0\nresize\t1\t0\t0\n"
    assert gearfast("priority-status", "re*") == OK
    assert capsysbinary.readouterr().out == b"reports\t0\t1\t0\t0\nresize\t0\t1\t0\t0\n"
    assert gearfast("status", "nothing") == OK
    assert capsysbinary.readouterr().out == b""
    assert gearfast("jobs") == OK
    assert re.fullmatch(rb"(H:\S+\t0\t0\t1\n){3}", capsysbinary.readouterr().out)
    assert gearfast("workers") == OK
    assert re.search(rb"^\d+ 127\.0\.0\.1 - :$", capsysbinary.readouterr().out, re.MULTILINE)


def test_options_of_gearadmin(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("--show-unique-jobs", "--server-version") == OK
    lines = capsysbinary.readouterr().out.decode().splitlines()
    assert (sorted(lines[:3]), lines[3]) == (["u-mail", "u-reports", "u-resize"], ".")
    assert re.fullmatch(r"\d+\.\d+.*", lines[4])
    assert gearfast("--json", "--status", "--getpid") == OK
    found = json.loads(capsysbinary.readouterr().out)
    assert found["getpid"] == os.getpid()
    assert found["status"][0] == {"function": "mail", "total": 1, "running": 0, "workers": 0}
    assert gearfast("--create-function", "made", "--drop-function", "made", "--drop-function", "made") == OK
    assert capsysbinary.readouterr().out == b"OK\nOK\n"
    assert gearfast("--drop-function", "made", "--server-version") == FAILED
    output, errors = capsysbinary.readouterr()
    assert output.decode().strip() == lines[4]  # what can be done is done
    assert b"function not found" in errors


def test_several_servers(gearfast: Callable[..., int], capsysbinary: Out, server: Server, other: Server) -> None:
    both = ("--server", server.url, "--server", other.url)
    assert gearfast(*both, "status", "mail") == OK
    expected = "".join(f"{label(one)}\tmail\t1\t0\t0\n" for one in (server, other))
    assert capsysbinary.readouterr().out.decode() == expected
    assert gearfast(*both, "status", "mail", "--json") == OK
    rows = json.loads(capsysbinary.readouterr().out)
    assert [row["server"] for row in rows] == [label(server), label(other)]
    assert gearfast(*both, "getpid", "--json") == OK
    assert json.loads(capsysbinary.readouterr().out) == {
        "getpid": {label(server): os.getpid(), label(other): os.getpid()}
    }
    assert gearfast(*both, "ping") == OK
    assert re.fullmatch(r"(127\.0\.0\.1:\d+\t[\d.]+ ms\n){2}", capsysbinary.readouterr().out.decode())
    # One that is away is told; the others answer.
    assert gearfast("--server", f"127.0.0.1:1,{label(other)}", "status", "mail") == UNREACHABLE
    output, errors = capsysbinary.readouterr()
    assert output.decode() == f"{label(other)}\tmail\t1\t0\t0\n"
    assert errors.startswith(b"gearfast admin: cannot connect to 127.0.0.1:1: ") and errors.count(b"\n") == 1


def test_json_of_a_server_that_is_away(gearfast: Callable[..., int], capsysbinary: Out, server: Server) -> None:
    one_away = ("--json", "--server", f"127.0.0.1:1,{label(server)}")
    reason = {"error": "cannot connect to 127.0.0.1:1: Connection refused", "kind": "ConnectError"}
    there = {"server": label(server), "function": "mail", "total": 1, "running": 0, "workers": 0}
    assert gearfast(*one_away, "status", "mail") == UNREACHABLE
    output, errors = capsysbinary.readouterr()
    assert json.loads(output) == [{"server": "127.0.0.1:1", **reason}, there]
    assert errors.count(b"\n") == 1
    assert gearfast(*one_away, "getpid") == UNREACHABLE
    assert json.loads(capsysbinary.readouterr().out) == {"getpid": {"127.0.0.1:1": reason, label(server): os.getpid()}}
    # Of gearadmin's options each one has its entry, but the complaint comes once.
    assert gearfast(*one_away, "--getpid", "--show-unique-jobs") == UNREACHABLE
    output, errors = capsysbinary.readouterr()
    found = json.loads(output)
    assert found["getpid"] == {"127.0.0.1:1": reason, label(server): os.getpid()}
    assert found["unique-jobs"][0] == {"server": "127.0.0.1:1", **reason}
    assert len(found["unique-jobs"]) == 4
    assert errors.count(b"\n") == 1
    # Alone too, and what is unreachable outweighs what is refused, in any order.
    assert gearfast("--json", "--server", "127.0.0.1:1", "getpid") == UNREACHABLE
    assert json.loads(capsysbinary.readouterr().out) == {"getpid": reason}
    for servers in (f"127.0.0.1:1,{label(server)}", f"{label(server)},127.0.0.1:1"):
        assert gearfast("--json", "--server", servers, "drop", "nobody") == UNREACHABLE
        found = json.loads(capsysbinary.readouterr().out)["drop"]
        assert {name: entry["kind"] for name, entry in found.items()} == {
            "127.0.0.1:1": "ConnectError",
            label(server): "ServerError",
        }


def test_ping_in_json_is_seconds(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("ping", "--json") == OK
    seconds = json.loads(capsysbinary.readouterr().out)["ping"]
    assert isinstance(seconds, float)
    assert 0 < seconds < LIMIT
    assert gearfast("ping") == OK
    assert re.fullmatch(rb"\d+\.\d{3} ms\n", capsysbinary.readouterr().out)


def test_drop(gearfast: Callable[..., int], capsysbinary: Out, job_server: ServerProcess) -> None:
    here = ("--server", job_server.address)
    assert gearfast(*here, "create", "made") == OK
    assert gearfast(*here, "drop", "made") == OK
    assert capsysbinary.readouterr() == (b"OK\nOK\n", b"")
    assert gearfast(*here, "drop", "made") == FAILED
    output, errors = capsysbinary.readouterr()
    assert (output, errors.count(b"\n")) == (b"", 1)
    assert errors.rstrip().endswith(b"function not found")
    with Wire((job_server.host, job_server.port)) as worker:
        worker.can_do(b"used")
        assert gearfast(*here, "drop", "used", "--json") == FAILED
        output, errors = capsysbinary.readouterr()
        reason = "ERR: there are still connected workers or executing clients"
        assert json.loads(output) == {"drop": {"error": reason, "kind": "ServerError"}}
        assert errors.decode() == f"gearfast admin: {job_server.address}: {reason}\n"


@pytest.mark.parametrize("words", [["shutdown"], ["shutdown", "--graceful"]])
def test_shutdown(gearfast: Callable[..., int], capsysbinary: Out, job_server: ServerProcess, words: list[str]) -> None:
    status = gearfast("--server", job_server.address, *words)
    output, errors = capsysbinary.readouterr()
    if job_server.kind == "gearfast":
        assert (status, output, errors) == (OK, b"OK\n", b"")
        assert job_server.process.wait(LIMIT) == 0
    else:  # gearmand has not had it since 1.1.15
        assert (status, output) == (FAILED, b"")
        assert errors.decode() == (
            f"gearfast admin: {job_server.address}: it has no such command; "
            "a signal to the process that `gearfast admin getpid` names ends it\n"
        )
        assert job_server.process.poll() is None


def test_refusals(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("cancel", "H:nobody:1") == FAILED
    output, errors = capsysbinary.readouterr()
    assert output == b""
    assert b"UNKNOWN_JOB" in errors and b"`gearfast admin jobs` lists those that are there" in errors
    for kept in ("dead", "results"):
        assert gearfast(kept, "drop", "H:nobody:1") == FAILED
        assert f"`gearfast admin {kept}` lists those that are there" in capsysbinary.readouterr().err.decode()
    for words, hint in [
        ([], b"what? one of: cancel, cluster, create,"),
        (["stauts"], b"did you mean status?"),
        (["--stauts"], b"did you mean --status?"),
        (["status", "--workers"], b"its place is in `gearfast admin [options] COMMAND ...`\n"),
        (["status", "--timeout=3"], b"its place is in `gearfast admin [options] COMMAND ...`\n"),
        (["status", "-p", "4730"], b"its place is in `gearfast admin [options] COMMAND ...`\n"),
        (["--workers", "status"], b"not both"),
        (
            ["cancel"],
            b"gearfast admin cancel: the following arguments are required: HANDLE; see gearfast admin cancel --",
        ),
        (["maxqueue", "f", "1", "2"], b"three"),
        (["maxqueue", "f", "x"], b"invalid int value"),
    ]:
        assert gearfast(*words) == USAGE
        errors = capsysbinary.readouterr().err
        assert hint in errors and errors.count(b"\n") == 1, errors


def on_terminal(server: Server, *words: str, **environ: str) -> str:
    """What is shown on a terminal."""
    import pty

    ours, theirs = pty.openpty()
    clean = {name: value for name, value in clean_environment().items() if name not in ("NO_COLOR", "TERM")}
    with subprocess.Popen(
        command("admin", "--server", server.url, *words), stdout=theirs, stdin=subprocess.DEVNULL, env=clean | environ
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # the end of a terminal
            os.close(ours)
        assert process.wait(LIMIT) == OK
    return shown.decode().replace("\r\n", "\n")


@posix
def test_table_on_a_terminal(server: Server) -> None:
    bold = on_terminal(server, "status", COLUMNS="80", TERM="xterm")
    assert bold == (
        "\x1b[1mFUNCTION  TOTAL  RUNNING  WORKERS\x1b[0m\n"
        "mail          1        0        0\n"
        "reports       1        0        0\n"
        "resize        1        0        0\n"
    )
    plain = on_terminal(server, "status", "mail", COLUMNS="80", TERM="xterm", NO_COLOR="1")
    assert plain == "FUNCTION  TOTAL  RUNNING  WORKERS\nmail          1        0        0\n"


@posix
def test_json_and_gearadmin_on_a_terminal(server: Server) -> None:
    assert json.loads(on_terminal(server, "status", "mail", "--json"))[0]["total"] == 1
    assert on_terminal(server, "--show-jobs").endswith("\t0\t0\t1\n.\n")
