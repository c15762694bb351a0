# SPDX-License-Identifier: BSD-3-Clause
"""gear.Server: an object model that tests reach into, its rules, and what it did not answer."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gearfast.compat import gear
from gearfast.compat.gear import _server, constants
from gearfast.protocol import Command

from ..functional.servers import PATIENCE, wait_until
from . import gear_servers
from .gear_servers import HOST, client, connected, done, packet, serving, working

nothing_left = gear_servers.nothing_left


class Raw:
    """A connection to a server, packet by packet."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection((HOST, port), PATIENCE)
        self.file = self.sock.makefile("rb")

    def send(self, number: int, *args: bytes) -> None:
        self.sock.sendall(packet(number, b"\0".join(args), b"\0REQ"))

    def read(self) -> tuple[int, list[bytes]]:
        magic, number, size = struct.unpack(">4sII", self.file.read(12))
        assert magic == b"\0RES"
        return number, self.file.read(size).split(b"\0")

    def ask(self, number: int, *args: bytes) -> tuple[int, list[bytes]]:
        self.send(number, *args)
        return self.read()

    def text(self, line: bytes) -> bytes:
        """The first line of the answer to a text command; all of a list."""
        self.sock.sendall(line)
        answer = self.file.readline()
        if b"\t" in answer or line.startswith((b"show", b"workers")):
            while not answer.endswith(b".\n"):
                answer += self.file.readline()
        return answer

    def close(self) -> None:
        self.file.close()
        self.sock.close()


@pytest.fixture
def server() -> Iterator[Any]:
    with serving() as running:
        yield running


@pytest.fixture
def raw(server: Any) -> Iterator[Callable[[], Raw]]:
    """Opens connections to the server."""
    with contextlib.ExitStack() as stack:

        def make() -> Raw:
            connection = Raw(server.port)
            stack.callback(connection.close)
            return connection

        yield make


# Life.


def test_it_listens_at_once_and_frees_the_port() -> None:
    server = gear.Server(0)
    port = server.port
    assert port > 0
    with pytest.raises(Exception, match="Could not open socket"):
        gear.Server(port)
    socket.create_connection((HOST, port)).close()
    server.shutdown()
    with pytest.raises(OSError):
        socket.create_connection((HOST, port))
    with serving(gear.Server, port) as again:
        assert again.port == port


def test_one_address() -> None:
    with serving(gear.Server, 0, host=HOST) as server:
        assert server.socket.family == socket.AF_INET
        assert server.socket.getsockname()[0] == HOST


def test_a_failed_construction_leaves_nothing() -> None:
    with pytest.raises(FileNotFoundError):
        gear.Server(0, "no.key", "no.pem", "no.ca")
    assert threading.active_count() >= 1  # `nothing_left` looks at the rest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_it_runs_on_in_a_forked_child_where_nobody_keeps_it() -> None:
    """Zuul's scheduler does this, with the port told over a pipe here."""
    ports, port_out = os.pipe()
    end_in, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        os.write(port_out, b"%d\n" % gear.Server(0).port)
        os.read(end_in, 1)
        os._exit(0)
    os.close(port_out)
    os.close(end_in)
    try:
        with open(ports) as pipe:
            port = int(pipe.readline())
        with working(port), client(port) as submitter:
            job = gear.Job("reverse", b"ab")
            submitter.submitJob(job)
            assert done(job).data == [b"ba"]
    finally:
        os.close(end)
        assert os.waitpid(child, 0)[1] == 0


# State.


