# SPDX-License-Identifier: BSD-3-Clause
"""gear's Client and Worker beside servers that are down, silent, cut off, or talk nonsense: no hang, one outcome."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import pytest

from gearfast.compat import gear
from gearfast.compat.gear import constants
from gearfast.demo.processes import free_port

from ..functional.servers import PATIENCE, wait_until
from . import gear_servers
from .gear_servers import HOST, Peer, client, connected, done, packet, serving, working

nothing_left = gear_servers.nothing_left

CREATED = packet(constants.JOB_CREATED, b"H:peer:1")


def interrupted(worker: Any) -> None:
    """Waits for a job until it is told to stop."""
    with pytest.raises(gear.InterruptedError):
        worker.getJob()


def test_down_then_up() -> None:
    port = free_port()
    with connected(lambda: gear.Client("c")) as submitter:
        submitter.addServer(HOST, port)
        with pytest.raises(gear.TimeoutError):
            submitter.waitForServer(0.05)
        with serving(gear.Server, port):
            submitter.waitForServer(PATIENCE)
            submitter.submitJob(gear.Job("f", b""), background=True)


def test_a_silent_server_is_given_up_for_the_next() -> None:
    with Peer() as silent, serving() as server, client(silent.port, server.port) as submitter:
        for _ in range(2):
            job = gear.Job("f", b"")
            submitter.submitJob(job, timeout=0.05)
            assert job.connection.port == server.port


def test_a_silent_server_alone() -> None:
    with Peer() as silent, client(silent.port) as submitter:
        with pytest.raises(gear.GearmanError, match="Unable to submit job"):
            submitter.submitJob(gear.Job("f", b""), timeout=0.05)
        wait_until(lambda: len(silent.connections) > 1, "it is tried again")
        submitter.waitForServer(PATIENCE)
        assert submitter.setOption("exceptions", timeout=0.05) is False
        submitter.waitForServer(PATIENCE)
        connection = submitter.getConnection()
        with pytest.raises(gear.TimeoutError):
            connection.sendAdminRequest(gear.StatusAdminRequest(), timeout=0.01)
        with pytest.raises(gear.TimeoutError):
            connection.echo(b"x", timeout=0.01)
        assert connection.echo_conditions == {}


def test_a_closing_server_fails_what_waits_at_once() -> None:
    """gear waited until the time-out, 30 or 90 seconds."""

    def answer(connection: socket.socket, data: bytes) -> None:
        connection.close()

    with Peer(answer) as closing, client(closing.port) as submitter:
        with pytest.raises(gear.GearmanError):
            submitter.submitJob(gear.Job("f", b""), timeout=None)
        submitter.waitForServer(PATIENCE)
        with pytest.raises((gear.TimeoutError, OSError)):
            submitter.getConnection().sendAdminRequest(gear.StatusAdminRequest(), timeout=None)
        submitter.waitForServer(PATIENCE)
        with pytest.raises((gear.TimeoutError, OSError)):
            submitter.getConnection().echo(b"x", timeout=None)


def test_a_server_that_closes_each_connection_is_not_flooded() -> None:
    def answer(connection: socket.socket, data: bytes) -> None:
        connection.close()

    with Peer(answer) as closing, connected(lambda: gear.Worker("w")) as worker:
        worker.addServer(HOST, closing.port)
        wait_until(lambda: len(closing.connections) == 4, "it is tried again")
        connection = [*worker.active_connections, *worker.inactive_connections][0]
        assert connection._pause >= 0.1


@pytest.mark.parametrize(
    "data",
    [
        CREATED[:5],
        CREATED[:12],
        CREATED[:-1],
        b"OK half a li",
    ],
)
def test_closed_in_the_middle_of_a_packet(data: bytes) -> None:
    def answer(connection: socket.socket, received: bytes) -> None:
        connection.sendall(data)
        connection.close()

    with Peer(answer) as cutting, client(cutting.port) as submitter, pytest.raises(gear.GearmanError):
        submitter.submitJob(gear.Job("f", b""), timeout=PATIENCE)


def test_stuck_in_the_middle_of_a_packet() -> None:
    """gear's poll thread waited for the rest, for all servers."""

    def answer(connection: socket.socket, received: bytes) -> None:
        connection.sendall(CREATED[:-1])

    with Peer(answer) as stuck, serving() as server, client(stuck.port, server.port) as submitter:
        for _ in range(2):
            job = gear.Job("f", b"")
            submitter.submitJob(job, timeout=0.2)
            assert job.connection.port == server.port


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0XXX\0\0\0\x08\0\0\0\0",
        b"\0RES\0\0\0\x08\xff\xff\xff\xff",
        packet(constants.JOB_CREATED, b"H:nobody:1"),
        packet(constants.OPTION_RES, b"exceptions"),
    ],
)
def test_nonsense_ends_the_connection(nonsense: bytes) -> None:
    sent = threading.Event()

    def answer(connection: socket.socket, received: bytes) -> None:
        if sent.is_set():
            connection.sendall(CREATED)

    with Peer(answer, greeting=nonsense) as peer, connected(lambda: gear.Client("c")) as submitter:
        submitter.addServer(HOST, peer.port)
        wait_until(lambda: len(peer.connections) > 1, "the connection is given up and made again")
        peer.greeting = b""
        sent.set()

        def submit() -> bool:
            job = gear.Job("f", b"")
            try:
                submitter.submitJob(job, timeout=PATIENCE)
            except gear.GearmanError:
                return False
            # A connection that was greeted just before may take its greeting for the answer.
            return job.handle == b"H:peer:1"

        wait_until(submit, "the server is used again")


