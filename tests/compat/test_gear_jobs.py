# SPDX-License-Identifier: BSD-3-Clause
"""gear's objects without a network: jobs, packets, text requests, the ACL."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from gearfast.compat import gear
from gearfast.compat.gear import constants
from gearfast.compat.gear._calendar import next_match


def test_constants_are_those_of_gear() -> None:
    assert constants.types[31] == "JOB_ASSIGN_UNIQ"
    assert len(constants.types) == 35
    assert all(getattr(constants, name) == number for number, name in constants.types.items())
    assert (constants.REQ, constants.RES) == (b"\0REQ", b"\0RES")
    assert (gear.PRECEDENCE_NORMAL, gear.PRECEDENCE_LOW, gear.PRECEDENCE_HIGH) == (0, 1, 2)


def test_job_has_a_name_in_str_and_the_rest_in_bytes() -> None:
    for name in ("größe", "größe".encode()):
        job = gear.Job(name, b"\xff\0", b"u")
        assert (job.name, job.arguments, job.unique) == ("größe", b"\xff\0", b"u")
        assert (job.binary_name, job.binary_arguments, job.binary_unique) == ("größe".encode(), b"\xff\0", b"u")
    assert gear.Job("f", b"").unique is None
    assert (job.handle, job.connection, job.data, job.exception) == (None, None, [], None)
    assert (job.known, job.running, job.numerator, job.denominator, job.fraction_complete) == (None,) * 5
    assert (job.complete, job.failure, job.warning) == (False, False, False)


def test_arguments_in_str_are_refused() -> None:
    with pytest.raises(TypeError, match="arguments must be of type bytes or bytearray"):
        gear.Job("f", "text")
    assert gear.Job("f", bytearray(b"x")).arguments == b"x"


def test_data_stays_the_list_of_its_class() -> None:
    job = gear.Job("f", b"")
    job.data = [b"1"]
    assert list(job.binary_data) == [b"1"]
    with pytest.raises(ValueError):
        job.data = (b"1",)
    text = gear.TextJob("f", "")
    with pytest.raises(ValueError):
        text.data = ["1"]


def test_text_job_is_str_all_over() -> None:
    job = gear.TextJob("f", "größe", "ü")
    assert (job.arguments, job.unique, job.binary_arguments) == ("größe", "ü", "größe".encode())
    job.exception = b"no"
    job.data.append(b"1")
    job.data.extend([b"2", "3"])
    job.data.insert(0, b"0")
    assert (job.exception, job.data) == ("no", ["0", "1", "2", "3"])
    assert list(job.binary_data) == [b"0", b"1", b"2", b"3"]
    assert gear.TextJob("f", "").exception is None
    job.arguments = "other"
    job.unique = "other"
    assert (job.binary_arguments, job.binary_unique) == (b"other", b"other")


def test_text_keeps_bytes_that_are_no_text() -> None:
    job = gear.TextJob("f", b"\xff")
    job.data.append(b"\xfe")
    assert gear.convert_to_bytes(job.arguments) == b"\xff"
    assert list(job.binary_data) == [b"\xfe"]


def test_binary_jobs_keep_the_name() -> None:
    assert gear.BinaryJob("f", b"").name == b"f"
    assert gear.BinaryWorkerJob(b"h", b"\xff", b"").name == b"\xff"
    server_job = gear.ServerJob(b"h", b"f", b"a", None, b"u")
    assert (server_job.name, server_job.arguments, server_job.unique) == (b"f", b"a", b"u")
    assert not hasattr(server_job, "connection")
    server_job.waiting = True
    assert server_job.waiting


def test_arguments_of_a_worker_job_may_be_replaced() -> None:
    job = gear.WorkerJob(b"h", b"f", b"a", b"u")
    job.arguments = {"any": "thing"}
    assert job.arguments == {"any": "thing"}
    assert (job.handle, job.name) == (b"h", "f")


class Sink:
    """A connection that keeps the packets."""

    def __init__(self) -> None:
        self.packets: list[Any] = []

    def sendPacket(self, packet: Any) -> None:  # noqa: N802
        self.packets.append(packet)


def test_what_a_worker_job_sends() -> None:
    job = gear.WorkerJob(b"h", "f", b"")
    job.connection = Sink()
    job.sendWorkData(b"d")
    job.sendWorkWarning()
    job.sendWorkStatus(1, 0.5)
    job.sendWorkStatus(b"3", "4")
    job.sendWorkComplete(bytearray(b"r"))
    job.sendWorkException(b"e")
    job.sendWorkFail()
    assert [(packet.ptype, packet.data) for packet in job.connection.packets] == [
        (constants.WORK_DATA, b"h\0d"),
        (constants.WORK_WARNING, b"h\0"),
        (constants.WORK_STATUS, b"h\x001\x000.5"),
        (constants.WORK_STATUS, b"h\x003\x004"),
        (constants.WORK_COMPLETE, b"h\0r"),
        (constants.WORK_EXCEPTION, b"h\0e"),
        (constants.WORK_FAIL, b"h"),
    ]
    with pytest.raises(TypeError):
        job.sendWorkComplete("text")


def test_what_a_text_worker_job_sends() -> None:
    job = gear.TextWorkerJob(b"h", b"f", b"a", b"u")
    job.connection = Sink()
    for send in (job.sendWorkData, job.sendWorkWarning, job.sendWorkComplete, job.sendWorkException):
        send("ü")
        send(b"\xff")
    assert {packet.data for packet in job.connection.packets} == {b"h\0\xc3\xbc", b"h\0\xff"}
    assert (job.arguments, job.unique) == ("a", "u")


def test_packet() -> None:
    packet = gear.Packet(constants.REQ, constants.SUBMIT_JOB, b"f\0u\0a\0b")
    assert packet.toBinary() == b"\0REQ\0\0\0\x07\0\0\0\x07f\0u\0a\0b"
    assert isinstance(packet.toBinary(), bytearray)
    assert [packet.getArgument(index) for index in range(4)] == [b"f", b"u", b"a", b"b"]
    assert packet.getArgument(-1) == b"b"
    assert packet.getArgument(2, True) == b"a\0b"
    assert packet.getArgument(9, True) == b""
    with pytest.raises(IndexError):
        packet.getArgument(9)
    assert "SUBMIT_JOB function: b'f' unique: b'u'" in repr(packet)
    assert "UNKNOWN" in repr(gear.Packet(constants.REQ, 101, b"x"))


def test_packets_are_equal_by_content() -> None:
    one, same = (gear.Packet(constants.RES, 1, b"x", connection) for connection in (object(), None))
    assert one == same
    assert one != gear.Packet(constants.REQ, 1, b"x")
    assert one != b"x"
    with pytest.raises(TypeError):
        hash(one)


@pytest.mark.parametrize(
    ("code", "data", "error"),
    [
        ("\0REQ", b"", TypeError),
        (b"\0REQ", "", TypeError),
        (b"REQ\0", b"", gear.InvalidDataError),
        (b"", b"", gear.InvalidDataError),
    ],
)
def test_bad_packets_are_refused(code: Any, data: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        gear.Packet(code, 1, data)


def test_job_of_a_packet() -> None:
    connection = gear.Connection("localhost", 1)
    job = connection.related_jobs[b"h"] = gear.Job("f", b"")
    assert gear.Packet(constants.RES, constants.WORK_FAIL, b"h\0", connection).getJob() is job
    with pytest.raises(gear.UnknownJobError):
        gear.Packet(constants.RES, constants.WORK_FAIL, b"other", connection).getJob()


@pytest.mark.parametrize(
    ("data", "response", "rest"),
    [
        (b".\n", b".\n", b""),
        (b".\r\nmore", b".\r\n", b"more"),
        (b"f\t1\n.\n\0RES", b"f\t1\n.\n", b"\0RES"),
        (b"f\t1\r\n.\r\ng\n.\n", b"f\t1\r\n.\r\n", b"g\n.\n"),
        (b"ERR UNKNOWN_COMMAND x\r\n\0", b"ERR UNKNOWN_COMMAND x\r\n", b"\0"),
    ],
)
def test_end_of_a_list(data: bytes, response: bytes, rest: bytes) -> None:
    request = gear.StatusAdminRequest()
    assert request.isComplete(data) == (True, rest)
    assert request.response == response


def test_a_list_that_comes_byte_by_byte() -> None:
    whole = b"ERR x\t0\t0\t1\na.\t0\t0\t0\n.\n"
    request = gear.StatusAdminRequest()
    for length in range(1, len(whole)):
        assert request.isComplete(whole[:length]) == (False, None)
    assert request.isComplete(whole) == (True, b"")


def test_commands_of_one_line() -> None:
    request = gear.CancelJobAdminRequest("H:x:1")
    assert request.getCommand() == b"cancel job H:x:1\n"
    assert request.isComplete(b"OK") == (False, None)
    assert request.isComplete(b"OK\r\n.\n") == (True, b".\n")
    assert request.response == b"OK\r\n"
    assert gear.VersionAdminRequest().getCommand() == b"version\n"
    assert not request.waitForResponse(0)
    request.setComplete()
    assert request.waitForResponse(0)


def test_admin_request_itself_is_abstract() -> None:
    with pytest.raises(NotImplementedError):
        gear.AdminRequest()


def test_task() -> None:
    task = gear.Task()
    assert not task.wait(0)
    task.setComplete()
    task.setComplete()
    assert task.wait()
    assert task.wait(0)
    assert not task.failed
    assert gear.SubmitJobTask("job").job == "job"


@pytest.mark.parametrize("text", [str, str.encode])
def test_acl_matches_str_and_bytes(text: Any) -> None:
    acl = gear.ACL()
    acl.add(gear.ACLEntry("ci", register=text("build:.*"), invoke=text("test"), grant=False))
    for name in ("build:x", b"build:x"):
        assert acl.canRegister("ci", name)
        assert not acl.canInvoke("ci", name)
    assert acl.canInvoke("ci", b"testing")  # a pattern need not match the end
    assert not acl.canRegister("ci", b"a build:x")
    assert not acl.canGrant("ci")
    assert not acl.canRegister("nobody", b"build:x")
    assert not acl.canRegister(None, b"build:x")


def test_acl_grants_and_revokes() -> None:
    acl = gear.ACL()
    acl.grantRegister("b", "f")
    acl.grantInvoke("a", "f")
    acl.grantGrant("a")
    assert [entry.subject for entry in acl.getEntries()] == ["a", "b"]
    assert "register=None invoke=f grant=True" in repr(acl.getEntries()[0])
    acl.revokeInvoke("a")
    assert acl.canGrant("a")
    acl.revokeGrant("a")
    acl.revokeRegister("b")
    acl.revokeRegister("b")
    assert acl.getEntries() == []
    acl.add(gear.ACLEntry("a"))
    with pytest.raises(gear.ACLError):
        acl.add(gear.ACLEntry("a"))
    acl.remove("a")
    with pytest.raises(gear.ACLError):
        acl.remove("a")
    with pytest.raises(gear.ACLError):
        acl.grantInvoke("a", "(")
    assert acl.getEntries() == []


@pytest.mark.parametrize(
    ("fields", "after", "due"),
    [
        ("* * * * *", 0, 60),
        ("30 * * * *", 0, 1800),
        ("0 0 * * *", 0, 86400),
        ("0 * * * *", 1, 3600),
        ("* * * * 0", 0, 4 * 86400),  # 1 January 1970 was a Thursday
        ("0 0 29 2 *", 0, 68169600),
    ],
)
def test_next_match(fields: str, after: float, due: float) -> None:
    assert next_match(fields.split(), after) == due


@pytest.mark.parametrize("fields", ["60 * * * *", "x * * * *", "* * 30 2 *", "* * * * 7"])
def test_no_match(fields: str) -> None:
    with pytest.raises(ValueError):
        next_match(fields.split(), 0)


class FakeSocket:
    """What tests of gear put in place of socket.socket: no more than connect, setblocking and recv."""

    def __init__(self, *arguments: Any) -> None:
        self.pieces: list[bytes] = []
        self.blocking = True

    def connect(self, address: Any) -> None:
        pass

    def setblocking(self, blocking: bool) -> None:
        self.blocking = bool(blocking)

    def recv(self, size: int) -> bytes:
        if self.pieces:
            return self.pieces.pop(0)
        if self.blocking:
            raise EOFError
        error = OSError("nothing there")
        error.errno = errno.EAGAIN
        raise error


def test_a_fake_socket_in_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", FakeSocket)
    connection = gear.Connection("127.0.0.1", 4730)
    connection.connect()
    large = gear.Packet(constants.REQ, constants.WORK_COMPLETE, b"h\0" + b"x" * 10000)
    whole = bytes(large.toBinary())
    request = gear.StatusAdminRequest()
    connection.admin_requests.append(request)
    connection.conn.pieces = [whole[:1448], whole[1448:] + b"f\t0\t0\t1\n.\n" + whole]
    assert connection.readPacket() == large
    assert connection.readPacket() is request
    assert request.response == b"f\t0\t0\t1\n.\n"
    assert connection.hasPendingData()
    assert connection.readPacket() == large
    with pytest.raises(EOFError):
        connection.readPacket()


def test_a_fake_socket_in_a_server_connection() -> None:
    connection = gear.ServerConnection("127.0.0.1", FakeSocket(), False, "test")
    packet = gear.Packet(constants.REQ, constants.WORK_COMPLETE, b"h\0" + b"x" * 2600)
    whole = bytes(packet.toBinary())
    connection.conn.pieces = [whole[:1448], whole[1448:] + b"status\n"]
    assert connection.readPacket() == packet
    assert connection.readPacket().command == b"status"
    for _ in range(2):
        with pytest.raises(gear.RetryIOError):
            connection.readPacket()


@pytest.mark.parametrize(("running", "expected"), [(b"1", True), (b"0", False)])
def test_a_status_for_a_job_of_a_test(running: bytes, expected: bool) -> None:
    submitter = gear.Client()
    try:
        packet = gear.Packet(constants.RES, constants.STATUS_RES, b"H:1\x001\0" + running + b"\0\0")
        packet.getJob = lambda: gear.Job(b"", b"")  # type: ignore[method-assign]
        job = submitter.handleStatusRes(packet)
        assert (job.known, job.running, job.fraction_complete) == (True, expected, None)
    finally:
        submitter.shutdown()