def test_queues_and_counts(server: Any) -> None:
    with client(server.port) as submitter:
        jobs = {}
        for precedence in (gear.PRECEDENCE_LOW, gear.PRECEDENCE_NORMAL, gear.PRECEDENCE_HIGH):
            jobs[precedence] = gear.Job("f", b"a", b"u")
            submitter.submitJob(jobs[precedence], precedence=precedence)
        assert [job.handle for job in server.getQueue()] == [jobs[precedence].handle for precedence in (2, 0, 1)]
        for queue, precedence in ((server.high_queue, 2), (server.normal_queue, 0), (server.low_queue, 1)):
            (job,) = queue
            assert type(job) is gear.ServerJob
            assert (job.name, job.arguments, job.unique) == (b"f", b"a", b"u")
            assert job.handle == jobs[precedence].handle
            assert server.jobs[job.handle] is job
            assert job.client_connection in server.active_connections
            assert (job.worker_connection, job.running) == (None, None)
        assert (server.total_jobs, server.waiting_jobs, server.running_jobs) == (3, 3, 0)
        server.getQueue().clear()
        assert len(server.getQueue()) == 3
        with connected(lambda: gear.Worker("w"), server.port) as worker:
            worker.registerFunction("f")
            assigned = worker.getJob()
            running = server.jobs[assigned.handle]
            assert running.running
            assert running.worker_connection.client_id == b"w"
            assert running.worker_connection.functions == {b"f"}
            assert running.worker_connection.related_jobs == {running.handle: running}
            assert (server.total_jobs, server.waiting_jobs, server.running_jobs) == (3, 2, 1)
            assert server.functions == {b"f"}
            assigned.sendWorkComplete()
            done(jobs[2])
        assert running.handle not in server.jobs
        assert (server.total_jobs, server.waiting_jobs, server.running_jobs) == (2, 2, 0)


def test_handles_name_the_peer(server: Any, raw: Callable[[], Raw]) -> None:
    one = raw()
    handles = [one.ask(constants.SUBMIT_JOB_BG, b"f", b"", b"")[1][0] for _ in range(2)]
    host = server.active_connections[0].host
    assert handles == [f"H:{host}:1".encode(), f"H:{host}:2".encode()]
    assert server.jobs[handles[0]].client_connection is None


def test_a_subclass_holds_jobs_back_and_lets_them_go() -> None:
    """What Zuul's and nodepool's fake servers do."""

    class Holding(gear.Server):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.hold_jobs_in_queue = True
            super().__init__(*args, **options)

        def getJobForConnection(self, connection: Any, peek: bool = False) -> Any:  # noqa: N802
            for queue in (self.high_queue, self.normal_queue, self.low_queue):
                for job in queue:
                    if not hasattr(job, "waiting"):
                        job.waiting = self.hold_jobs_in_queue
                    if job.waiting or job.name not in connection.functions:
                        continue
                    if not peek:
                        queue.remove(job)
                        connection.related_jobs[job.handle] = job
                        job.worker_connection = connection
                    job.running = True
                    return job
            return None

        def release(self) -> None:
            for job in self.getQueue():
                job.waiting = False
            self.wakeConnections()

    with serving(Holding) as server, working(server.port) as worker, client(server.port) as submitter:
        (connection,) = worker.active_connections
        job = gear.Job("reverse", b"ab")
        wait_until(lambda: connection.state == "SLEEP", "the worker sleeps")
        submitter.submitJob(job)
        wait_until(lambda: connection.state == "SLEEP" and getattr(server.jobs[job.handle], "waiting", False), "held")
        assert server.getQueue()[0].handle == job.handle
        server.release()
        assert done(job).data == [b"ba"]
        assert (server.total_jobs, server.waiting_jobs, server.running_jobs) == (0, 0, 0)


def test_counts_may_be_assigned(server: Any) -> None:
    server.waiting_jobs -= 1
    server.running_jobs += 1
    server.total_jobs = 7
    assert (server.total_jobs, server.waiting_jobs, server.running_jobs) == (0, 0, 0)


