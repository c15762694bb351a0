# SPDX-License-Identifier: BSD-3-Clause
"""The disk of a store is full: a small tmpfs, in a namespace of the server's own, that something else fills up."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gearfast import Packet
from gearfast.protocol import Command
from tests.conftest import Require

from .server_tools import DRIVERS, ServerProcess, Wire, eventually, take_all, wait_for_restore

SIZE = 8 << 20
"""Bytes of the disk: twice what the log of SQLite has from the start."""
UNSHARE = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--map-root-user", "--mount")
WORKLOAD = 5_000


def on_a_disk(folder: Path) -> tuple[str, ...]:
    """Runs a command with a disk of its own at `folder`."""
    return (*UNSHARE, "sh", "-c", f'mount -t tmpfs -o size={SIZE} none "$0" && exec "$@"', str(folder))


class Disk:
    """The folder as a server sees it."""

    def __init__(self, server: ServerProcess, folder: Path) -> None:
        self.path = Path(f"/proc/{server.process.pid}/root{folder}")

    def fill(self) -> None:
        """Leaves no byte free."""
        with (self.path / "other").open("wb", buffering=0) as other:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while other.write(bytes(size)):
                        pass

    def free(self) -> None:
        """There is room again."""
        (self.path / "other").unlink()


@pytest.fixture(params=DRIVERS)
def server(request: pytest.FixtureRequest, tmp_path: Path, require: Require) -> Iterator[ServerProcess]:
    disk = tmp_path / "disk"
    disk.mkdir()
    wrap = on_a_disk(disk)
    require.program("unshare", "util-linux")
    done = subprocess.run([*wrap, "true"], capture_output=True, text=True, check=False)
    require(done.returncode == 0, f"a tmpfs in a mount namespace: {done.stderr.strip()}")
    flags = ("--driver", request.param, "--store", str(disk / "jobs.db"), "--store-patience", "0.2")
    with ServerProcess(*flags, wrap=wrap) as process:
        yield process


def submit(wire: Wire, number: int) -> bool:
    """Whether a durable job is kept; else it has to be refused."""
    wire.send(Command.SUBMIT_JOB_BG, b"f", b"", b"%d" % number + bytes(WORKLOAD))
    got = wire.get()
    assert isinstance(got, Packet)
    if got.command == Command.ERROR:
        assert got.args == (b"QUEUE_ERROR", b"The job could not be stored")
        return False
    assert got.command == Command.JOB_CREATED
    return True


def test_a_full_disk(server: ServerProcess, tmp_path: Path) -> None:
    """What is acknowledged is kept, the rest is refused, all else goes on; with room again durable jobs do too."""
    disk = Disk(server, tmp_path / "disk")
    with server.connect() as client:
        kept = [number for number in range(3) if submit(client, number)]
        assert kept == [0, 1, 2]
        disk.fill()
        number = len(kept)
        while submit(client, number):  # the log has some room of its own
            kept.append(number)
            number += 1
            assert number * WORKLOAD < SIZE
        server.wait_line("The store stays away, durable jobs are refused: .* full")
        client.send(Command.SUBMIT_JOB, b"other", b"", b"in the foreground")
        client.packet(Command.JOB_CREATED)
        with server.connect() as worker:
            assert take_all(worker, b"other", finish=True) == [b"in the foreground"]
        client.packet(Command.WORK_COMPLETE)
        assert not submit(client, number)
        disk.free()
        eventually(lambda: submit(client, number), "durable jobs are kept again")
        kept.append(number)
        server.wait_line("The store is back")
    server.signal("SIGSTOP")
    left = tmp_path / "left"
    shutil.copytree(disk.path, left)
    server.signal("SIGKILL")
    server.wait()
    with ServerProcess("--store", str(left / "jobs.db")) as again, again.connect() as wire:
        wait_for_restore(wire)
        assert [int(workload[:-WORKLOAD]) for workload in take_all(wire, b"f", finish=True)] == kept