@pytest.mark.parametrize(
    "unasked",
    [
        packet(constants.WORK_COMPLETE, b"H:other:1\0x"),
        packet(constants.WORK_STATUS, b"H:other:1\x001\x002"),
        packet(constants.STATUS_RES, b"H:other:1\x000\x000\x000\x000"),
        packet(constants.ERROR, b"CODE\0text"),
        packet(constants.ERROR, b"no text"),
        packet(constants.ECHO_RES, b"x"),
        packet(constants.NOOP),
        packet(constants.JOB_ASSIGN, b""),
        packet(101, b"x"),
        packet(constants.CAN_DO, b"x"),
    ],
)
def test_packets_that_nobody_asked_for_are_logged(unasked: bytes, caplog: pytest.LogCaptureFixture) -> None:
    def answer(connection: socket.socket, received: bytes) -> None:
        connection.sendall(CREATED)

    handled = threading.Event()

    class Watching(gear.Client):
        def handlePacket(self, packet: Any) -> None:  # noqa: N802
            try:
                super().handlePacket(packet)
            finally:
                handled.set()

    with Peer(answer, greeting=unasked) as peer, client(peer.port, kind=Watching) as submitter:
        job = gear.Job("f", b"")
        assert handled.wait(PATIENCE)
        with caplog.at_level(logging.ERROR):
            submitter.submitJob(job, timeout=PATIENCE)
        assert job.handle == b"H:peer:1"
        assert len(peer.connections) == 1


def test_a_refused_job_and_the_next_one_keep_their_answers() -> None:
    answers = iter([packet(constants.ERROR, b"QUEUE_ERROR\0full"), CREATED])

    def answer(connection: socket.socket, received: bytes) -> None:
        connection.sendall(next(answers))

    with Peer(answer) as peer, client(peer.port) as submitter:
        refused, taken = gear.Job("f", b""), gear.Job("f", b"")
        refused.handle = b"H:of:an:earlier:submission"
        with pytest.raises(gear.GearmanError):
            submitter.submitJob(refused, timeout=PATIENCE)
        submitter.submitJob(taken, timeout=PATIENCE)
        assert taken.handle == b"H:peer:1"
        assert len(peer.connections) == 1


@pytest.mark.parametrize("role", [lambda: gear.Client("c"), lambda: gear.Worker("w")])
def test_shutdown_beside_a_silent_server_is_prompt(role: Any) -> None:
    with Peer() as silent, connected(role, silent.port) as peer:
        if isinstance(peer, gear.Worker):
            peer.registerFunction("f")
    assert not peer.poll_thread.is_alive()
    assert (peer.active_connections, peer.inactive_connections) == ([], [])


