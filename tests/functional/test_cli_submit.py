# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast submit`: jobs from files, directories and streams of any length; its progress bar; its complaints."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearfast import Fail, Server, Worker
from gearfast.cli import FAILED, OK, UNREACHABLE, USAGE, main

from .command_line import command
from .command_line import gearfast as run_gearfast
from .server_tools import LIMIT
from .servers import clean_environment, wait_until

Out = pytest.CaptureFixture[bytes]
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX terminals and signals")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with a worker, for all tests."""
    with Server() as server:
        worker = Worker(server.url, concurrency=2)

        @worker.function("reverse")
        def reverse(job: Any) -> bytes:
            if job.workload.startswith(b"bad"):
                raise Fail("")
            return bytes(job.workload[::-1])

        @worker.function("status")
        def status(job: Any) -> bytes:
            job.send_status(1, 2)
            return b"\xff"

        thread = threading.Thread(target=worker.run)
        thread.start()
        yield server
        worker.stop()
        thread.join()


@pytest.fixture
def gearfast(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs a command line in this process, with this server as the default one."""
    monkeypatch.setenv("GEARFAST_SERVERS", server.url)
    return lambda *words: main(words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files: a.txt, b.dat, .hidden, sub/c.txt."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.dat", "a.txt", ".hidden", "sub/c.txt"):
        (folder / name).write_text(name)
    return folder


def test_files(gearfast: Callable[..., int], folder: Path, capsysbinary: Out) -> None:
    assert gearfast("submit", "reverse", "--files", str(folder / "b.dat"), str(folder / "sub/c.txt")) == OK
    assert capsysbinary.readouterr().out == b"tad.btxt.c/bus"
    assert gearfast("submit", "reverse", "--files", str(folder / "b.dat"), "--json") == OK
    row = json.loads(capsysbinary.readouterr().out)
    assert (row["file"], row["result"]) == ("b.dat", "tad.b")


@posix
def test_files_that_are_pipes(server: Server, tmp_path: Path) -> None:
    """A shell's `<(command)` is the name of a descriptor; a FIFO is read to its end like a file."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader, writer = os.pipe()
    os.write(writer, b"abc")
    os.close(writer)
    with subprocess.Popen(
        command("submit", "--server", server.url, "-P", "reverse", "--files", f"/dev/fd/{reader}", str(fifo)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[reader],
        env=clean_environment(),
    ) as process:
        os.close(reader)
        with open(fifo, "wb") as file:
            file.write(b"def")
        assert process.communicate(timeout=LIMIT) == (b"reverse: cbareverse: fed", b"")
    assert process.returncode == OK


def test_words_and_options_in_any_order(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("submit", "reverse", "-P", "ab", "-I", "cd") == OK
    assert capsysbinary.readouterr().out == b"reverse: bareverse: dc"
    assert gearfast("submit", "-f", "reverse", "--", "-ab", "--", "cd") == OK
    assert capsysbinary.readouterr().out == b"ba---dc"
    assert gearfast("submit", "reverse", "-P", "--", "-ab") == OK
    assert capsysbinary.readouterr().out == b"reverse: ba-"


def test_directory(gearfast: Callable[..., int], folder: Path, capsysbinary: Out) -> None:
    where = ("submit", "reverse", "--directory", str(folder))
    assert gearfast(*where) == OK
    assert capsysbinary.readouterr().out == b"txt.atad.b"
    assert gearfast(*where, "--glob", "*.txt", "--recursive", "-P") == OK
    assert capsysbinary.readouterr().out == b"reverse: txt.areverse: txt.c/bus"
    assert gearfast(*where, "--glob", ".h*") == OK
    assert capsysbinary.readouterr().out == b"neddih."
    assert gearfast(*where, "--glob", "*.none") == OK
    assert capsysbinary.readouterr().out == b""


def test_what_is_no_file_in_a_directory_is_left_out(
    gearfast: Callable[..., int], folder: Path, capsysbinary: Out
) -> None:
    os.mkfifo(folder / "pipe")  # nobody writes to it: reading would take for ever
    os.symlink("nowhere", folder / "z.link")
    assert gearfast("submit", "reverse", "--directory", str(folder), "--glob", "[ap]*") == OK
    output, errors = capsysbinary.readouterr()
    assert output == b"txt.a"
    assert errors == f"gearfast submit: {folder}/pipe: a pipe, socket or device, left out\n".encode()
    assert gearfast("submit", "reverse", "--directory", str(folder), "--glob", "z*") == USAGE
    assert b"z.link: No such file" in capsysbinary.readouterr().err


def test_results_in_files(gearfast: Callable[..., int], folder: Path, tmp_path: Path, capsysbinary: Out) -> None:
    (folder / "bad").write_text("bad")
    out = tmp_path / "out"
    words = ("--directory", str(folder), "--recursive", "--output", str(out))
    assert gearfast("submit", "reverse", *words) == FAILED
    # Nothing is left of the one that failed, and its name is told.
    found = {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*") if path.is_file()}
    assert found == {"a.txt": "txt.a", "b.dat": "tad.b", "sub/c.txt": "txt.c/bus"}
    assert capsysbinary.readouterr() == (b"", b"bad: Job failed\n")
    # Two functions write to two folders; the status does not mix with anything.
    words = ("--files", str(folder / "a.txt"), "--output", str(out))
    assert gearfast("submit", "-f", "reverse", "-f", "status", *words, "--json") == OK
    assert (out / "reverse" / "a.txt").read_text() == "txt.a"
    assert (out / "status" / "a.txt").read_bytes() == b"\xff"
    output, errors = capsysbinary.readouterr()
    assert [json.loads(line)["result"] for line in output.splitlines()] == ["", ""]
    assert errors == b"status: 50% (1/2)\n"


def test_json_of_results_that_are_no_text(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    assert gearfast("submit", "status", "x", "--json") == OK
    row = json.loads(capsysbinary.readouterr().out)
    assert (row["ok"], row["result_base64"]) == (True, "/w==")


@posix
def test_results_come_though_the_next_line_does_not(server: Server) -> None:
    """As with `tail -f log | gearfast submit -n f`; and any number of lines go through a bounded window."""
    with subprocess.Popen(
        command("submit", "--server", server.url, "-N", "--window", "4", "reverse"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"abc\n")
        process.stdin.flush()
        assert process.stdout.read(3) == b"cba"
        lines = [b"%d" % n for n in range(2000)]
        process.stdin.write(b"\n".join(lines))
        process.stdin.close()
        assert process.stdout.read() == b"".join(line[::-1] for line in lines)
        assert process.wait(LIMIT) == OK


@posix
def test_an_endless_source_ends_when_nobody_listens() -> None:
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        done = subprocess.run(
            command("submit", "--server", "127.0.0.1:1", "-n", "f"),
            stdin=endless.stdout,
            capture_output=True,
            timeout=LIMIT,
            env=clean_environment(),
        )
        endless.kill()
    assert done.returncode == UNREACHABLE
    assert done.stderr.count(b"\n") == 1
    assert b"127.0.0.1:1" in done.stderr


@posix
def test_a_reader_that_has_enough(server: Server) -> None:
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as endless:
        process = subprocess.Popen(
            command("submit", "--server", server.url, "-n", "reverse"),
            stdin=endless.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
        )
        assert process.stdout is not None
        assert process.stdout.read(2) == b"\ny"
        process.stdout.close()
        assert process.wait(LIMIT) == OK
        endless.kill()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""


def on_terminal(*words: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit status, what came on the terminal that is standard error, and standard output."""
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs,
        env=clean_environment() | {"COLUMNS": "80"} | (environ or {}),
    ) as process:  # fmt: skip
        os.close(theirs)
        assert process.stdout is not None
        output = process.stdout.read()
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while data := os.read(ours, 65536):
                shown += data
        os.close(ours)
        return process.wait(LIMIT), shown.decode(), output.decode()


@posix
def test_progress_bar(server: Server, folder: Path) -> None:
    (folder / "bad").write_text("bad")
    words = ("submit", "--server", server.url, "reverse", "--directory", str(folder), "--progress")
    status, shown, output = on_terminal(*words)
    assert (status, output) == (FAILED, "txt.atad.b")
    lines = [line for line in re.split(r"[\r\n]+|\x1b\[K", shown) if line]
    assert "bad: Job failed" in lines
    assert re.fullmatch(r"\[#+\] 3/3 jobs, 1 failed, .+/s, \d+:\d\d", lines[-1])
    # Nowhere else than on a terminal.
    done = run_gearfast(*words)
    assert (done.returncode, done.stderr) == (FAILED, b"bad: Job failed\n")


@posix
def test_progress_bar_of_background_jobs(server: Server) -> None:
    status, shown, _ = on_terminal("submit", "--server", server.url, "-b", "reverse", "a", "b", "--progress")
    assert status == OK
    assert "] 2/2 jobs" in shown


def test_usage(gearfast: Callable[..., int], capsysbinary: Out, folder: Path) -> None:
    for words, hint in [
        ([], b"which function?"),
        (["-f", "", "x"], b"which function?"),
        (["-f", "h\udcff", "x"], b"'h\\udcff'"),
        (["-w", "-f", "f"], b"gearfast worker -f FUNCTION -- PROGRAM ARGS"),
        (["f", "--files"], b"which?"),
        (["f", "--files", "/no/such"], b"/no/such: no such file"),
        (["f", "--files", str(folder)], b"not a file"),
        (["f", "--directory", "/no/such"], b"--directory /no/such: "),
        (["f", "x", "--directory", "/tmp"], b"no DATA"),
        (["f", "--glob", "*"], b"--directory DIR"),
        (["f", "x", "--output", "d"], b"--files or --directory"),
        (["f", "--files", str(folder / "a.txt"), str(folder / "a.txt"), "--output", "d"], b"called a.txt"),
        (["f", "--directory", str(folder), "--output", str(folder / "sub" / "..")], b"over its files"),
        (["-b", "f", "--output", "d"], b"no result"),
        (["f", "x", "--window", "0"], b"at least 1"),
        (["f", "x", "-S", "--server", "unix:///tmp/s"], b"no TLS on a Unix socket"),
        (["f", "x", "--progres"], b"did you mean --progress?"),
        (["f", "x", "--zzz"], b"see gearfast submit --help"),
        (["f", "x", "--priority", "hihg"], b"did you mean high?"),
    ]:
        assert gearfast("submit", *words) == USAGE
        err = capsysbinary.readouterr().err
        assert err.startswith(b"gearfast submit: ") and err.count(b"\n") == 1, err
        assert hint in err, err


def test_bytes_that_are_no_text(gearfast: Callable[..., int], capsysbinary: Out) -> None:
    """A unique is any bytes, as the shell gave them."""
    assert gearfast("submit", "reverse", "-u", "u\udcff", "-t", "-1", "abc") == OK
    assert capsysbinary.readouterr() == (b"cba", b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written(server: Server) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command("submit", "--server", server.url, "reverse", "abc"),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=LIMIT,
            env=clean_environment(),
        )
    assert done.returncode == FAILED
    assert done.stderr == b"gearfast submit: standard output: No space left on device\n"


def test_servers_of_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch, capsysbinary: Out) -> None:
    for name in ("GEARFAST_SERVERS", "GEARMAN_SERVERS", "GEARMAN_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GEARMAN_SERVER", f"{server.host}:{server.port}")
    assert main(["submit", "reverse", "abc"]) == OK
    assert capsysbinary.readouterr().out == b"cba"


@posix
def test_detached_with_a_pid_file(server: Server, tmp_path: Path, folder: Path) -> None:
    pid = tmp_path / "pid"
    words = ("-d", "-i", str(pid), "--directory", str(folder), "--output", str(tmp_path / "out"))
    done = run_gearfast("submit", "--server", server.url, "reverse", *words)
    assert (done.returncode, done.stdout, done.stderr) == (OK, b"", b"")
    wait_until(lambda: (tmp_path / "out" / "b.dat").exists() and not pid.exists(), "it is done in the background")


@posix
def test_interrupt(server: Server) -> None:
    process = subprocess.Popen(
        command("submit", "--server", server.url, "-v", "nobody", "x"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    wait_until(lambda: any(job.function == "nobody" for job in server.jobs()), "the job is there")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LIMIT)
    assert (process.returncode, errors) == (130, b"")
