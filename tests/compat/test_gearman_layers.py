# SPDX-License-Identifier: BSD-3-Clause
"""The layers below: packets, connections, handlers, managers, as programs and their tests use them without a server."""

from __future__ import annotations

import array
import collections
import socket
import struct
import time
from typing import Any
from unittest import mock

import pytest


class Manager:
    """What a handler calls, recording it."""

    def __init__(self, encoder: Any) -> None:
        self.data_encoder = encoder
        self.sent: list[tuple[int, dict[str, Any]]] = []
        self.commands: collections.deque[Any] = collections.deque()
        self.errors: list[Any] = []
        self.lock: Any = None
        self.jobs: list[Any] = []

    def send_command(self, handler: Any, command: int, arguments: dict[str, Any]) -> None:
        self.sent.append((command, arguments))

    def read_command(self, handler: Any) -> Any:
        return self.commands.popleft() if self.commands else None

    def on_gearman_error(self, code: Any, text: Any) -> bool:
        self.errors.append((code, text))
        return False

    def check_job_lock(self, handler: Any) -> bool:
        return self.lock is handler

    def set_job_lock(self, handler: Any, lock: bool) -> bool:
        if lock is (self.lock is not None) and not (not lock and self.lock is handler):
            return False
        self.lock = handler if lock else None
        return True

    def create_job(self, handler: Any, *fields: Any) -> Any:
        return fields

    def on_job_execute(self, job: Any) -> None:
        self.jobs.append(job)


@pytest.fixture
def manager(gearman: Any) -> Manager:
    return Manager(gearman.connection_manager.NoopEncoder)


@pytest.fixture
def client_handler(gearman: Any, manager: Manager) -> Any:
    return gearman.client_handler.GearmanClientCommandHandler(manager)


@pytest.fixture
def worker_handler(gearman: Any, manager: Manager) -> Any:
    handler = gearman.worker_handler.GearmanWorkerCommandHandler(manager)
    handler.initial_state(abilities=["f", b"g"], client_id="me")
    return handler


def request_for(gearman: Any, **options: Any) -> Any:
    job = gearman.job.GearmanJob(mock.Mock(), None, "f", "u", "d")
    return gearman.job.GearmanJobRequest(job, **options)


# --- packets ---------------------------------------------------------------------------------------------------------


def test_pack_and_parse(any_gearman: Any) -> None:
    protocol = any_gearman.protocol
    arguments = {"task": "f", "unique": b"u", "data": "ü\0x"}
    packet = protocol.pack_binary_command(protocol.GEARMAN_COMMAND_SUBMIT_JOB, arguments)
    assert packet == b"\0REQ" + struct.pack(">II", 7, 8) + b"f\0u\0\xc3\xbc\0x"
    kind = str if isinstance(protocol.NULL_CHAR, str) else bytes
    command, found, size = protocol.parse_binary_command(packet + b"rest", is_response=False)
    assert (command, size) == (7, len(packet))
    assert found == {"task": kind_of("f", kind), "unique": kind_of("u", kind), "data": kind_of("ü\0x", kind)}
    for cut in range(len(packet)):
        assert protocol.parse_binary_command(packet[:cut], is_response=False) == (None, None, 0)
    assert protocol.parse_binary_command(array.array("b", packet), is_response=False)[0] == 7


