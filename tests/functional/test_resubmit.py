# SPDX-License-Identifier: BSD-3-Clause
"""What becomes of jobs whose connection is lost, and what is told of it. Blocking and asyncio."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from typing import Any

import pytest

from gearfast import AsyncClient, Client, Command, GearfastError, JobFailed, Packet, Retry, SubmitUncertain
from gearfast.cli import main
from gearfast.session.hub import Resubmit

from .fault_proxy import Connection, ScriptedPeer
from .servers import HOST, PATIENCE


def created(handle: bytes) -> Packet:
    return Packet(Command.JOB_CREATED, [handle])


def complete(handle: bytes) -> Packet:
    return Packet(Command.WORK_COMPLETE, [handle, b"done"])


@pytest.fixture(params=["blocking", "asyncio"])
def mode(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def submit(mode: str, servers: Any, unique: str | None, **options: Any) -> tuple[GearfastError | bytes, int]:
    """What became of a job `f`, and how often it went out."""
    retry = options.pop("retry", None)
    if mode == "blocking":
        with Client(servers, exceptions=False, **options) as client:
            future = client.submit("f", unique=unique, retry=retry)
            error = future.exception(PATIENCE)
            assert error is None or isinstance(error, GearfastError)
            return error or future.result(), future.submissions

    async def wait() -> tuple[GearfastError | bytes, int]:
        async with AsyncClient(servers, exceptions=False, **options) as client:
            future = client.submit("f", unique=unique, retry=retry)
            assert future.submissions == 0
            async with asyncio.timeout(PATIENCE):
                (outcome,) = await asyncio.gather(future, return_exceptions=True)
            assert isinstance(outcome, (GearfastError, bytes))
            return outcome, future.submissions

    return asyncio.run(wait())


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "gearfast.client"]


def facts(record: logging.LogRecord) -> tuple[Any, ...]:
    values = vars(record)
    return tuple(values[name] for name in ("function", "handle", "old_server", "server", "submissions"))


@pytest.mark.parametrize("first", [[], [created(b"H:x:1")]], ids=["before JOB_CREATED", "after it"])
@pytest.mark.parametrize("unique", [None, "u"])
def test_a_job_never_runs_twice_in_silence(
    mode: str, unique: str | None, first: list[Packet], caplog: pytest.LogCaptureFixture
) -> None:
    uniques = []

    def script(connection: Connection) -> None:
        uniques.append(connection.read("SUBMIT_JOB").args[1])
        if connection.number == 1:
            connection.send(*first)
            return
        connection.send(created(b"H:x:2"), complete(b"H:x:2"))
        connection.wait_for_end()

    with ScriptedPeer(script) as peer:
        outcome, submissions = submit(mode, peer.address, unique)
    if unique is None:
        assert isinstance(outcome, GearfastError)
        assert isinstance(outcome, SubmitUncertain) == (not first)
        assert (submissions, len(uniques), warnings(caplog)) == (1, 1, [])
        return
    assert (outcome, submissions, uniques) == (b"done", 2, [b"u", b"u"])
    (record,) = warnings(caplog)
    assert record.levelno == logging.WARNING
    handle = "H:x:1" if first else ""
    assert facts(record) == ("f", handle, peer.address, peer.address, 1)
    text = record.getMessage()
    assert all(word in text for word in ("'f'", handle, peer.address, "closed by the server"))


@pytest.mark.parametrize("unique", [None, "u"])
def test_a_background_job_without_a_handle_follows_the_same_rule(mode: str, unique: str | None) -> None:
    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB_BG")
        if connection.number == 1:
            return
        connection.send(created(b"H:x:2"))
        connection.wait_for_end()

    async def run(address: str) -> str:
        async with AsyncClient(address, exceptions=False, timeout=PATIENCE) as client:
            return await client.submit_background("f", unique=unique)

    def call(address: str) -> str:
        if mode == "asyncio":
            return asyncio.run(run(address))
        with Client(address, exceptions=False, timeout=PATIENCE) as client:
            return client.submit_background("f", unique=unique)

    with ScriptedPeer(script) as peer:
        if unique:
            assert call(peer.address) == "H:x:2"
        else:
            with pytest.raises(SubmitUncertain):
                call(peer.address)
            assert peer.accepted == 1


def test_a_failover_is_told(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        connection.send(created(b"H:x:1"), complete(b"H:x:1"))
        connection.wait_for_end()

    with socket.socket() as nobody, ScriptedPeer(script) as peer:
        nobody.bind((HOST, 0))  # and does not listen
        away = f"{HOST}:{nobody.getsockname()[1]}"
        told = []
        for number in range(20):  # half of the uniques belong to the server that is away
            caplog.clear()
            assert submit(mode, [away, peer.address], f"u{number}") == (b"done", 1)
            told += [facts(record) for record in warnings(caplog)]
    assert 0 < len(told) < 20
    assert set(told) == {("f", "", away, peer.address, 0)}


def test_a_retry_is_told(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        connection.send(created(b"H:x:1"), Packet(Command.WORK_FAIL, [b"H:x:1"]))
        connection.read("SUBMIT_JOB")
        connection.send(created(b"H:x:2"), complete(b"H:x:2"))
        connection.wait_for_end()

    with ScriptedPeer(script) as peer:
        assert submit(mode, peer.address, None, retry=Retry(on=JobFailed)) == (b"done", 2)
    (record,) = warnings(caplog)
    assert facts(record) == ("f", "H:x:1", peer.address, peer.address, 1) and "JobFailed" in record.getMessage()


@pytest.mark.parametrize("policy", ["unique", "same", "any", "never"])
def test_the_command_has_the_policy_too(policy: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    def script(connection: Connection) -> None:
        connection.read("SUBMIT_JOB")
        if connection.number > 1:
            connection.send(Packet(Command.OPTION_RES, [b"exceptions"]), created(b"H:x:2"), complete(b"H:x:2"))
            connection.wait_for_end()

    with ScriptedPeer(script) as peer:
        status = main(["submit", "--server", peer.address, "--resubmit", policy, "f", "x"])
    out, err = capfdbinary.readouterr()
    if policy in ("same", "any"):
        assert (status, out) == (0, b"done")
    else:
        assert status != 0 and b"may or may not be queued" in err


@pytest.mark.parametrize("policy", ["unique", "never"])
def test_what_the_system_did_not_take_is_sent_again(mode: str, policy: Resubmit) -> None:
    """The connection takes nothing any more: so no server has the job, whatever the policy and without a unique."""
    over = threading.Event()

    def script(connection: Connection) -> None:
        if connection.number == 1:
            connection.read("ECHO_REQ")
            connection.send(Packet(Command.ECHO_RES, [b"gearfast"]))
            assert over.wait(PATIENCE)  # it does not hang up: the client must not hear of it before it sends
            return
        connection.read("SUBMIT_JOB")
        connection.send(created(b"H:x:1"), complete(b"H:x:1"))
        connection.wait_for_end()

    async def run(address: str) -> bytes:
        async with AsyncClient(address, exceptions=False, resubmit=policy) as client:
            await client.echo()
            assert client._pump is not None
            client._pump.hub.links[0].io._sock.shutdown(socket.SHUT_WR)
            return await client.run("f", timeout=PATIENCE)

    with ScriptedPeer(script) as peer:
        try:
            if mode == "asyncio":
                assert asyncio.run(run(peer.address)) == b"done"
            else:
                with Client(peer.address, exceptions=False, resubmit=policy) as client:
                    client.echo()
                    client._pumps[0].hub.links[0].io.sock.shutdown(socket.SHUT_WR)
                    assert client.run("f", timeout=PATIENCE) == b"done"
        finally:
            over.set()
        assert peer.accepted == 2
