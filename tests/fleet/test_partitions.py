# SPDX-License-Identifier: BSD-3-Clause
"""Two servers on a database: one of them stands still, or is cut off from it, and the other has its jobs then."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

import pytest

from gearfast import Command, Packet
from tests.functional.server_tools import DRIVERS, Wire, eventually

from .history import load
from .machines import KEPT, Fleet, Node
from .parties import Ledger, finish, grab, probe
from .switch import Way

pytestmark = pytest.mark.timeout(240)

JOBS = 40
TAKEN = r"Took over what a server left that has ended: (\d+) jobs"
LOST = r"The lease was lost, and another server has this one's jobs"


def submit(wire: Wire, node: Node, ledger: Ledger, count: int = JOBS) -> list[bytes]:
    """Handles of jobs that this server keeps."""
    handles = []
    for _ in range(count):
        handles.append(wire.submit(b"kept", background=True))
        ledger.ack(node.number, handles[-1])
    return handles


@contextlib.contextmanager
def worker_at(node: Node, *functions: bytes) -> Iterator[Wire]:
    with node.connect() as worker:
        for function in functions or (b"kept",):
            worker.can_do(function)
        yield worker


def has_none(wire: Wire, node: Node, ledger: Ledger) -> bool:
    return grab(wire, node.number, ledger) is None


def do_all(node: Node, ledger: Ledger, handles: list[bytes]) -> None:
    """All of these are done by a worker of this server, which knows that their ends are kept."""
    left = set(handles)
    with worker_at(node) as worker:

        def one() -> bool:
            job = grab(worker, node.number, ledger)
            if job is not None and finish(worker, job[0], ledger):
                left.discard(job[0])
            return not left

        eventually(one, f"{len(handles)} jobs are done at node {node.number}")


def all_serve(fleet: Fleet, ledger: Ledger) -> bool:
    """Each server keeps and gives out a new job, sooner or later."""
    left = list(fleet.nodes)

    def serve() -> bool:
        with contextlib.suppress(OSError, EOFError):
            probe(fleet, left[0], ledger)
            left.pop(0)
        return not left

    return eventually(serve, "all servers serve")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_server_that_stood_still_gives_out_nothing_that_another_has_taken_over(
    driver: str, make_fleet: Callable[..., Fleet]
) -> None:
    """Its workers have asked while it stood, and it finds that when it wakes up. Wrong clocks change nothing."""
    fleet = make_fleet(2, "--driver", driver)
    first, second = fleet.nodes
    ledger = Ledger(fleet.notes)
    first.clock.jump(-3600)
    second.clock.jump(3600)
    with first.connect() as client, worker_at(first) as worker, worker_at(first) as holder:
        handles = submit(client, first, ledger)
        held = grab(holder, 1, ledger)
        assert held is not None
        first.pause()
        worker.send(Command.GRAB_JOB)
        second.log(TAKEN)
        do_all(second, ledger, handles)
        first.go_on()
        worker.packet(Command.NO_JOB)
        first.log(LOST)
        # What its worker has done meanwhile is nobody's any more: it is not told that this was kept.
        with contextlib.suppress(EOFError, ConnectionError):
            assert not finish(holder, held[0], ledger)
    assert all_serve(fleet, ledger)
    assert fleet.check() == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_server_without_its_database_gives_out_no_durable_job(driver: str, make_fleet: Callable[..., Fleet]) -> None:
    """Its clients and workers still reach it, and their foreground jobs go on."""
    fleet = make_fleet(2, "--driver", driver)
    first, second = fleet.nodes
    ledger = Ledger(fleet.notes)
    with first.connect() as client, worker_at(first, b"kept", b"quick") as worker:
        handles = submit(client, first, ledger)
        with fleet.network.cut(0, 1):
            # It goes on for as long as its lease lasts, and no longer.
            eventually(functools.partial(has_none, worker, first, ledger), "no durable job comes")
            second.log(TAKEN)
            handle = client.submit(b"quick", b"now")
            assert worker.grab() == (handle, b"now")
            worker.complete(handle, b"done")
            assert client.result(handle) == b"done"
            client.send(Command.SUBMIT_JOB_BG, b"kept", b"", b"")
            assert client.packet(Command.ERROR).args[0] == b"QUEUE_ERROR"
            do_all(second, ledger, handles)
            assert grab(worker, 1, ledger) is None
        first.log(LOST)
    assert all_serve(fleet, ledger)
    assert fleet.check() == []


def test_nobody_has_a_database_for_a_while(make_fleet: Callable[..., Fleet]) -> None:
    """All leases end; when the ways are healed each goes on with its jobs, or another does."""
    fleet = make_fleet(2)
    ledger = Ledger(fleet.notes)
    for node in fleet.nodes:
        with node.connect() as client:
            submit(client, node, ledger)
    with fleet.network.cut(0, 1), fleet.network.cut(0, 2):
        for node in fleet.nodes:
            with worker_at(node) as worker:
                eventually(functools.partial(has_none, worker, node, ledger), "the lease ends")
    with worker_at(fleet.node(1)) as one, worker_at(fleet.node(2)) as two:

        def turn() -> bool:
            for node, worker in zip(fleet.nodes, (one, two), strict=True):
                job = grab(worker, node.number, ledger)
                if job is not None:
                    finish(worker, job[0], ledger)
            return ledger.is_drained

        eventually(turn, "all jobs are done")
    assert all_serve(fleet, ledger)
    assert fleet.check() == []


def test_answers_of_the_database_are_lost(make_fleet: Callable[..., Fleet]) -> None:
    """What the server asked for was done, and it does not know."""
    fleet = make_fleet(2)
    first, second = fleet.nodes
    ledger = Ledger(fleet.notes)
    with first.connect() as client:
        handles = submit(client, first, ledger)
        fleet.network.set_way(0, 1, Way(cut=True))
        client.send(Command.SUBMIT_JOB_BG, b"kept", b"", b"")
        second.log(TAKEN)
        do_all(second, ledger, handles)
        fleet.network.set_way(0, 1, Way())
        got = client.get()
        assert isinstance(got, Packet)
        assert got.command == Command.ERROR
    assert all_serve(fleet, ledger)
    assert fleet.check() == []


def test_a_slow_way_to_the_database_only_slows(make_fleet: Callable[..., Fleet]) -> None:
    """200 ms there and back: nothing is refused, and nobody takes over."""
    fleet = make_fleet(2, lease=10.0)
    first = fleet.node(1)
    ledger = Ledger(fleet.notes)
    fleet.network.set_ways(0, 1, Way(delay=0.1))
    with first.connect() as client:
        handles = submit(client, first, ledger, 5)
    do_all(first, ledger, handles)
    assert all_serve(fleet, ledger)
    assert not [line for node in fleet.nodes for line in node.running.lines if "Took over" in line]
    assert fleet.check() == []
    acks = [ack.time for ack in load(fleet.folder, KEPT).acks if ack.handle in {handle.decode() for handle in handles}]
    assert acks[-1] - acks[0] > 4 * 200_000_000
