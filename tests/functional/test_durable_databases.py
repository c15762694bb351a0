# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast server --store URL` with a database that is killed and started again, and kills of the server itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from gearfast.protocol import Command
from tests.chaos import lane
from tests.chaos.kills import run_kills

from .server_tools import ServerProcess
from .test_durable import do_all, places, submit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_a_database_is_killed_and_started_again(need_database: Callable[[str], ModuleType], kind: str) -> None:
    """What is submitted meanwhile waits for it; then the job server is killed too, and nothing is lost."""
    with need_database(kind).KINDS[kind]() as database:
        store = database.url("jobs")
        with ServerProcess("--store", store, "--store-patience", "60") as server, server.connect() as client:
            submit(client, 100)
            database.kill()
            for n in range(100, 200):
                client.send(Command.SUBMIT_JOB_BG, b"f", b"", b"%d" % n)
            server.wait_line("The store failed")
            database.start()
            for _ in range(100, 200):
                client.packet(Command.JOB_CREATED)
            server.wait_line("The store is back")
            submit(client, 100, first=200)
            server.signal("SIGKILL")
            server.wait()
        with ServerProcess("--store", store) as server, server.connect() as wire:
            assert do_all(wire, 300) == places(0, 300)


def test_kills(database_url: Callable[[str], str], tmp_path: Path) -> None:
    ledger, about = run_kills(tmp_path, 3, 1, database_url("postgresql"))
    assert not ledger.faults, "\n".join([about, *ledger.faults])
    assert len(ledger.acknowledged) > 50
    assert ledger.reported


def test_the_long_lane_goes_on_where_it_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need_database: Callable[[str], ModuleType]
) -> None:
    """A round is a line of its log; one of an even number kills the database too."""
    need_database("redis")
    log = tmp_path / "kills.md"
    monkeypatch.setattr(lane, "ROUND", 2)
    monkeypatch.setattr(lane, "DATABASE_KILLS", 1.0)
    for kills, rounds, of_database in ((1, 1, 0), (3, 2, 2), (3, 2, 2)):
        assert lane.main(["--kills", str(kills), "--store", "redis", "--log", str(log)]) == 0
        total = lane.read(log.read_text("utf-8"))["redis"]
        assert (total.kills, total.rounds, total.database, total.faults) == (kills, rounds, of_database, 0)
        assert total.acknowledged > 0
