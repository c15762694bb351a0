# SPDX-License-Identifier: BSD-3-Clause
"""The blocking client with a scripted job server at the other end."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gearfast.sync.stream as stream
from gearfast._codec import Decoder, Packet, encode
from gearfast.errors import ConnectionLost, JobTimeout, QueueFull, SubmitUncertain
from gearfast.protocol import Command
from gearfast.session.client import ClientSession
from gearfast.session.requests import Timeout
from gearfast.sync.client import Client

Script = Callable[["Peer"], None]


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._decoder = Decoder()
        self._packets: list[Packet] = []
        sock.settimeout(20)

    def take(self, *names: str) -> list[Packet]:
        """The next packets, which must have these names."""
        while len(self._packets) < len(names):
            data = self.sock.recv(65536)
            assert data, f"the client hung up, {names} awaited"
            self._packets += self._decoder.receive(data)  # type: ignore[arg-type]
        found, self._packets = self._packets[: len(names)], self._packets[len(names) :]
        assert [packet.name for packet in found] == list(names)
        return found

    def send(self, *packets: bytes) -> None:
        self.sock.sendall(b"".join(packets))

    def ended(self) -> bool:
        """The client has closed the connection."""
        try:
            return self.sock.recv(1) == b""
        except OSError:
            return True


class Scripted:
    """A server that plays one script for each connection, in threads, and hangs up its listener after the last."""

    def __init__(self) -> None:
        self.scripts: list[Script] = []
        self.failures: list[BaseException] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []

    def play(self, *scripts: Script, **options: Any) -> Client:
        """A client of this server, without the option of exceptions unless it is asked for."""
        self.scripts = list(scripts)
        thread = threading.Thread(target=self._accept)
        self._threads.append(thread)
        thread.start()
        return Client(self.address, **{"exceptions": False, **options})

    def _accept(self) -> None:
        self.listener.settimeout(20)
        with self.listener:
            for number, script in enumerate(self.scripts, 1):
                sock, _ = self.listener.accept()
                if number == len(self.scripts):
                    self.listener.close()
                thread = threading.Thread(target=self._run, args=(script, sock))
                self._threads.append(thread)
                thread.start()

    def _run(self, script: Script, sock: socket.socket) -> None:
        with sock:
            try:
                script(Peer(sock))
            except BaseException as error:  # noqa: BLE001
                self.failures.append(error)

    def check(self) -> None:
        for thread in self._threads:
            thread.join(20)
        assert self.failures == []
        assert not any(thread.is_alive() for thread in self._threads)


@pytest.fixture(params=[True, False], ids=["plain", "portable"])
def scripted(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Scripted]:
    """Over the sockets that Linux has a short way for, and over those of all other systems and of TLS."""
    if request.param and not stream.IS_PLAIN:
        pytest.skip("needs Linux, where plain sockets have a way of their own")
    monkeypatch.setattr(stream, "IS_PLAIN", request.param)
    one = Scripted()
    yield one
    one.check()


def created(handle: bytes) -> bytes:
    return encode(Command.JOB_CREATED, handle)


def complete(handle: bytes, result: bytes = b"r") -> bytes:
    return encode(Command.WORK_COMPLETE, handle, result)


def test_one_connection_serves_call_after_call(scripted: Scripted) -> None:
    def script(peer: Peer) -> None:
        peer.take("SET_CLIENT_ID", "OPTION_REQ")
        peer.send(encode(Command.OPTION_RES, b"exceptions"))
        for number in range(3):
            peer.take("SUBMIT_JOB")
            peer.send(created(b"H:%d" % number), complete(b"H:%d" % number, b"%d" % number))
        peer.take("SUBMIT_JOB_BG")
        peer.send(created(b"H:bg"))
        (echo,) = peer.take("ECHO_REQ")
        peer.send(encode(Command.ECHO_RES, echo.args[0]))
        assert peer.ended()

    with scripted.play(script, exceptions=True, id="me") as one:
        assert [one.run("f") for _ in range(3)] == [b"0", b"1", b"2"]
        assert one.submit_background("f") == "H:bg"
        assert one.echo(b"e") == b"e"


def test_answers_byte_by_byte(scripted: Scripted) -> None:
    def script(peer: Peer) -> None:
        peer.take("SUBMIT_JOB")
        for byte in created(b"H:1") + complete(b"H:1", b"slow"):
            peer.send(bytes([byte]))

    with scripted.play(script) as one:
        assert one.run("f") == b"slow"


def test_a_late_result_does_not_reach_the_next_call(scripted: Scripted) -> None:
    overdue = threading.Event()

    def script(peer: Peer) -> None:
        peer.take("SUBMIT_JOB")
        peer.send(created(b"H:1"))
        assert overdue.wait(20)
        peer.send(complete(b"H:1", b"late"))
        peer.take("SUBMIT_JOB")
        peer.send(created(b"H:2"), complete(b"H:2", b"right"))

    with scripted.play(script) as one:
        with pytest.raises(JobTimeout) as caught:
            one.run("f", timeout=0.5)
        assert caught.value.handle == "H:1"
        overdue.set()
        assert one.run("f", timeout=20) == b"right"


def test_a_refusal(scripted: Scripted) -> None:
    def script(peer: Peer) -> None:
        peer.take("SUBMIT_JOB")
        peer.send(encode(Command.ERROR, b"QUEUE_ERROR", b"Job queue is full"))

    with scripted.play(script) as one, pytest.raises(QueueFull):
        one.run("f")


@pytest.mark.parametrize("half", [b"", created(b"H:1")[:7], created(b"H:1"), created(b"H:1") + complete(b"H:1")[:15]])
def test_a_connection_that_is_lost_in_the_middle(scripted: Scripted, half: bytes) -> None:
    uniques = []

    def lose(peer: Peer) -> None:
        uniques.append(peer.take("SUBMIT_JOB")[0].args[1])
        peer.send(half)

    def answer(peer: Peer) -> None:
        uniques.append(peer.take("SUBMIT_JOB")[0].args[1])
        peer.send(created(b"H:7"), complete(b"H:7", b"again"))

    with scripted.play(lose, answer, resubmit="same") as one:
        assert one.run("f") == b"again"
    assert uniques[0] == uniques[1] != b""


def test_a_lost_connection_with_policy_never(scripted: Scripted) -> None:
    def before(peer: Peer) -> None:
        peer.take("SUBMIT_JOB")

    def after(peer: Peer) -> None:
        peer.take("SUBMIT_JOB")
        peer.send(created(b"H:1"))

    with scripted.play(before, after, resubmit="never") as one:
        with pytest.raises(SubmitUncertain, match="may or may not be queued"):
            one.run("f")
        with pytest.raises(ConnectionLost) as caught:
            one.run("f")
        assert (caught.value.handle, caught.value.server) == ("H:1", scripted.address)


def test_a_server_that_does_not_come_back(scripted: Scripted) -> None:
    def lose(peer: Peer) -> None:
        peer.take("SUBMIT_JOB")
        peer.send(created(b"H:1"))

    with (
        scripted.play(lose, resubmit="same", timeout=Timeout(reconnect=0.01)) as one,
        pytest.raises(ConnectionLost, match="refused"),
    ):
        one.run("f")


@pytest.mark.parametrize("garbage", [b"HTTP/1.0 400\r\n", b"\0RES\0\0\0\x63\0\0\0\0", encode(Command.NO_JOB)])
def test_a_server_that_is_none(scripted: Scripted, garbage: bytes) -> None:
    def script(peer: Peer) -> None:
        peer.take("SUBMIT_JOB")
        peer.send(garbage)

    with scripted.play(script) as one, pytest.raises(SubmitUncertain, match="lost"):
        one.run("f")


def test_sending_on_a_dead_connection_does_not_wait_for_a_deadline(scripted: Scripted) -> None:
    """The send fails after the deadlines were looked at; the new connection must be made at once all the same."""
    closed = threading.Event()

    def die(peer: Peer) -> None:
        peer.take("ECHO_REQ")
        peer.send(encode(Command.ECHO_RES, b""))
        peer.sock.close()
        closed.set()

    def answer(peer: Peer) -> None:
        peer.take("SUBMIT_JOB", "SUBMIT_JOB")
        peer.send(created(b"H:1"), created(b"H:2"), complete(b"H:1", b"1"), complete(b"H:2", b"2"))

    with scripted.play(die, answer, resubmit="same") as one:
        one.echo(b"")
        assert closed.wait(20)
        assert list(one.map("f", [b"", b""], timeout=20)) == [b"1", b"2"]


def test_a_big_workload_is_sent_while_results_come_in(scripted: Scripted) -> None:
    """A server that reads no more until its own output is taken must not lock both up."""
    big = bytes(3_000_000)

    def script(peer: Peer) -> None:
        peer.take("SUBMIT_JOB")
        peer.send(created(b"H:1"), encode(Command.WORK_DATA, b"H:1", big), encode(Command.WORK_DATA, b"H:1", big))
        peer.take("SUBMIT_JOB")
        peer.send(complete(b"H:1", b"one"), created(b"H:2"), complete(b"H:2", b"two"))

    with scripted.play(script) as one:
        assert list(one.map("f", [b"small", big], timeout=20)) == [b"one", b"two"]


def test_two_calls_at_once_have_a_connection_each(scripted: Scripted) -> None:
    barrier = threading.Barrier(2)

    def script(peer: Peer) -> None:
        (job,) = peer.take("SUBMIT_JOB")
        barrier.wait(20)
        peer.send(created(b"H:1"), complete(b"H:1", job.args[2]))

    results = []
    with scripted.play(script, script) as one:
        threads = [threading.Thread(target=lambda n=n: results.append(one.run("f", b"%d" % n))) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert sorted(results) == [b"0", b"1"]


def test_submit_pipelines_on_one_connection(scripted: Scripted) -> None:
    def script(peer: Peer) -> None:
        jobs = peer.take(*["SUBMIT_JOB"] * 20)
        peer.send(*(created(b"H:%d" % n) for n in range(20)))
        peer.send(*(complete(b"H:%d" % n, jobs[n].args[2]) for n in reversed(range(20))))
        assert peer.ended()

    with scripted.play(script) as one:
        futures = [one.submit("f", b"%d" % n) for n in range(20)]
        assert [future.result(20) for future in futures] == [b"%d" % n for n in range(20)]


def test_a_future_that_times_out_before_the_reader_would_look(scripted: Scripted) -> None:
    def script(peer: Peer) -> None:
        peer.take("SUBMIT_JOB", "SUBMIT_JOB")
        assert peer.ended()

    with scripted.play(script) as one:
        one.submit("f")
        # Long enough for the packet to leave on a busy machine too: one that is over before is not sent.
        assert isinstance(one.submit("f", timeout=0.5).exception(20), JobTimeout)


def test_callbacks_may_use_the_client(scripted: Scripted) -> None:
    def script(peer: Peer) -> None:
        for number in range(2):
            peer.take("SUBMIT_JOB")
            peer.send(created(b"H:%d" % number), complete(b"H:%d" % number))

    second: list[Any] = []
    added = threading.Event()
    with scripted.play(script) as one:
        one.submit("f").add_done_callback(lambda _: (second.append(one.submit("f")), added.set()))
        assert added.wait(20)
        assert second[0].result(20) == b"r"


def test_an_interrupted_call_leaves_no_connection_in_doubt(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    def first(peer: Peer) -> None:
        peer.take("ECHO_REQ")
        peer.send(encode(Command.ECHO_RES, b""))
        peer.take("SUBMIT_JOB")
        peer.send(created(b"H:1"))
        assert peer.ended()

    def second(peer: Peer) -> None:
        peer.take("SUBMIT_JOB")
        peer.send(created(b"H:1"), complete(b"H:1"))

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with scripted.play(first, second) as one:
        one.echo(b"")
        with monkeypatch.context() as patch:
            patch.setattr(ClientSession, "receive", interrupt)
            with pytest.raises(KeyboardInterrupt):
                one.run("f")
        assert one.run("f") == b"r"


def test_a_client_that_is_never_used_holds_nothing() -> None:
    Client("server:1")
    gc.collect()