def kind_of(text: str, kind: type) -> Any:
    return text if kind is str else text.encode()


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        (5, {}, "Received unknown binary command"),
        (9999, {"raw_text": "x"}, "Received unknown binary command"),
        (7, {"task": "f"}, "did not match"),
        (7, {"task": "f", "unique": "u", "date": "d"}, "did not match"),
        (7, {"task": "f\0", "unique": "u", "data": "d"}, "NULL byte in non-final argument"),
        (7, {"task": "f", "unique": 7, "data": "d"}, "Received non-binary arguments"),
        (7, {"task": "f" * 8192, "unique": "u", "data": "d"}, "8191"),
    ],
)
def test_what_cannot_be_packed(any_gearman: Any, command: int, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(any_gearman.errors.ProtocolError, match=text):
        any_gearman.protocol.pack_binary_command(command, arguments)


@pytest.mark.parametrize(
    "data",
    [
        b"\0REQ" + struct.pack(">II", 6, 0),
        b"\0RES" + struct.pack(">II", 5, 0),
        b"\0RES" + struct.pack(">II", 9999, 0),
        b"\0RES" + struct.pack(">II", 6, 1) + b"x",
        b"\0RES" + struct.pack(">II", 13, 1) + b"h",
    ],
)
def test_what_is_no_packet(any_gearman: Any, data: bytes) -> None:
    with pytest.raises(any_gearman.errors.ProtocolError):
        any_gearman.protocol.parse_binary_command(data)


def test_text_lines(any_gearman: Any) -> None:
    protocol = any_gearman.protocol
    text = protocol.GEARMAN_COMMAND_TEXT_COMMAND
    line = "OK 1" if isinstance(protocol.NULL_CHAR, str) else b"OK 1"
    assert protocol.parse_text_command(b"OK 1\nmore") == (text, {"raw_text": line}, 5)
    assert protocol.parse_text_command(b"OK") == (None, None, 0)
    assert protocol.pack_text_command(text, {"raw_text": "status\n"}) == "status\n"
    for command, arguments in ((1, {}), (text, {})):
        with pytest.raises(any_gearman.errors.ProtocolError):
            protocol.pack_text_command(command, arguments)
    with pytest.raises(any_gearman.errors.ProtocolError):
        protocol.parse_text_command(b"a\0b\n")


# --- connections -----------------------------------------------------------------------------------------------------


def test_a_connection_without_a_server(gearman: Any) -> None:
    with pytest.raises(gearman.errors.ServerUnavailable, match="No host specified"):
        gearman.connection.GearmanConnection()
    connection = gearman.connection.GearmanConnection("127.0.0.1", 1)
    assert (connection.connected, connection.readable(), connection.writable()) == (False, False, False)
    with pytest.raises(gearman.errors.ConnectionError, match="no socket set"):
        connection.fileno()
    with pytest.raises(gearman.errors.ConnectionError, match=":1> "):
        connection.connect()
    assert not connection.connected


def test_commands_wait_unpacked(gearman: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = gearman.connection.GearmanConnection("h")
        connection.set_socket(ours)
        connection.connected = True
        with pytest.raises(gearman.errors.ConnectionError, match="socket already bound"):
            connection.set_socket(theirs)
        connection.connected = True
        connection.send_command(1, {"task": "f"})
        assert list(connection._outgoing_commands) == [(1, {"task": "f"})]
        assert connection.writable() and connection._outgoing_buffer == b""
        connection.send_commands_to_buffer()
        packet = b"\0REQ\0\0\0\x01\0\0\0\x01f"
        assert connection._outgoing_buffer == packet and not connection._outgoing_commands
        assert connection.send_data_to_socket() == 0
        assert theirs.recv(99) == packet
        theirs.sendall(b"\0RES\0\0\0\x06\0\0\0\0\0RES\0\0\0\x08\0\0\0\x02h1\0RE")
        connection.read_data_from_socket()
        assert connection.read_commands_from_buffer() == 2
        assert list(connection._incoming_commands) == [(6, {}), (8, {"job_handle": b"h1"})]
        assert connection.read_command() == (6, {})
        theirs.close()
        with pytest.raises(gearman.errors.ConnectionError, match="<h:4730> remote disconnected"):
            connection.read_data_from_socket()
        connection.close()
        assert connection.gearman_socket is None


def test_more_than_the_socket_takes(gearman: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = gearman.connection.GearmanConnection("h")
        connection.set_socket(ours)
        connection.connected = True
        connection.send_command(16, {"data": b"x" * 5_000_000})
        connection.send_commands_to_buffer()
        got = 0
        while connection.writable():
            connection.send_data_to_socket()
            got += len(theirs.recv(1 << 20))
        while got < 5_000_012:
            got += len(theirs.recv(1 << 20))
        assert got == 5_000_012


def test_a_socket_of_a_test(gearman: Any) -> None:
    class Fake:
        def connect(self, address: Any) -> None:
            self.address = address

        def setblocking(self, flag: bool) -> None:
            self.blocking = bool(flag)

        def recv(self, size: int) -> bytes:
            return b"OK\n"

    with mock.patch("socket.socket", return_value=Fake()):
        connection = gearman.connection.GearmanConnection("h", 7)
        connection.connect()
    assert (connection.gearman_socket.address, connection.gearman_socket.blocking) == (("h", 7), False)
    connection.read_data_from_socket()
    connection.read_commands_from_buffer()
    assert connection.read_command() == (9999, {"raw_text": b"OK"})


def test_a_replaced_creation_of_sockets(gearman: Any) -> None:
    """wishbone-input-gearman patches this method."""
    ours, theirs = socket.socketpair()
    with theirs, ours:

        def create(self: Any) -> None:
            self.set_socket(ours)

        with mock.patch.object(gearman.connection.GearmanConnection, "_create_client_socket", create):
            client = gearman.GearmanClient(["nowhere"])
            client.submit_job("f", "x", background=True, poll_timeout=0.01)
        assert theirs.recv(99).startswith(b"\0REQ")
        client.shutdown()


# --- handlers --------------------------------------------------------------------------------------------------------


def test_a_handler_calls_the_method_named_after_the_command(gearman: Any, manager: Manager) -> None:
    handler = gearman.command_handler.GearmanCommandHandler(manager)
    handler.recv_noop = mock.Mock(side_effect=[True, False])
    manager.commands.extend([(6, {}), (6, {}), (6, {})])
    handler.fetch_commands()
    assert (handler.recv_noop.call_count, len(manager.commands)) == (2, 1)
    with pytest.raises(ValueError, match="Could not handle command"):
        handler.recv_command(4711)
    with pytest.raises(gearman.errors.UnknownCommandError):
        handler.recv_command(gearman.protocol.GEARMAN_COMMAND_NO_JOB)
    handler.recv_command(19, error_code=b"C", error_text=b"T")
    assert manager.errors == [(b"C", b"T")]


def test_states_of_a_request(gearman: Any, client_handler: Any, manager: Manager) -> None:
    request = request_for(gearman)
    invalid = gearman.errors.InvalidClientState
    with pytest.raises(invalid):
        client_handler.recv_job_created(job_handle=b"h")
    client_handler.send_job_request(request)
    assert manager.sent == [(7, {"task": "f", "unique": "u", "data": "d"})]
    assert list(client_handler.requests_awaiting_handles) == [request]
    with pytest.raises(invalid):
        client_handler.send_job_request(request)
    assert client_handler.recv_job_created(job_handle=b"h")
    assert client_handler.handle_to_request_map[b"h"] is request
    assert client_handler.recv_work_exception(job_handle=b"h", data=b"e")
    assert client_handler.recv_work_complete(job_handle=b"h", data=b"r")
    assert (request.state, request.result, request.exception) == ("COMPLETE", b"r", b"e")
    for name, arguments in (
        ("recv_work_data", {"data": b""}),
        ("recv_work_status", {"numerator": b"1", "denominator": b"1"}),
        ("recv_work_fail", {}),
    ):
        with pytest.raises(invalid):
            getattr(client_handler, name)(job_handle=b"h", **arguments)


def test_a_packet_for_nobody_is_logged(client_handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert client_handler.recv_work_complete(job_handle=b"H:x:1", data=b"")
    assert client_handler.recv_status_res(b"H:x:2", b"0", b"0", b"0", b"0")
    assert [record.name for record in caplog.records] == ["gearman.client_handler"] * 2


@pytest.mark.parametrize("one", [b"1", "1"])
def test_known_and_running(gearman: Any, client_handler: Any, one: Any) -> None:
    request = request_for(gearman)
    request.job.handle = b"h"
    client_handler._register_request(request)
    client_handler.recv_status_res(job_handle=b"h", known=one, running=b"0", numerator=b"3", denominator=b"4")
    assert [request.status[key] for key in ("known", "running", "numerator", "denominator")] == [True, False, 3, 4]


@pytest.mark.parametrize(("text", "number"), [(b"0.5", 0), (b"1e3", 1000), (b"abc", 0), (b"", 0), (b"-5", -5)])
def test_odd_numbers_of_a_status(gearman: Any, client_handler: Any, text: bytes, number: int) -> None:
    """Workers in other languages send what they like; the original dies of a ValueError."""
    request = request_for(gearman)
    client_handler.send_job_request(request)
    client_handler.recv_job_created(b"h")
    assert client_handler.recv_work_status(job_handle=b"h", numerator=text, denominator=b"1")
    assert request.status["numerator"] == number


def test_a_lost_connection_makes_requests_unknown(gearman: Any, client_handler: Any) -> None:
    waiting, running, done = (request_for(gearman) for _ in range(3))
    for request, handle in ((done, b"1"), (running, b"2")):
        client_handler.send_job_request(request)
        client_handler.recv_job_created(handle)
    client_handler.recv_work_fail(b"1")
    client_handler.send_job_request(waiting)
    client_handler.on_io_error()
    assert [request.state for request in (waiting, running, done)] == ["UNKNOWN", "UNKNOWN", "FAILED"]


def test_what_a_worker_says_at_first(worker_handler: Any, manager: Manager) -> None:
    assert manager.sent == [(22, {"client_id": "me"}), (3, {}), (1, {"task": "f"}), (1, {"task": b"g"}), (4, {})]
    assert (worker_handler._handler_abilities, worker_handler._client_id) == (["f", b"g"], "me")


def test_from_a_noop_to_a_job(worker_handler: Any, manager: Manager) -> None:
    del manager.sent[:]
    assert worker_handler.recv_noop() and worker_handler.recv_noop()
    assert manager.sent == [(30, {})]
    assert worker_handler.recv_job_assign_uniq(job_handle=b"h", task=b"f", unique=b"u", data=b"d")
    assert manager.jobs == [(b"h", "f", b"u", b"d")]
    assert (manager.lock, manager.sent[-1]) == (None, (4, {}))


def test_a_job_without_its_unique(worker_handler: Any, manager: Manager) -> None:
    manager.lock = worker_handler
    assert worker_handler.recv_job_assign(job_handle=b"h", task=b"g", data=b"d")
    assert manager.jobs == [(b"h", b"g", None, b"d")]


def test_jobs_that_do_not_fit(gearman: Any, worker_handler: Any, manager: Manager) -> None:
    with pytest.raises(gearman.errors.InvalidWorkerState):
        worker_handler.recv_job_assign_uniq(b"h", b"f", b"u", b"d")
    with pytest.raises(gearman.errors.InvalidWorkerState):
        worker_handler.recv_no_job()
    manager.lock = worker_handler
    with pytest.raises(AssertionError, match="b'other' not found in"):
        worker_handler.recv_job_assign_uniq(b"h", b"other", b"u", b"d")


def test_a_noop_while_another_connection_is_busy(worker_handler: Any, manager: Manager) -> None:
    manager.lock = object()
    del manager.sent[:]
    worker_handler.recv_noop()
    assert manager.sent == [(4, {})]


@pytest.fixture
def admin_handler(any_gearman: Any) -> Any:
    manager = Manager(any_gearman.connection_manager.NoopEncoder)
    return any_gearman.admin_client_handler.GearmanAdminClientCommandHandler(manager)


def test_admin_lines(any_gearman: Any, admin_handler: Any) -> None:
    invalid, wrong = any_gearman.errors.InvalidAdminClientState, any_gearman.errors.ProtocolError
    with pytest.raises(invalid):
        admin_handler.pop_response()
    with pytest.raises(invalid):
        admin_handler.recv_text_command("OK")
    with pytest.raises(wrong):
        admin_handler.send_text_command("reboot")
    admin_handler.send_text_command("status")
    assert list(admin_handler._sent_commands) == ["status"]
    assert admin_handler.recv_text_command(raw_text=b"f\t1\t0\t2")
    assert not admin_handler.response_ready
    with pytest.raises(wrong, match="Received 3 tokens, expected 4 tokens"):
        admin_handler.recv_text_command("f\t1\t0")
    assert not admin_handler.recv_text_command(".")
    assert admin_handler.response_ready
    expected = ({"task": "f", "queued": 1, "running": 0, "workers": 2},)
    assert admin_handler.pop_response() == ("status", expected)


@pytest.mark.parametrize(
    ("line", "text"),
    [("1 ip id", "Received 3 tokens, expected >= 4 tokens"), ("1 ip id f", "Malformed worker response")],
)
def test_bad_lines_of_workers(any_gearman: Any, admin_handler: Any, line: str, text: str) -> None:
    admin_handler.send_text_command("workers")
    with pytest.raises(any_gearman.errors.ProtocolError, match=text):
        admin_handler.recv_text_command(line)


def test_an_admin_command_without_its_method(admin_handler: Any) -> None:
    admin_handler.send_text_command("show jobs")
    admin_handler.recv_server_show_jobs = None
    with pytest.raises(ValueError, match="Could not handle command: 'show_jobs' - 'OK'"):
        admin_handler.recv_text_command(b"OK\r")


# --- managers --------------------------------------------------------------------------------------------------------


def test_polling_without_a_connection(gearman: Any) -> None:
    client = gearman.GearmanClient(["127.0.0.1:1"])
    calls: list[bool] = []
    with pytest.raises(gearman.errors.ServerUnavailable, match="Found no valid connections in list"):
        client.poll_connections_until_stopped(client.connection_list, calls.append)
    assert calls == [False]


def test_a_foreign_connection(gearman: Any) -> None:
    client = gearman.GearmanClient([])
    with pytest.raises(AssertionError):
        client.establish_connection(gearman.connection.GearmanConnection("h"))


@pytest.mark.parametrize("form", ["2.0.2", "3"])
def test_one_poll_in_both_forms(gearman: Any, form: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = gearman.GearmanClient(["h"])
        (connection,) = client.connection_list
        connection.set_socket(ours)
        connection.connected = True
        theirs.sendall(b"x")
        if form == "2.0.2":
            found = client.poll_connections_once([connection], 1.0)
        else:
            poller = gearman.io.get_connection_poller()
            client._register_connections_with_poller([connection], poller)
            found = client.poll_connections_once(poller, {ours.fileno(): connection}, timeout=1.0)
            poller.close()
        assert found == ({connection}, set(), set())


def test_the_poller_by_select(gearman: Any) -> None:
    ours, theirs = socket.socketpair()
    poller = gearman.io._Select()
    with ours, theirs:
        poller.register(ours, gearman.io.READ | gearman.io.WRITE)
        with pytest.raises(ValueError, match="already registered"):
            poller.register(ours, gearman.io.READ)
        theirs.sendall(b"x")
        assert poller.poll(-1) == [(ours.fileno(), gearman.io.READ | gearman.io.WRITE)]
        poller.modify(ours, gearman.io.READ)
        assert poller.poll(1.0) == [(ours.fileno(), gearman.io.READ)]
        ours.close()
        assert poller.poll(0) == []
    poller.close()


def test_stopwatch_and_unlist(gearman: Any) -> None:
    util = gearman.util
    assert util.Stopwatch(None).get_time_remaining() is None
    assert util.Stopwatch(0).get_time_remaining() == 0.0
    assert 0 < util.Stopwatch(100).get_time_remaining() <= 100
    assert util.Stopwatch(100).has_time_remaining() and not util.Stopwatch(-1).has_time_remaining()
    ending = util.Stopwatch(100)
    assert ending.has_time_remaining(time.time()) and not ending.has_time_remaining(time.time() + 200)
    assert (util.unlist([]), util.unlist([7])) == (None, 7)
    with pytest.raises(ValueError, match="2"):
        util.unlist([1, 2])
    assert util.select([], [], [], 0) == ([], [], [])


def test_requests_round_a_mock(gearman: Any) -> None:
    request = gearman.job.GearmanJobRequest(mock.Mock())
    request.state, request.result = gearman.JOB_COMPLETE, b"r"
    assert request.complete and request.job is request.gearman_job
    request.background = True
    assert not request.complete
    request.state = gearman.job.JOB_CREATED
    assert request.complete


def test_python_2_names(gearman: Any) -> None:
    compat = gearman.compat
    assert (compat.PY2, compat.PY3, compat.binary_type, compat.unicode_type) == (False, True, bytes, str)
    assert compat.array_to_bytes(array.array("b", b"ab")) == b"ab"
    assert (list(compat.itervalues({1: 2})), compat.to_hex(b"\x0f")) == ([2], "0f")