def test_stop_waiting_beside_a_silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GRAB_JOB_UNIQ on its way is waited for, 5 seconds at most."""
    monkeypatch.setattr("gearfast.compat.gear._worker._GRAB_SECONDS", 0.05)
    ended: list[bool] = []

    def run(worker: Any) -> None:
        try:
            worker.getJob()
        except gear.InterruptedError:
            ended.append(True)

    with Peer() as silent, connected(lambda: gear.Worker("w"), silent.port) as worker:
        thread = threading.Thread(target=run, args=(worker,))
        thread.start()
        wait_until(lambda: worker.active_connections[0].state == "GRAB_WAIT", "it has asked")
        worker.stopWaitingForJobs()
        thread.join(PATIENCE)
        assert ended == [True]
        wait_until(lambda: len(silent.connections) == 2, "the silent server was given up")


def test_a_worker_survives_the_server() -> None:
    got: list[bytes] = []

    def run(job: Any) -> None:
        got.append(job.arguments)
        job.sendWorkComplete()

    first = gear.Server(0)
    with working(first.port, run=run, name="f") as worker:
        wait_until(lambda: worker.active_connections[0].state == "SLEEP", "it waits")
        first.shutdown()
        with serving(gear.Server, first.port), client(first.port) as submitter:
            job = gear.Job("f", b"again")
            submitter.submitJob(job)
            done(job)
        assert got == [b"again"]


def test_an_assignment_that_is_cut_short() -> None:
    """The job goes back with the connection, and the worker asks again."""
    answers = [packet(constants.JOB_ASSIGN_UNIQ, b"H:1"), packet(constants.JOB_ASSIGN_UNIQ, b"H:2\0f\0\0x")]

    def answer(connection: socket.socket, received: bytes) -> None:
        if packet(constants.GRAB_JOB_UNIQ, b"", b"\0REQ") in received and answers:
            connection.sendall(answers.pop(0))

    with Peer(answer) as peer, connected(lambda: gear.Worker("w"), peer.port) as worker:
        assert worker.getJob().handle == b"H:2"
        assert len(peer.connections) == 2


def test_a_worker_is_told_that_its_result_came_too_late(require: Any) -> None:
    """An ERROR to a worker, which waits for none, changes nothing; gear dropped the connection."""

    def answer(connection: socket.socket, received: bytes) -> None:
        connection.sendall(packet(constants.ERROR, b"JOB_NOT_FOUND\0gone") + packet(constants.NO_JOB))

    with Peer(answer) as peer, connected(lambda: gear.Worker("w"), peer.port) as worker:
        thread = threading.Thread(target=interrupted, args=(worker,))
        thread.start()
        wait_until(lambda: worker.active_connections[0].state == "SLEEP", "it sleeps")
        assert len(peer.connections) == 1
        worker.stopWaitingForJobs()
        thread.join(PATIENCE)


def test_a_server_that_takes_nothing_off_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gearfast.compat.gear._connection.STALLED_SECONDS", 0.05)
    with (
        socket.create_server((HOST, 0)) as listener,
        client(listener.getsockname()[1]) as submitter,
        pytest.raises(gear.GearmanError),
    ):
        submitter.submitJob(gear.Job("f", bytes(64 << 20)))


def test_a_server_that_never_shakes_hands(monkeypatch: pytest.MonkeyPatch, require: Any, tmp_path: Any) -> None:
    monkeypatch.setattr("gearfast.compat.gear._connection.CONNECT_SECONDS", 1000.0)
    trustme = require.module("trustme", "trustme")
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    made.private_key_pem.write_to_path(str(tmp_path / "key"))
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca"))
    with Peer() as silent, connected(lambda: gear.Client("c")) as submitter:
        submitter.addServer(HOST, silent.port, *(str(tmp_path / name) for name in ("key", "pem", "ca")))
        wait_until(lambda: silent.received, "the handshake has begun")
    assert not submitter.connect_thread.is_alive()
