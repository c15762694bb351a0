# SPDX-License-Identifier: BSD-3-Clause
"""Each error of a job tells server, function and handle, in attributes and in its text. Blocking and asyncio."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, NamedTuple

import pytest

from gearfast import (
    AsyncClient,
    Client,
    Command,
    ConnectionLost,
    DeadlineExceeded,
    GearfastError,
    JobCancelled,
    JobException,
    JobFailed,
    JobTimeout,
    Packet,
    QueueFull,
    ResultTooLarge,
    ServerError,
    SubmitUncertain,
    Timeout,
)

from .fault_proxy import Connection, ScriptedPeer
from .servers import PATIENCE

JOB = b"H:x:1"
CREATED = Packet(Command.JOB_CREATED, [JOB])


class Case(NamedTuple):
    """What the server answers to the submission, whether it hangs up then, and the error of that."""

    kind: type[GearfastError]
    answer: list[Packet]
    hangs_up: bool = False
    options: dict[str, Any] = {}  # noqa: RUF012
    cancels: bool = False


CASES = [
    Case(JobTimeout, [CREATED], options={"timeout": Timeout(job=0.1)}),
    Case(DeadlineExceeded, [], options={"timeout": Timeout(reply=0.1)}),
    Case(JobFailed, [CREATED, Packet(Command.WORK_FAIL, [JOB])]),
    Case(JobException, [CREATED, Packet(Command.WORK_EXCEPTION, [JOB, b"ValueError: no"])]),
    Case(JobCancelled, [CREATED], cancels=True),
    Case(ResultTooLarge, [CREATED, Packet(Command.WORK_COMPLETE, [JOB, bytes(5000)])], options={"max_result": 100}),
    Case(ConnectionLost, [CREATED], hangs_up=True),
    Case(SubmitUncertain, [], hangs_up=True),
    Case(ServerError, [Packet(Command.ERROR, [b"ERR", b"no"])]),
    Case(QueueFull, [Packet(Command.ERROR, [b"QUEUE_ERROR", b"Job queue is full"])]),
]


@pytest.mark.parametrize("mode", ["blocking", "asyncio"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind.__name__)
def test_server_function_and_handle(mode: str, case: Case) -> None:
    cancelled = threading.Event()

    def script(connection: Connection) -> None:
        if case.cancels and connection.number == 2:  # the blocking client's call of `cancel`
            assert connection.socket.recv(100) == b"cancel job H:x:1\r\n"
            cancelled.set()
            connection.socket.sendall(b"OK\r\n")
            connection.wait_for_end()
            return
        connection.read("SUBMIT_JOB")
        connection.send(*case.answer)
        if case.cancels:
            if mode == "asyncio":
                assert connection.socket.recv(100) == b"cancel job H:x:1\r\n"
                connection.socket.sendall(b"OK\r\n")
            else:
                assert cancelled.wait(PATIENCE)
            connection.send(Packet(Command.WORK_FAIL, [JOB]))
        if not case.hangs_up:
            connection.wait_for_end()

    with ScriptedPeer(script) as peer:
        options = {"exceptions": False, **case.options}
        error = blocking(peer.address, case, options) if mode == "blocking" else asyncio.run(later(peer, case, options))
    assert type(error) is case.kind
    handle = "H:x:1" if CREATED in case.answer else ""
    assert (error.server, error.function, error.handle) == (peer.address, "f", handle)
    assert all(word in str(error) for word in (peer.address, "'f'", handle))


def blocking(address: str, case: Case, options: dict[str, Any]) -> GearfastError:
    with Client(address, **options) as client:
        future = client.submit("f")
        if case.cancels:
            assert client.cancel(future, timeout=PATIENCE)
        error = future.exception(PATIENCE)
    assert isinstance(error, GearfastError)
    return error


async def later(peer: ScriptedPeer, case: Case, options: dict[str, Any]) -> GearfastError:
    async with AsyncClient(peer.address, **options) as client:
        future = client.submit("f")
        if case.cancels:
            assert await client.cancel(future, timeout=PATIENCE)
        await future.wait(PATIENCE)
        error = future.exception()
    assert isinstance(error, GearfastError)
    return error
