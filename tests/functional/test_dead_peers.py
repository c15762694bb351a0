# SPDX-License-Identifier: BSD-3-Clause
"""A pulled cable: the jobs of a worker that the network does not reach any more come to another one within the limit.

Who merely does not read is no such worker, for however long it does not.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gearfast import Server
from gearfast._codec import Packet
from gearfast.frontend.sockets import tune
from gearfast.protocol import Command
from gearfast.server.listen import TCP_RTO_MAX_MS

from .network import Cable, missing
from .server_tools import DRIVERS, LIMIT, SLOW, ServerProcess, Wire, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux (it asks the kernel who answers)")

BIG = bytes(8 << 20)


class Net:
    """A server at the near end of a cable."""

    def __init__(self, cable: Cable, server: ServerProcess) -> None:
        self.cable = cable
        self.server = server
        self.port = server.address[1]
        self._open = contextlib.ExitStack()

    def near(self) -> Wire:
        """A connection that no cable is part of."""
        return self._open.enter_context(Wire(self.cable.connect(self.cable.near, self.port)))

    def far(self, receive_buffer: int = 0) -> Wire:
        """One through the cable."""
        return self._open.enter_context(Wire(self.cable.connect(self.cable.far, self.port, receive_buffer)))

    def close(self) -> None:
        self._open.close()


Serve = Callable[..., Net]


@pytest.fixture
def serve(require: Callable[[object, str], None]) -> Iterator[Serve]:
    require(not missing(), missing())
    with contextlib.ExitStack() as stack:

        def new(*flags: str) -> Net:
            cable = stack.enter_context(Cable())
            server = stack.enter_context(
                ServerProcess("--listen", f"{cable.near_address}:0", *flags, wrap=("ip", "netns", "exec", cable.near))
            )
            net = Net(cable, server)
            stack.callback(net.close)
            return net

        yield new


def submit(client: Wire, function: bytes, data: bytes = b"") -> bytes:
    return client.submit(function, data, background=True)


def has_running(client: Wire, function: bytes) -> bool:
    return any(line.startswith(function + b"\t1\t1\t") for line in client.lines("status"))


def lose_all(net: Net, end: str) -> dict[bytes, Wire]:
    """Pulls the cable of workers in every state; returns a living worker for each one's function, which has a job."""
    client = net.near()
    # One has a job, and nothing is on its way to it.
    busy = net.far()
    busy.can_do(b"busy")
    handle = submit(client, b"busy", b"1")
    assert busy.grab()[0] == handle
    # One waits for its next job, which is then sent into the void.
    waiting = net.far()
    waiting.can_do(b"waiting")
    waiting.send(Command.OPTION_REQ, b"all_yours")
    waiting.packet(Command.OPTION_RES)
    waiting.send(Command.GRAB_JOB)
    waiting.echo()
    # One has a job and waits for another one as a client, whose data is on the way.
    fed = net.far()
    fed.can_do(b"fed")
    handle = submit(client, b"fed", b"2")
    assert fed.grab()[0] == handle
    feeder = net.near()
    feeder.can_do(b"food")
    food = fed.submit(b"food")
    assert feeder.grab()[0] == food
    # One does not read, and its window is closed.
    stuck = net.far(receive_buffer=20_000)
    stuck.can_do(b"stuck")
    submit(client, b"stuck", BIG)
    stuck.send(Command.GRAB_JOB)
    eventually(lambda: has_running(client, b"stuck"))

    feeder.send(Command.WORK_DATA, food, bytes(50_000))
    net.cable.pull(end)
    feeder.send(Command.WORK_DATA, food, bytes(50_000))
    feeder.echo()
    submit(client, b"waiting", b"3")
    eventually(lambda: has_running(client, b"waiting"))
    living = {}
    for function in (b"busy", b"waiting", b"fed", b"stuck"):
        living[function] = worker = net.near()
        worker.can_do(function)
    return living


