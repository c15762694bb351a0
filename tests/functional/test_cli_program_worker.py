# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast worker -f F --command …`: programs do the jobs."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearfast import Server
from gearfast.cli import FAILED, OK, USAGE, main

from .command_line import WorkerProcess
from .command_line import gearfast as run_gearfast
from .server_tools import Wire, eventually
from .servers import wait_until

Out = pytest.CaptureFixture[bytes]


@pytest.fixture(scope="module")
def shared() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
def server(shared: Server) -> Server:
    """One server for all tests; each leaves it without workers."""
    eventually(lambda: not any(one.functions for one in shared.connections()))
    return shared


@pytest.fixture
def gearfast(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command line in this process, with this server as the default one."""
    monkeypatch.setenv("GEARFAST_SERVERS", server.url)
    return lambda *words: main(words)


def connect(server: Server) -> Wire:
    return Wire((server.host, server.port))


PROGRAM = """
import os, sys
data = sys.stdin.buffer.read()
if data == b"fail":
    print("half")
    sys.exit(3)
if data == b"env":
    data = os.environ["GEARFAST_FUNCTION"].encode() + os.environ["GEARFAST_UNIQUE"].encode()
sys.stdout.buffer.write(data.upper())
"""
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return str(path)


@posix
def test_worker_runs_a_command(server: Server, program: str, gearfast: Callable[..., int], capsysbinary: Out) -> None:
    command = f"'{sys.executable}' '{program}'"
    with WorkerProcess(server, "--function", "upper", "-f", "upper2", "--command", command) as worker:
        assert gearfast("submit", "-f", "upper", "-f", "upper2", "abc") == OK
        assert capsysbinary.readouterr().out == b"ABCABC"
        assert gearfast("submit", "upper", "fail", "x") == FAILED
        assert capsysbinary.readouterr().out == b"half\nX"
        assert gearfast("submit", "-u", "u7", "upper", "env") == OK
        assert capsysbinary.readouterr().out == b"UPPERU7"
        status, err = worker.stop()
        assert status == OK, err


@posix
def test_worker_with_a_large_workload(server: Server, program: str) -> None:
    with WorkerProcess(server, "-f", "upper", "--", sys.executable, program), connect(server) as client:
        handle = client.submit(b"upper", b"x" * 5_000_000)
        assert client.result(handle) == b"X" * 5_000_000


@posix
def test_worker_sends_lines_at_once(server: Server, gearfast: Callable[..., int], capsysbinary: Out) -> None:
    script = "import sys; [print(line.strip()[::-1], flush=True) for line in sys.stdin]"
    with WorkerProcess(server, "-f", "f", "-n", "--", sys.executable, "-c", script):
        assert gearfast("submit", "f", "ab\ncd\n", "-P") == OK
        assert capsysbinary.readouterr().out == b"f: ba\nf: dc\nf: "


@posix
def test_worker_without_a_command_prints(server: Server, gearfast: Callable[..., int], capsysbinary: Out) -> None:
    with WorkerProcess(server, "-f", "f", "-c", "2") as worker:
        assert gearfast("submit", "f", "one ", "two") == OK
        assert capsysbinary.readouterr().out == b""
        assert worker.wait()[0] == OK
        assert worker.out == b"one two"


@posix
def test_worker_whose_program_is_missing(server: Server, gearfast: Callable[..., int], capsysbinary: Out) -> None:
    with WorkerProcess(server, "-f", "f", "--command", "/no/such/program"):
        assert gearfast("submit", "f", "x") == FAILED
        assert b"/no/such/program: No such file" in capsysbinary.readouterr().err


@posix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_worker_finishes_the_job_in_hand(server: Server, tmp_path: Path, name: str) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = "import sys; print(open(sys.stdin.read()).read(), end='')"
    with connect(server) as client, WorkerProcess(server, "-f", "f", "--", sys.executable, "-c", script) as worker:
        handle = client.submit(b"f", os.fsencode(fifo))
        with open(fifo, "w") as gate:  # opens when the command reads: the job is in hand
            worker.process.send_signal(getattr(signal, name))
            gate.write("done")
        assert client.result(handle) == b"done"
        status, err = worker.wait()
        assert status == OK, err


def test_worker_usage(gearfast: Callable[..., int]) -> None:
    assert gearfast("worker") == USAGE
    assert gearfast("worker", "-f", "f", "--command", "cat", "--", "cat") == USAGE


def python(script: str) -> list[str]:
    return ["--", sys.executable, "-c", script]


@posix
@pytest.mark.parametrize(("option", "output"), [("-N", b"f: abf: cdf: "), ("--stream", b"f: ab\ncd\nf: ")])
def test_worker_sends_pieces(
    server: Server, gearfast: Callable[..., int], capsysbinary: Out, option: str, output: bytes
) -> None:
    with WorkerProcess(server, "-f", "f", option, *python("import sys; sys.stdout.write(sys.stdin.read())")):
        assert gearfast("submit", "-f", "f", "-P", "ab\ncd\n") == OK
        assert capsysbinary.readouterr().out == output


@posix
def test_output_goes_out_while_the_program_runs(server: Server, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = "import sys; print('first', flush=True); print(open(sys.stdin.read()).read())"
    with connect(server) as client, WorkerProcess(server, "-f", "f", "-n", *python(script)):
        handle = client.submit(b"f", os.fsencode(fifo))
        got = client.get()
        assert got.args == (handle, b"first\n")  # type: ignore[union-attr]
        fifo.write_text("second")
        assert client.get().args == (handle, b"second\n")  # type: ignore[union-attr]
        assert client.result(handle) == b""


@posix
@pytest.mark.parametrize("pieces", [[], ["-n"]], ids=["whole", "lines"])
def test_standard_error_as_warnings(
    server: Server, gearfast: Callable[..., int], capsysbinary: Out, pieces: list[str]
) -> None:
    script = "import sys; print('careful', file=sys.stderr); print('result')"
    with WorkerProcess(server, "-f", "f", "--stderr", "warn", *pieces, *python(script)):
        assert gearfast("submit", "f", "x") == OK
        assert capsysbinary.readouterr() == (b"result\n", b"careful\n")


@posix
@pytest.mark.parametrize("way", ["log", "inherit"])
def test_standard_error_of_the_program(server: Server, gearfast: Callable[..., int], way: str) -> None:
    script = "import sys; print('careful', file=sys.stderr)"
    with WorkerProcess(server, "-f", "f", "--stderr", way, "--log-format", "json", *python(script)) as worker:
        assert gearfast("submit", "f", "x") == OK
        status, err = worker.stop()
        assert status == OK
        if way == "inherit":
            assert b"careful" in err.splitlines()
        else:
            [line] = [json.loads(line) for line in err.splitlines() if b"careful" in line]
            assert (line["level"], line["function"], line["handle"][:2]) == ("WARNING", "f", "H:")


@posix
@pytest.mark.parametrize("pieces", [[], ["--stream"]], ids=["whole", "stream"])
def test_time_limit_ends_the_program_and_its_children(
    server: Server, gearfast: Callable[..., int], capsysbinary: Out, tmp_path: Path, pieces: list[str]
) -> None:
    # The child keeps the pipe open and would let the job last for ever.
    script = 'echo half; sleep 1000 & echo $! > "$0"; wait'
    pid = tmp_path / "pid"
    words = ["--time-limit", "0.5", *pieces, "--", "sh", "-c", script, str(pid)]
    with WorkerProcess(server, "-f", "f", *words):
        assert gearfast("submit", "f", "x") == FAILED
        out, err = capsysbinary.readouterr()
        assert (out, err) == (b"half\n", b"sh: took longer than 0.5 s\nJob failed\n")
        wait_until(lambda: not Path(f"/proc/{int(pid.read_text())}/exe").exists(), "the program's child has ended")


@posix
def test_a_program_that_is_killed_fails_its_job(
    server: Server, gearfast: Callable[..., int], capsysbinary: Out
) -> None:
    with WorkerProcess(server, "-f", "f", *python("import os; os.kill(os.getpid(), 9)")):
        assert gearfast("submit", "f", "x") == FAILED
        assert b"ended by SIGKILL" in capsysbinary.readouterr().err


@posix
def test_second_signal_ends_the_program_at_once(server: Server, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    words = ["--", "sh", "-c", 'echo $$ > "$0.part"; mv "$0.part" "$0"; sleep 1000', str(pid)]
    with connect(server) as client, WorkerProcess(server, "-f", "f", *words) as worker:
        client.submit(b"f", background=True)
        wait_until(pid.exists, "the program runs")

        def signalled_again() -> bool:  # two signals at once may arrive as one
            worker.process.send_signal(signal.SIGTERM)
            return worker.process.poll() is not None

        wait_until(signalled_again, "the worker has ended")
        assert worker.wait()[0] == 128 + signal.SIGTERM
        wait_until(lambda: not Path(f"/proc/{int(pid.read_text())}/exe").exists(), "the program has ended")
        [job] = server.jobs()
        assert not job.running  # it is queued again
        assert client.line(f"cancel job {job.handle}").startswith(b"OK")


@posix
def test_pid_file_and_detach(server: Server, tmp_path: Path, gearfast: Callable[..., int], capsysbinary: Out) -> None:
    pid = tmp_path / "pid"
    done = run_gearfast("worker", "--server", server.url, "-f", "f", "-d", "-i", str(pid), *python("print('hello')"))
    assert (done.returncode, done.stdout, done.stderr) == (OK, b"", b"")
    try:
        assert gearfast("submit", "f", "x") == OK
        assert capsysbinary.readouterr().out == b"hello\n"
    finally:
        os.kill(int(pid.read_text()), signal.SIGTERM)
    wait_until(lambda: not pid.exists(), "the PID file is removed")


@posix
def test_letters_of_gearman(server: Server, gearfast: Callable[..., int], capsysbinary: Out) -> None:
    """`gearman -w -h HOST -p PORT -f F -c N`: -p is the port here."""
    words = ["worker", "-w", "-h", server.host, "-p", str(server.port), "-f", "f", "-c", "1"]
    with connect(server) as client:
        handle = client.submit(b"f", b"data\n", background=True)
        assert handle
        done = run_gearfast(*words)
    assert (done.returncode, done.stdout) == (OK, b"data\n")


def test_usage_of_programs(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    for words, hint in [
        (["--command", "cat"], b"for which function?"),
        (["-f", "f", "--command", "'"], b"No closing quotation"),
        (["-f", "f", "--processes", "2"], b"--concurrency"),
        (["-f", "f", "-c", "0"], b"--max-jobs is at least 1"),
        (["-f", "f", "--time-limit", "-1"], b"--time-limit is a number of seconds above 0, not -1"),
        (["shop:worker", "--timeout", "30"], b"--timeout is for a program, -f FUNCTION -- PROGRAM"),
        (["shop:worker", "--time-limit", "30"], b"--time-limit is for a program"),
        (["shop:worker", "--concurrency", "3"], b"--concurrency is for a program, "),
        (["shop:worker", "--concurrency", "3"], b"or takes --threads N"),
        (["shop:worker", "--stream"], b"--stream is for a program"),
        (["cat", "x"], b"-f FUNCTION"),
        (["-f", "f", "-i", "/no/such/folder/pid"], b"/no/such/folder/pid"),
    ]:
        assert gearfast("worker", *words) == USAGE
        err = capsysbinary.readouterr().err
        assert err.startswith(b"gearfast worker: ") and err.count(b"\n") == 1
        assert hint in err