def test_every_hook_may_be_overridden() -> None:
    seen: list[str] = []

    class Watching(gear.Server):
        def handlePacket(self, packet: Any) -> None:  # noqa: N802
            if packet.ptype == 101:
                seen.append(f"foreign {bytes(packet.data)!r}")
                packet.connection.sendPacket(gear.Packet(constants.RES, 102, packet.data))
                return
            super().handlePacket(packet)

        def handleStatus(self, request: Any) -> None:  # noqa: N802
            seen.append("status")
            request.connection.sendRaw(b"mine\t1\t2\t3\n.\n")

        def handleCanDo(self, packet: Any) -> None:  # noqa: N802
            seen.append("can do")
            super().handleCanDo(packet)

        def handleAdminRequest(self, request: Any) -> None:  # noqa: N802
            seen.append(request.command.decode())
            super().handleAdminRequest(request)

    with serving(Watching) as server:
        one = Raw(server.port)
        try:
            assert one.ask(101, b"any", b"thing") == (102, [b"any", b"thing"])
            assert one.text(b"status\r\n") == b"mine\t1\t2\t3\n.\n"
            one.send(constants.CAN_DO, b"f")
            assert one.ask(constants.GRAB_JOB_UNIQ) == (constants.NO_JOB, [b""])
        finally:
            one.close()
        assert seen == ["foreign b'any\\x00thing'", "status", "status", "can do"]


def test_a_replaced_set_of_functions_is_used(server: Any, raw: Callable[[], Raw]) -> None:
    worker, submitter = raw(), raw()
    assert worker.ask(constants.GRAB_JOB_UNIQ)[0] == constants.NO_JOB
    (connection,) = (one for one in server.active_connections if one.port == worker.sock.getsockname()[1])
    connection.functions = {b"f"}
    (handle,) = submitter.ask(constants.SUBMIT_JOB, b"f", b"", b"")[1]
    assert worker.ask(constants.GRAB_JOB_UNIQ) == (constants.JOB_ASSIGN_UNIQ, [handle, b"f", b"", b""])


# The rules, where they are not gearmand's.


def test_no_coalescing(raw: Callable[[], Raw]) -> None:
    one = raw()
    first, second = (one.ask(constants.SUBMIT_JOB, b"f", b"same", b"")[1] for _ in range(2))
    assert first != second


def test_a_lost_worker_fails_its_job(server: Any) -> None:
    with client(server.port) as submitter:
        job = gear.Job("f", b"")
        submitter.submitJob(job)
        with connected(lambda: gear.Worker("w"), server.port) as worker:
            worker.registerFunction("f")
            worker.getJob()
        assert done(job).failure
        assert server.jobs == {}


def test_a_lost_client_takes_its_jobs_along(server: Any) -> None:
    with client(server.port) as submitter:
        submitter.submitJob(gear.Job("f", b""))
        kept = gear.Job("f", b"")
        submitter.submitJob(kept, background=True)
    wait_until(lambda: len(server.jobs) == 1, "the foreground job is gone")
    assert [job.handle for job in server.getQueue()] == [kept.handle]


def test_exceptions_need_no_option(server: Any) -> None:
    with working(server.port, run=lambda job: job.sendWorkException(b"why")), client(server.port) as submitter:
        job = gear.Job("reverse", b"")
        submitter.submitJob(job)
        assert done(job).exception == b"why"


def test_cancelling_tells_no_client(server: Any) -> None:
    with client(server.port) as submitter:
        job = gear.Job("f", b"")
        submitter.submitJob(job)
        for expected in (b"OK\n", b"ERR UNKNOWN_JOB\n"):
            request = gear.CancelJobAdminRequest(job.handle)
            job.connection.sendAdminRequest(request, timeout=PATIENCE)
            assert request.response == expected
        assert not job.complete
        assert server.jobs == {}


# What gear.Server never answered.


def test_echo_and_options(raw: Callable[[], Raw]) -> None:
    one = raw()
    assert one.ask(constants.ECHO_REQ, b"a\0b") == (constants.ECHO_RES, [b"a", b"b"])
    assert one.ask(constants.OPTION_REQ, b"exceptions") == (constants.OPTION_RES, [b"exceptions"])
    assert one.ask(constants.OPTION_REQ, b"other")[1][0] == b"UNKNOWN_OPTION"