def check_all_come(net: Net, end: str, limit: float) -> None:
    living = lose_all(net, end)
    began = time.monotonic()
    took = {}
    for function, worker in living.items():
        worker.sock.settimeout(limit + LIMIT)
        worker.grab()
        took[function] = time.monotonic() - began
    # The bound that users are promised. The second is for a machine that does other things too.
    assert max(took.values()) <= limit + 1 * SLOW, took
    text = net.server.log
    assert text.count("it does not answer") >= 4, text
    assert net.cable.far_address in text


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("end", ["far", "near"])
def test_jobs_of_dead_workers_come_to_others_within_the_limit(serve: Serve, driver: str, end: str) -> None:
    net = serve("--driver", driver, "--dead-peer-limit", "3")
    check_all_come(net, getattr(net.cable, end), 3)


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_default_limit_is_ten_seconds(serve: Serve, driver: str) -> None:
    net = serve("--driver", driver)
    check_all_come(net, net.cable.far, 10)


def test_a_sleeping_worker_that_is_woken_in_vain_disappears(serve: Serve) -> None:
    net = serve("--dead-peer-limit", "2")
    client, asleep = net.near(), net.far()
    asleep.can_do(b"f")
    asleep.send(Command.PRE_SLEEP)
    asleep.echo()
    net.cable.pull(net.cable.far)
    handle = submit(client, b"f", b"data")
    eventually(lambda: not any(net.cable.far_address.encode() in line for line in client.lines("workers")))
    client.can_do(b"f")
    assert client.grab() == (handle, b"data")


def test_a_client_notices_that_its_server_is_gone(serve: Serve) -> None:
    net = serve()
    client = net.far()
    tune(client.sock)
    client.echo()
    net.cable.pull(net.cable.near)
    with pytest.raises(OSError, match=r"timed out|No route") as info:
        client.get()
    assert info.value.errno in (errno.ETIMEDOUT, errno.EHOSTUNREACH)


def test_a_cable_that_is_soon_back_costs_nothing(serve: Serve) -> None:
    net = serve("--dead-peer-limit", "30")
    client, worker = net.near(), net.far()
    worker.can_do(b"f")
    handle = submit(client, b"f", b"data")
    assert worker.grab() == (handle, b"data")
    net.cable.pull(net.cable.far)
    worker.complete(handle)
    subprocess.run(["ip", "-n", net.cable.far, "link", "set", "cable", "up"], check=True)
    worker.echo()


@pytest.mark.parametrize("backoff", [False, True], ids=["capped", "an older kernel's"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_living_worker_that_does_not_read_is_not_cut(driver: str, backoff: bool) -> None:
    """With probes of its window ever further apart too, as kernels before 6.15 send them."""
    limit = 2.0
    with Server(driver=driver, dead_peer_limit=limit) as server:
        if backoff:
            sock = server._live().listeners[0].sock
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, 120_000)
        with Wire((server.host, server.port)) as client, socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20_000)
            slow.connect((server.host, server.port))
            with Wire(slow) as worker:
                worker.can_do(b"f")
                handle = submit(client, b"f", BIG)
                worker.send(Command.GRAB_JOB)
                eventually(lambda: has_running(client, b"f"))
                # That nothing happens for four times the limit can only be told by waiting for it.
                end = time.monotonic() + 4 * limit
                while time.monotonic() < end:
                    client.echo()
                got = worker.packet(Command.JOB_ASSIGN)
                assert got.args == (handle, b"f", BIG)
                worker.complete(handle)
                worker.echo()


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_client_that_submits_much_before_it_reads_is_not_cut(driver: str) -> None:
    limit = 2.0
    number = 300_000
    requests = Packet(Command.SUBMIT_JOB_BG, (b"f", b"", bytes(100))).encode() * number
    with (
        Server(driver=driver, dead_peer_limit=limit, high_water="64K") as server,
        Wire((server.host, server.port)) as client,
        Wire((server.host, server.port)) as other,
    ):
        sender = threading.Thread(target=client.sock.sendall, args=(requests,))
        sender.start()
        # That nothing happens for twice the limit can only be told by waiting for it.
        end = time.monotonic() + 2 * limit
        while time.monotonic() < end:
            other.echo()
        assert sender.is_alive(), "all requests were read although no answer was"
        for _ in range(number):
            client.packet(Command.JOB_CREATED)
        sender.join()
