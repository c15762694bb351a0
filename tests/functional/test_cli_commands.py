# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast submit`, `gearfast worker` and `gearfast admin` against a real server."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from gearfast import Fail, Server, Worker
from gearfast.cli import FAILED, OK, TIMED_OUT, UNREACHABLE, USAGE, main

from .server_tools import Wire, eventually

Out = pytest.CaptureFixture[bytes]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def worker(server: Server) -> Iterator[Worker]:
    """A worker with a function for each way that a job can end."""
    worker = Worker(server.url, id="w1")

    @worker.function("reverse")
    def reverse(job: Any) -> bytes:
        return bytes(job.workload[::-1])

    @worker.function("pieces")
    def pieces(job: Any) -> bytes:
        job.send_status(1, 4)
        job.send_warning(b"careful\n")
        job.send_data(b"one ")
        job.send_data(b"two ")
        return b"three"

    @worker.function("fail")
    def fail(job: Any) -> bytes:
        raise Fail("")

    @worker.function("raise")
    def raises(job: Any) -> bytes:
        raise ValueError("broken beyond repair")

    thread = threading.Thread(target=worker.run)
    thread.start()
    yield worker
    worker.stop()
    thread.join()


@pytest.fixture
def gearfast(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command line in this process, with this server as the default one."""
    monkeypatch.setenv("GEARFAST_SERVERS", server.url)
    return lambda *words: main(words)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


def connect(server: Server) -> Wire:
    return Wire((server.host, server.port))


# submit


@pytest.mark.usefixtures("worker")
def test_submit_arguments(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("submit", "reverse", "abc", "def") == OK
    assert capsysbinary.readouterr().out == b"cbafed"
    assert gearfast("submit", "-f", "reverse", "-P", "abc") == OK
    assert capsysbinary.readouterr().out == b"reverse: cba"


@pytest.mark.usefixtures("worker")
def test_submit_standard_input(gearfast: Callable[..., int], capsysbinary: Out, stdin: Callable[[bytes], None]) -> None:
    stdin(b"\0\xff two\nlines\n")
    assert gearfast("submit", "reverse") == OK
    assert capsysbinary.readouterr().out == b"\nsenil\nowt \xff\0"
    stdin(b"ab\ncd\n")
    assert gearfast("submit", "reverse", "-N") == OK
    assert capsysbinary.readouterr().out == b"badc"
    stdin(b"ab\ncd\n")
    assert gearfast("submit", "reverse", "-n") == OK
    assert capsysbinary.readouterr().out == b"\nba\ndc"
    assert gearfast("submit", "reverse", "-s") == OK
    assert capsysbinary.readouterr().out == b""


@pytest.mark.usefixtures("worker")
def test_more_jobs_than_are_under_way_at_a_time_stay_in_order(
    gearfast: Callable[..., int], capsysbinary: Out, stdin: Callable[[bytes], None]
) -> None:
    stdin(b"".join(b"%d\n" % n for n in range(300)))
    assert gearfast("submit", "reverse", "-N") == OK
    assert capsysbinary.readouterr().out == b"".join((b"%d" % n)[::-1] for n in range(300))


@pytest.mark.usefixtures("worker")
def test_submit_shows_what_comes_before_the_end(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("submit", "pieces", "x", "--progress", "-v") == OK
    out, err = capsysbinary.readouterr()
    assert re.fullmatch(rb"Task created: H:\S+\none two three", out)
    assert err == b"pieces: 25% (1/4)\ncareful\n"


@pytest.mark.usefixtures("worker")
def test_submit_exit_status(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("submit", "fail", "x") == FAILED
    assert capsysbinary.readouterr().err == b"Job failed\n"
    assert gearfast("submit", "-f", "fail", "-f", "reverse", "ab") == FAILED
    assert capsysbinary.readouterr().out == b"ba"
    assert gearfast("submit", "raise", "x") == FAILED
    assert b"broken beyond repair" in capsysbinary.readouterr().err
    assert gearfast("submit", "nobody-does-this", "x", "--timeout", "0.05") == TIMED_OUT
    assert gearfast("submit", "nobody-does-this", "x", "-t", "50") == TIMED_OUT
    assert gearfast("submit") == USAGE
    assert gearfast("submit", "-I", "-L", "f", "x") == USAGE
    assert gearfast("submit", "f", "x", "--delay", "3") == USAGE


@pytest.mark.usefixtures("worker")
def test_submit_json(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("submit", "--json", "-f", "reverse", "-f", "fail", "abc") == FAILED
    first, second = map(json.loads, capsysbinary.readouterr().out.splitlines())
    assert (first["function"], first["ok"], first["result"]) == ("reverse", True, "cba")
    assert first["handle"].startswith("H:")
    assert (second["function"], second["ok"]) == ("fail", False)
    assert "error" in second


def test_nobody_listens(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = str(closed.getsockname()[1])
        for words in (("submit", "f", "x"), ("submit", "-b", "f", "x"), ("admin", "status")):
            assert gearfast(words[0], "-h", "127.0.0.1", "-p", port, *words[1:]) == UNREACHABLE
            assert port.encode() in capsysbinary.readouterr().err


def test_submit_background(server: Server, gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("submit", "-b", "-v", "-I", "-u", "u1", "f", "data") == OK
    handle = capsysbinary.readouterr().out.decode().removeprefix("Task created: ").strip()
    (job,) = server.jobs()
    assert (job.handle, job.function, job.unique, job.workload, job.background, job.priority.value) == (
        handle, "f", b"u1", b"data", True, "high",
    )  # fmt: skip
    assert gearfast("submit", "-b", "--json", "--delay", "3600", "g", "x") == OK
    assert json.loads(capsysbinary.readouterr().out)["function"] == "g"
    (later,) = [job for job in server.jobs() if job.function == "g"]
    assert later.due > 0


# admin


def test_admin_lists(server: Server, gearfast: Callable[..., int], capsysbinary: Out, worker: Worker) -> None:
    eventually(lambda: any(one.functions for one in server.connections()))
    with connect(server) as client:
        handle = client.submit(b"later", unique=b"u1", background=True).decode()
        assert gearfast("admin", "status") == OK
        assert b"later\t1\t0\t0\n" in capsysbinary.readouterr().out
        assert gearfast("admin", "--json", "status") == OK
        rows = json.loads(capsysbinary.readouterr().out)
        assert {"function": "reverse", "total": 0, "running": 0, "workers": 1} in rows
        assert gearfast("admin", "priority-status", "--json") == OK
        rows = json.loads(capsysbinary.readouterr().out)
        assert {"function": "later", "high": 0, "normal": 1, "low": 0, "workers": 0} in rows
        assert gearfast("admin", "workers", "--json") == OK
        (row,) = [row for row in json.loads(capsysbinary.readouterr().out) if row["functions"]]
        assert row["id"] == "w1"
        assert sorted(row["functions"]) == ["fail", "pieces", "raise", "reverse"]
        assert gearfast("admin", "jobs", "--json") == OK
        assert json.loads(capsysbinary.readouterr().out) == [
            {"handle": handle, "retries": 0, "ignored": False, "background": True}
        ]
        assert gearfast("admin", "unique-jobs") == OK
        assert capsysbinary.readouterr().out == b"u1\n"


def test_admin_acts(server: Server, gearfast: Callable[..., int], capsysbinary: Out) -> None:
    with connect(server) as client:
        handle = client.submit(b"f", background=True).decode()
        assert gearfast("admin", "cancel", handle) == OK
        assert capsysbinary.readouterr().out == b"OK\n"
        assert gearfast("admin", "cancel", handle) == FAILED
        assert gearfast("admin", "create", "g") == OK
        assert gearfast("admin", "drop", "g") == OK
        assert gearfast("admin", "drop", "g") == FAILED
        client.submit(b"h", background=True)
        assert gearfast("admin", "maxqueue", "h", "1") == OK
        capsysbinary.readouterr()
        assert gearfast("submit", "-b", "h", "x") == FAILED
        assert b"full" in capsysbinary.readouterr().err


def test_admin_values(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    from gearfast._version import __version__

    assert gearfast("admin", "version") == OK
    assert capsysbinary.readouterr().out.decode().strip() == __version__
    assert gearfast("admin", "getpid", "--json") == OK
    assert json.loads(capsysbinary.readouterr().out) == {"getpid": os.getpid()}
    assert gearfast("admin", "ping") == OK
    assert capsysbinary.readouterr().out.endswith(b" ms\n")
    assert gearfast("admin") == USAGE
    assert gearfast("admin", "stauts") == USAGE


def test_admin_of_a_server_that_does_not_answer(gearfast: Callable[..., int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        assert gearfast("admin", "-p", port, "--timeout", "0.1", "ping") == TIMED_OUT


def test_tls(tmp_path: Path, gearfast: Callable[..., int], capsysbinary: Out) -> None:
    import ssl

    authority = trustme.CA()
    ca, own = str(tmp_path / "ca.pem"), str(tmp_path / "own.pem")
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("me.example").private_key_and_cert_chain_pem.write_to_path(own)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    with Server(ssl=context) as server:
        words = ("admin", "--server", server.url, "--tls-ca", ca)
        assert gearfast(*words, "--tls-cert", own, "version") == OK
        assert gearfast(*words, "version") == UNREACHABLE
        assert gearfast("admin", "--server", server.url, "version") == UNREACHABLE
        assert gearfast(*words, "--tls-cert", str(tmp_path / "missing.pem"), "version") == USAGE