def test_grabs_of_all_kinds(raw: Callable[[], Raw]) -> None:
    worker, submitter = raw(), raw()
    worker.send(constants.CAN_DO, b"f")
    for grab, reply, extra in (
        (constants.GRAB_JOB, constants.JOB_ASSIGN, []),
        (Command.GRAB_JOB_ALL, constants.JOB_ASSIGN_UNIQ, [b"u"]),
    ):
        (handle,) = submitter.ask(constants.SUBMIT_JOB_BG, b"f", b"u", b"data")[1]
        assert worker.ask(grab) == (reply, [handle, b"f", *extra, b"data"])
        assert worker.ask(grab) == (constants.NO_JOB, [b""])


def test_status_by_unique(raw: Callable[[], Raw]) -> None:
    one = raw()
    one.ask(constants.SUBMIT_JOB, b"f", b"u", b"")
    assert one.ask(Command.GET_STATUS_UNIQUE, b"u")[1] == [b"u", b"1", b"0", b"0", b"0", b"1"]
    assert one.ask(Command.GET_STATUS_UNIQUE, b"x")[1] == [b"x", b"0", b"0", b"0", b"0", b"0"]


def test_a_job_for_later(server: Any, raw: Callable[[], Raw]) -> None:
    one = raw()
    one.send(constants.CAN_DO, b"f")
    (now,) = one.ask(constants.SUBMIT_JOB_EPOCH, b"f", b"", b"0", b"now")[1]
    assert one.ask(constants.GRAB_JOB)[1] == [now, b"f", b"now"]
    (later,) = one.ask(constants.SUBMIT_JOB_EPOCH, b"f", b"", b"99999999999", b"later")[1]
    (soon,) = one.ask(constants.SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (time.time() + 1), b"soon")[1]
    (scheduled,) = one.ask(constants.SUBMIT_JOB_SCHED, b"f", b"", b"", b"", b"29", b"2", b"0", b"data")[1]
    one.send(constants.PRE_SLEEP)
    assert one.read()[0] == constants.NOOP
    assert one.ask(constants.GRAB_JOB)[1] == [soon, b"f", b"soon"]
    assert one.ask(constants.GRAB_JOB)[0] == constants.NO_JOB
    assert server.waiting_jobs == 2
    for handle in (later, scheduled):
        assert one.text(b"cancel job %b\n" % handle) == b"OK\n"
    assert server.waiting_jobs == 0
    assert one.ask(constants.SUBMIT_JOB_SCHED, b"f", b"", b"", b"", b"30", b"2", b"", b"")[0] == constants.ERROR


def test_a_function_with_a_time_out(server: Any, raw: Callable[[], Raw]) -> None:
    worker, submitter = raw(), raw()
    worker.send(constants.CAN_DO_TIMEOUT, b"f", b"10")
    (handle,) = submitter.ask(constants.SUBMIT_JOB, b"f", b"", b"")[1]
    assert worker.ask(constants.GRAB_JOB)[1] == [handle, b"f", b""]
    assert submitter.read() == (constants.WORK_FAIL, [handle])
    worker.send(constants.WORK_COMPLETE, handle, b"too late")
    assert worker.ask(constants.GRAB_JOB)[0] == constants.NO_JOB
    assert server.jobs == {}


def test_text_commands(server: Any, raw: Callable[[], Raw]) -> None:
    one = raw()
    one.send(constants.SET_CLIENT_ID, b"me")
    one.send(constants.CAN_DO, b"f")
    (handle,) = one.ask(constants.SUBMIT_JOB_LOW_BG, b"f", b"u", b"")[1]
    assert one.text(b"version\r\n").startswith(b"OK ")
    assert one.text(b"getpid\n") == b"OK %d\n" % os.getpid()
    assert one.text(b"verbose\n").startswith(b"OK ")
    assert one.text(b"status\n") == b"f\t1\t0\t1\n.\n"
    assert one.text(b"prioritystatus\n") == b"f\t0\t0\t1\t1\n.\n"
    assert one.text(b"show jobs\n") == handle + b"\t0\t0\t1\n.\n"
    assert one.text(b"show unique jobs\n") == b"u\n.\n"
    assert b" me : f\n" in one.text(b"workers\n")
    assert one.text(b"anything\n").startswith(b"ERR UNKNOWN_COMMAND")
    assert one.text(b"cancel job\n") == b"ERR UNKNOWN_JOB\n"
    for command in (b"acl list", b"acl grant invoke s p", b"acl revoke all s", b"acl self-revoke all"):
        assert one.text(command + b"\n") == b"ERR ACL_DISABLED\n"
    assert len(server.active_connections) == 1


