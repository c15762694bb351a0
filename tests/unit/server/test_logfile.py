# SPDX-License-Identifier: BSD-3-Clause
"""The log's writer: a full disk, a pipe that nobody reads or that is gone, and what it says of lost lines."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearfast.server.log import TextFormatter
from gearfast.server.logfile import LogWriter

Make = Callable[..., LogWriter]


def until(look: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not look():
        assert time.monotonic() < end, "did not come to pass"
        time.sleep(0.001)


def say(writer: LogWriter, text: str) -> None:
    writer.emit(logging.LogRecord("gearfast.server", logging.INFO, "", 0, text, (), None))


def fill(path: Path) -> None:
    """Fills a pipe to its last byte."""
    writing = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"\n" * size)
    os.close(writing)


@pytest.fixture
def make() -> Iterator[Make]:
    writers: list[LogWriter] = []

    def new(path: Path | str, **settings: object) -> LogWriter:
        writers.append(LogWriter(str(path), **settings))  # type: ignore[arg-type]
        writers[-1].setFormatter(TextFormatter())
        return writers[-1]

    yield new
    for writer in writers:
        writer.close()


def test_lines_are_added_to_a_file_in_order(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    writer = make(path)
    for n in range(1000):
        say(writer, f"line {n}")
    writer.close()
    assert [line.split("INFO ")[-1] for line in path.read_text().splitlines()] == [
        "old",
        *(f"line {n}" for n in range(1000)),
    ]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"cannot open the log file .*nowhere"):
        LogWriter(str(tmp_path / "nowhere" / "log"))


def test_a_record_that_cannot_be_formatted_harms_nobody(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    writer = make(tmp_path / "log")
    writer.emit(logging.LogRecord("x", logging.INFO, "", 0, "%d", ("no number",), None))
    say(writer, "after \udc80")
    writer.close()
    assert (tmp_path / "log").read_text().endswith("INFO after \\udc80\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_complained_of_once_and_holds_nobody_up(make: Make) -> None:
    complaints: list[str] = []
    writer = make("/dev/full", limit=1000, complain=complaints.append)
    for n in range(1000):
        say(writer, f"line {n}")
    until(lambda: complaints)
    assert writer.lost > 900
    say(writer, "one more")
    writer.close()
    assert complaints == ["cannot write the log /dev/full: No space left on device"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_pipe_that_nobody_reads_holds_nobody_up_and_goes_on_later(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    fill(path)
    writer = make(path, limit=100_000)
    number = 0
    while not writer.lost:  # the queue is full too
        number += 1
        say(writer, f"line {number} {'x' * 200}")
    for _ in range(9):
        say(writer, "lost too")
    os.set_blocking(reader, True)
    got = bytearray()

    def read() -> None:
        while b"the end" not in got:
            got.extend(os.read(reader, 65536))

    thread = threading.Thread(target=read)
    thread.start()
    until(lambda: not writer.lost)
    say(writer, "the end")
    thread.join()
    os.close(reader)
    lines = got.decode().splitlines()
    numbers = [int(found[1]) for line in lines if (found := re.search(r"INFO line (\d+)", line))]
    assert numbers == list(range(1, number))
    assert [line.split("Z ")[1] for line in lines if "lost" in line] == ["WARNING 10 log lines were lost"]
    assert lines[-1].endswith("the end")


@pytest.mark.skipif(sys.platform == "win32", reason="needs named pipes")
def test_a_pipe_whose_reader_is_gone_is_written_to_again_when_one_comes(make: Make, tmp_path: Path) -> None:
    complaints: list[str] = []
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = make(path, complain=complaints.append)
    os.close(reader)
    say(writer, "nobody listens")
    until(lambda: complaints)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    assert os.read(reader, 1000).endswith(b"nobody listens\n")
    os.close(reader)
    assert complaints == [f"cannot write the log {path}: Broken pipe"]


def test_without_standard_error_lines_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    writer = LogWriter()
    writer.setFormatter(TextFormatter())
    say(writer, "unheard")
    writer.close()