def test_reduce_jobs_are_refused(raw: Callable[[], Raw]) -> None:
    one = raw()
    assert one.ask(Command.SUBMIT_REDUCE_JOB, b"f", b"", b"r", b"", b"")[1][0] == b"INVALID_COMMAND"


def test_abilities_may_be_taken_back(server: Any, raw: Callable[[], Raw]) -> None:
    one = raw()
    one.send(constants.CAN_DO, b"f")
    one.send(constants.CANT_DO, b"f")
    one.send(constants.CANT_DO, b"f")
    one.send(constants.CAN_DO, b"g")
    one.send(constants.RESET_ABILITIES)
    one.ask(constants.SUBMIT_JOB_BG, b"g", b"", b"")
    assert one.ask(constants.GRAB_JOB)[0] == constants.NO_JOB
    assert server.functions == {b"f", b"g"}


def test_statsd(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stats:
        def __init__(self, *arguments: Any) -> None:
            self.arguments = arguments
            self.sent: list[tuple[Any, ...]] = []

        def __getattr__(self, name: str) -> Any:
            return lambda *values: self.sent.append((name, *values))

    module = type("Module", (), {"StatsClient": Stats})
    monkeypatch.setattr(_server, "statsd", module)
    with serving(gear.Server, 0, statsd_host="h", statsd_prefix="p") as server, client(server.port) as submitter:
        submitter.submitJob(gear.Job("f", b""), background=True)
        wait_until(lambda: ("incr", "packet.SUBMIT_JOB_BG") in server.statsd.sent, "the packet is counted")
        assert server.statsd.arguments == ("h", 8125, "p")
        assert ("gauge", "queue.total", 1) in server.statsd.sent
        assert ("gauge", "queue.waiting", 1) in server.statsd.sent
        assert any(kind == "timing" for kind, *_ in server.statsd.sent)


# TLS and the ACL.


class Certificates:
    def __init__(self, trustme: Any, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.authority)
        self.folder = folder
        self.make = authority.issue_cert

    def files(self, name: str) -> tuple[str, str, str]:
        """(key, certificate, authority)."""
        made = self.make(f"{name}.example", common_name=name)
        key, certificate = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        made.private_key_pem.write_to_path(str(key))
        certificate.write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
        return str(key), str(certificate), self.authority


@pytest.fixture
def certificates(require: Any, tmp_path: Path) -> Certificates:
    return Certificates(require.module("trustme", "trustme"), tmp_path)


@contextlib.contextmanager
def secured(make: Callable[[], Any], port: int, files: tuple[str, str, str]) -> Iterator[Any]:
    peer = make()
    try:
        peer.addServer(HOST, port, *files)
        peer.waitForServer(PATIENCE)
        yield peer
    finally:
        peer.shutdown()


def test_tls_with_certificates_on_both_sides(certificates: Certificates) -> None:
    with serving(gear.Server, 0, *certificates.files("server")) as server:
        files = certificates.files("peer")
        with (
            secured(lambda: gear.Worker("w"), server.port, files) as worker,
            secured(lambda: gear.Client("c"), server.port, files) as submitter,
        ):
            worker.registerFunction("f")
            job = gear.Job("f", bytes(300_000))
            submitter.submitJob(job)
            assigned = worker.getJob()
            assigned.sendWorkComplete(assigned.arguments)
            assert b"".join(done(job).data) == bytes(300_000)
            assert {connection.ssl_subject for connection in server.active_connections} == {"peer"}


def test_tls_refuses_peers_without_certificate_and_waits_for_nobody(certificates: Certificates) -> None:
    with serving(gear.Server, 0, *certificates.files("server")) as server:
        silent = socket.create_connection((HOST, server.port))
        plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        plain.check_hostname = False
        plain.verify_mode = ssl.CERT_NONE
        with socket.create_connection((HOST, server.port)) as sock, pytest.raises(OSError):
            secure = plain.wrap_socket(sock)
            try:
                secure.sendall(b"version\n")
                if not secure.recv(1):
                    raise ConnectionResetError
            finally:
                secure.close()
        with secured(lambda: gear.Client("c"), server.port, certificates.files("peer")) as submitter:
            assert submitter.getConnection().echo(b"x", timeout=PATIENCE) == b"x"
        assert all(connection.ssl_subject == "peer" for connection in server.active_connections)
        silent.close()


def test_acl(certificates: Certificates) -> None:
    """On Python 3 gear dropped the connection, or answered ERR UNKNOWN_ACL_VERB."""
    acl = gear.ACL()
    acl.add(gear.ACLEntry("worker", register="build:.*"))
    acl.add(gear.ACLEntry("boss", invoke="build:.*", grant=True))
    with (
        serving(gear.Server, 0, *certificates.files("server"), acl=acl) as server,
        secured(lambda: gear.Worker("w"), server.port, certificates.files("worker")) as worker,
        secured(lambda: gear.Client("b"), server.port, certificates.files("boss")) as boss,
        secured(lambda: gear.Client("g"), server.port, certificates.files("guest")) as guest,
    ):
        worker.setFunctions([gear.FunctionRecord("build:x"), gear.FunctionRecord("secret")])
        job = gear.Job("build:x", b"")
        boss.submitJob(job)
        worker.getJob().sendWorkComplete()
        done(job)
        assert server.functions == {b"build:x"}
        with pytest.raises(gear.GearmanError):
            guest.submitJob(gear.Job("build:x", b""))

        def command(peer: Any, text: str) -> bytes:
            connection = peer.getConnection()
            request = gear.VersionAdminRequest() if text != "acl list" else gear.StatusAdminRequest()
            request.command = text.encode()
            connection.sendAdminRequest(request, timeout=PATIENCE)
            return bytes(request.response)

        assert command(guest, "acl grant invoke guest build:x") == b"ERR PERMISSION_DENIED\n"
        assert command(boss, "acl grant invoke guest build:x") == b"OK\n"
        assert command(boss, "acl grant invoke guest (").startswith(b"ERR UNABLE ")
        assert command(boss, "acl grant dance guest x") == b"ERR UNKNOWN_ACL_VERB\n"
        assert command(boss, "acl grant invoke guest") == b"ERR UNKNOWN_ACL_VERB\n"
        assert command(boss, "acl grant") == b"ERR UNKNOWN_ACL_VERB\n"
        assert b"guest\tregister=None\tinvoke=build:x\tgrant=False\n" in command(boss, "acl list")
        held = gear.Job("build:x", b"")
        guest.submitJob(held)
        assert command(worker, f"cancel job {held.handle.decode()}") == b"ERR PERMISSION_DENIED\n"
        assert command(guest, f"cancel job {held.handle.decode()}") == b"OK\n"
        assert command(guest, "acl revoke invoke boss") == b"ERR PERMISSION_DENIED\n"
        assert command(guest, "acl self-revoke invoke") == b"OK\n"
        assert command(boss, "acl revoke all worker") == b"OK\n"
        assert [entry.subject for entry in acl.getEntries()] == ["boss"]


# Elsewhere than on Linux.


def test_without_epoll_and_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("epoll", "poll"):
        monkeypatch.delattr(select, name, raising=False)
    monkeypatch.setattr(selectors, "DefaultSelector", selectors.SelectSelector)
    with serving() as server, working(server.port), client(server.port) as submitter:
        job = gear.Job("reverse", bytes(4 << 20))
        submitter.submitJob(job)
        assert len(b"".join(done(job).data)) == 4 << 20


# Bad input.


@pytest.mark.parametrize(
    "data",
    [
        b"\0GET\0\0\0\x01\0\0\0\0",
        b"\0REQ\0\0\0\x01\xff\xff\xff\xff",
        packet(constants.SUBMIT_JOB, b"no NULs", b"\0REQ"),
        packet(constants.WORK_STATUS, b"", b"\0REQ") + b"\0\0\0\0" * 3,
        b"x" * 9000,
    ],
)
def test_nonsense_closes_that_connection_only(server: Any, raw: Callable[[], Raw], data: bytes) -> None:
    bad, good = raw(), raw()
    with contextlib.suppress(OSError):
        bad.sock.sendall(data)
    with contextlib.suppress(ConnectionResetError):
        assert bad.sock.recv(1) == b""
    assert good.ask(constants.ECHO_REQ, b"x") == (constants.ECHO_RES, [b"x"])
    wait_until(lambda: len(server.active_connections) == 1, "the bad connection is gone")


def test_a_packet_cut_anywhere(raw: Callable[[], Raw]) -> None:
    one = raw()
    data = packet(constants.ECHO_REQ, b"abc", b"\0REQ") + b"verbose\n" + packet(constants.ECHO_REQ, b"", b"\0REQ")
    for index in range(len(data)):
        one.sock.sendall(data[index : index + 1])
    assert one.read() == (constants.ECHO_RES, [b"abc"])
    assert one.file.readline() == b"OK INFO\n"
    assert one.read() == (constants.ECHO_RES, [b""])


def test_a_client_that_never_reads_holds_nobody_up(server: Any, raw: Callable[[], Raw]) -> None:
    deaf, worker, other = raw(), raw(), raw()
    worker.send(constants.CAN_DO, b"f")
    (handle,) = deaf.ask(constants.SUBMIT_JOB, b"f", b"", b"")[1]
    assert worker.ask(constants.GRAB_JOB)[1][0] == handle
    block = bytes(1 << 20)
    for _ in range(32):
        worker.send(constants.WORK_DATA, handle, block)
    assert other.ask(constants.ECHO_REQ, b"x") == (constants.ECHO_RES, [b"x"])
    worker.send(constants.WORK_COMPLETE, handle, b"end")
    for _ in range(32):
        assert deaf.read()[0] == constants.WORK_DATA
    assert deaf.read() == (constants.WORK_COMPLETE, [handle, b"end"])


def test_a_dead_client_does_not_cost_the_worker_its_connection(server: Any, raw: Callable[[], Raw]) -> None:
    """gear dropped the worker whose result it could not deliver."""
    worker, dead = raw(), raw()
    worker.send(constants.CAN_DO, b"f")
    (handle,) = dead.ask(constants.SUBMIT_JOB, b"f", b"", b"")[1]
    assert worker.ask(constants.GRAB_JOB)[1][0] == handle
    client_side = next(one for one in server.active_connections if one.related_jobs and not one.functions)
    client_side.conn.close()
    worker.send(constants.WORK_COMPLETE, handle, b"result")
    assert worker.ask(constants.ECHO_REQ, b"x") == (constants.ECHO_RES, [b"x"])


def test_an_exception_in_a_hook_closes_that_connection_only() -> None:
    class Broken(gear.Server):
        def handleEchoReq(self, packet: Any) -> None:  # noqa: N802
            raise ValueError("mine")

    with serving(Broken) as server:
        bad, good = Raw(server.port), Raw(server.port)
        try:
            bad.send(constants.ECHO_REQ, b"x")
            assert bad.sock.recv(1) == b""
            assert good.ask(constants.GRAB_JOB)[0] == constants.NO_JOB
        finally:
            bad.close()
            good.close()
