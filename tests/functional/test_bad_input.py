# SPDX-License-Identifier: BSD-3-Clause
"""Bad input to the job server's process: the right answer, bounded memory, and nobody else disturbed.

Each test runs while a bystander, a client and a worker with connections of their own, gets one job after another done.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gearfast import Packet
from gearfast.protocol import COMMANDS, MAX_LAST_ARGUMENT, MAX_LINE, MAX_PACKET, Command

from .server_tools import Wire
from .servers import PATIENCE, ServerProcess, running, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: reads /proc for the server's memory")

MEGABYTE = 1 << 20
REQ, RES = b"\0REQ", b"\0RES"
Q = Command


def header(command: int, size: int, magic: bytes = REQ) -> bytes:
    return struct.pack(">4sII", magic, command, size)


def packet(command: int, *args: bytes, magic: bytes = REQ) -> bytes:
    """A packet as it should not be sent, if the arguments say so."""
    body = b"\0".join(args)
    return header(command, len(body), magic) + body


class Bystander(threading.Thread):
    """A client and a worker that mind their own business: one job after another, until `check` has seen enough."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self.done = 0
        self.error: BaseException | None = None
        self._stop_asked = False
        self._client, self._worker = (Wire((server.host, server.port)) for _ in range(2))
        for wire in (self._client, self._worker):
            wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._worker.can_do(b"bystander")
        self.start()

    def run(self) -> None:
        try:
            while not self._stop_asked:
                word = b"job %d" % self.done
                handle = self._client.submit(b"bystander", word)
                assert self._worker.grab() == (handle, word)
                self._worker.complete(handle, word[::-1])
                assert self._client.result(handle) == word[::-1]
                self.done += 1
        except BaseException as error:  # noqa: BLE001  # told by `check` to the test
            self.error = error

    def check(self, jobs: int = 3) -> None:
        """Waits until that many more jobs are done."""
        goal = self.done + jobs
        wait_until(lambda: self.error or self.done >= goal, "the bystander gets its jobs done")
        assert self.error is None, repr(self.error)

    def stop(self) -> None:
        self._stop_asked = True
        self.join(PATIENCE)
        self._client.close()
        self._worker.close()


@contextlib.contextmanager
def watched(server: ServerProcess, growth: int = 32 * MEGABYTE) -> Iterator[Bystander]:
    """A bystander on a server whose memory may grow by so many bytes. Both are looked at afterwards."""
    bystander = Bystander(server)
    try:
        bystander.check()
        before = server.resident()
        yield bystander
        bystander.check()
        server.check()
        grown = server.resident() - before
        assert grown < growth, f"{grown / MEGABYTE:.1f} MB more than before"
    finally:
        bystander.stop()


@pytest.fixture(scope="module", params=["reactor", "stream"])
def driver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def common_server(driver: str) -> Iterator[ServerProcess]:
    with running("gearfast", "--driver", driver) as server:
        yield server


@pytest.fixture
def server(common_server: ServerProcess) -> Iterator[ServerProcess]:
    with watched(common_server):
        yield common_server


@pytest.fixture
def wire(server: ServerProcess) -> Iterator[Wire]:
    with Wire((server.host, server.port)) as wire:
        yield wire


@pytest.fixture
def other(server: ServerProcess) -> Iterator[Wire]:
    with Wire((server.host, server.port)) as wire:
        yield wire


def unused(stem: bytes = b"f") -> bytes:
    """A function name of one test's own."""
    return stem + b"-%d" % random.getrandbits(60)


def push(wire: Wire, data: bytes) -> bool:
    """Sends; False if the server has closed the connection meanwhile."""
    try:
        wire.sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def closed_without_answer(wire: Wire, data: bytes) -> bool:
    push(wire, data)
    return wire.at_end()


def error(wire: Wire) -> tuple[bytes, ...]:
    return wire.packet(Q.ERROR).args


# What closes the connection.

WRONG_MAGIC = {
    "lower-case": b"\0req",
    "zeros": b"\0\0\0\0",
    "one-letter": b"\0REX",
    "swapped": b"\0RQE",
}
NUMBERS = [0, 43, 44, 255, 65536, 0x7FFFFFFF, 0x80000000, 0x80000007, 0xFFFFFFFF]


@pytest.mark.parametrize("magic", WRONG_MAGIC.values(), ids=WRONG_MAGIC.keys())
def test_wrong_magic(wire: Wire, magic: bytes) -> None:
    assert closed_without_answer(wire, packet(Q.ECHO_REQ, b"x", magic=magic))


@pytest.mark.parametrize("magic", [REQ, RES], ids=["req", "res"])
@pytest.mark.parametrize("number", NUMBERS)
def test_unknown_command(wire: Wire, number: int, magic: bytes) -> None:
    assert closed_without_answer(wire, header(number, 0, magic))


def test_what_came_before_is_done_and_answered(wire: Wire, other: Wire) -> None:
    function = unused()
    push(wire, packet(Q.SUBMIT_JOB_BG, function, b"", b"kept") + packet(Q.ECHO_REQ, b"x") + header(0, 0))
    wire.packet(Q.JOB_CREATED)
    assert wire.packet(Q.ECHO_RES).args == (b"x",)
    assert wire.at_end()
    other.can_do(function)
    assert other.grab()[1] == b"kept"


TOO_FEW = {
    f"{spec.command.name}-{n}": (spec.command, (b"1",) * n)
    for spec in COMMANDS
    if spec.command in (
        Q.SUBMIT_JOB, Q.SUBMIT_JOB_HIGH_BG, Q.SUBMIT_JOB_SCHED, Q.SUBMIT_JOB_EPOCH, Q.SUBMIT_REDUCE_JOB,
        Q.CAN_DO_TIMEOUT, Q.WORK_STATUS,
    )
    for n in range(1, len(spec.fields))
}  # fmt: skip


@pytest.mark.parametrize(("command", "args"), TOO_FEW.values(), ids=TOO_FEW.keys())
def test_too_few_arguments(wire: Wire, command: Command, args: tuple[bytes, ...]) -> None:
    """In a body that is all there; they must not be taken from the packet behind it either."""
    assert closed_without_answer(wire, packet(command, *args) + packet(Q.ECHO_REQ, b"a\0b\0c\0d\0e\0f\0g\0h"))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, MAX_PACKET + 1], ids=["4-GiB", "2-GiB", "limit"])
@pytest.mark.parametrize("command", [Q.SUBMIT_JOB, Q.ECHO_REQ, Q.CAN_DO, Q.WORK_COMPLETE, Q.GRAB_JOB])
def test_size_beyond_the_limit(wire: Wire, command: Command, size: int) -> None:
    assert closed_without_answer(wire, header(command, size))


def test_announced_data_is_not_allocated(server: ServerProcess) -> None:
    before = server.resident()
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            wire = stack.enter_context(Wire((server.host, server.port)))
            push(wire, header(Q.SUBMIT_JOB, 200 * MEGABYTE) + b"f\0u\0data")
        server.check()
        assert server.resident() - before < 16 * MEGABYTE


@pytest.mark.parametrize("command", [Q.CAN_DO, Q.SUBMIT_JOB, Q.SUBMIT_JOB_BG, Q.GET_STATUS, Q.OPTION_REQ])
def test_function_name_of_10_megabytes(wire: Wire, command: Command) -> None:
    name = b"f" * (10 * MEGABYTE)
    more = (b"", b"") if command in (Q.SUBMIT_JOB, Q.SUBMIT_JOB_BG) else ()
    assert closed_without_answer(wire, packet(command, name, *more))


def test_longest_plain_argument(wire: Wire, other: Wire) -> None:
    longest = b"f" * MAX_LAST_ARGUMENT
    wire.can_do(longest)
    assert closed_without_answer(other, packet(Q.CAN_DO, longest + b"f"))


@pytest.mark.parametrize("size", [MAX_LINE + 2, 10 * MEGABYTE], ids=["just-too-long", "10-MB"])
def test_line_that_never_ends(wire: Wire, size: int) -> None:
    assert closed_without_answer(wire, b"a" * size)


def test_line_of_six_words(wire: Wire) -> None:
    assert closed_without_answer(wire, b"status 1 2 3 4 5\n")


# What gets an answer.


@pytest.mark.parametrize("number", [5, 6, 8, 10, 11, 17, 19, 20, 24, 27, 31, 40, 42])
def test_command_that_nobody_sends_to_a_server(wire: Wire, number: int) -> None:
    [spec] = [spec for spec in COMMANDS if spec.command == number]
    push(wire, packet(number, *(b"1" for _ in spec.fields)))
    assert error(wire) == (b"INVALID_COMMAND", b"Command not expected")
    wire.echo()


def test_magic_of_a_reply(wire: Wire) -> None:
    push(wire, packet(Q.SUBMIT_JOB_BG, unused(), b"", b"x", magic=RES))
    assert error(wire) == (b"INVALID_MAGIC", b"Request magic expected")
    wire.echo()


def test_more_arguments_than_the_command_has(wire: Wire, other: Wire) -> None:
    function = unused()
    push(wire, packet(Q.GRAB_JOB, b"what", b"for"))
    wire.packet(Q.NO_JOB)
    push(wire, packet(Q.SUBMIT_JOB_BG, function, b"", b"data", b"more", b"", b"data"))
    wire.packet(Q.JOB_CREATED)
    other.can_do(function)
    assert other.grab()[1] == b"data\0more\0\0data"


@pytest.mark.parametrize("name", [b"%s\0", b"%s\0more", b"\0%s"], ids=["behind", "within", "before"])
def test_nul_in_a_name(wire: Wire, other: Wire, name: bytes) -> None:
    """The last argument runs to the end of the body, so this is a function with a NUL, which no job can ask for."""
    function = unused()
    wire.can_do(name % function)
    other.submit(function, b"x", background=True)
    push(wire, packet(Q.GRAB_JOB))
    wire.packet(Q.NO_JOB)
    wire.can_do(function)
    assert wire.grab()[1] == b"x"


def test_unique_too_long(wire: Wire) -> None:
    push(wire, packet(Q.SUBMIT_JOB_BG, unused(), b"u" * 65, b"x"))
    assert error(wire) == (b"ARGUMENT_TOO_LARGE", b"Unique value too large")
    wire.echo()


@pytest.mark.parametrize("option", [b"", b"nothing", b"x" * 64, b"exceptionsx"])
def test_unknown_option(wire: Wire, option: bytes) -> None:
    push(wire, packet(Q.OPTION_REQ, option))
    assert error(wire) == (b"UNKNOWN_OPTION", b"Server does not recognize given option")
    wire.echo()


@pytest.mark.parametrize("line", [b"", b"\r", b"nonsense", b" status", b"\xff\xfe", b"GET / HTTP/1.1\r"])
def test_unknown_line(wire: Wire, line: bytes) -> None:
    push(wire, line + b"\n")
    answer = wire.get()
    assert isinstance(answer, bytes)
    assert answer.startswith(b"ERR UNKNOWN_COMMAND Unknown+server+command")
    wire.echo()


RESULTS = {
    Q.WORK_DATA: ((b"stolen",), b"Job does not exist on server"),
    Q.WORK_WARNING: ((b"stolen",), b"Job does not exist on server"),
    Q.WORK_STATUS: ((b"1", b"2"), b"Job given in work result not found"),
    Q.WORK_COMPLETE: ((b"stolen",), b"Job given in work result not found"),
    Q.WORK_FAIL: ((), b"Job given in work result not found"),
    Q.WORK_EXCEPTION: ((b"stolen",), b"An exception was received for a job that does not exist"),
}


@pytest.mark.parametrize("command", RESULTS, ids=[command.name for command in RESULTS])
def test_worker_reports_a_job_that_is_not_its_own(
    server: ServerProcess, wire: Wire, other: Wire, command: Command
) -> None:
    args, text = RESULTS[command]
    function = unused()
    with Wire((server.host, server.port)) as thief:
        thief.can_do(function)
        handle = wire.submit(function, b"x")
        for stage in ("queued", "running", "unknown"):
            if stage == "running":
                other.can_do(function)
                assert other.grab() == (handle, b"x")
            thief.send(command, handle if stage != "unknown" else b"H:nowhere:1", *args)
            assert error(thief) == (b"JOB_NOT_FOUND", text), stage
        other.complete(handle, b"honest")
        assert wire.result(handle) == b"honest"
        thief.send(command, handle, *args)
        assert error(thief) == (b"JOB_NOT_FOUND", text)
        other.send(command, handle, *args)
        assert error(other) == (b"JOB_NOT_FOUND", text)


# How it arrives.


def test_byte_by_byte(wire: Wire, other: Wire) -> None:
    function = unused()
    wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in packet(Q.SUBMIT_JOB, function, b"unique", b"data") + b"version\r\n":
        wire.sock.sendall(bytes([byte]))
    handle = wire.packet(Q.JOB_CREATED).args[0]
    line = wire.get()
    assert isinstance(line, bytes)
    assert line.startswith(b"OK ")
    other.can_do(function)
    assert other.grab() == (handle, b"data")


def test_end_within_a_packet(server: ServerProcess, other: Wire) -> None:
    unique = unused()
    whole = packet(Q.SUBMIT_JOB_BG, unused(), unique, b"data")
    for end in range(1, len(whole)):
        with Wire((server.host, server.port)) as wire:
            push(wire, whole[:end])
    other.echo()
    assert unique not in other.lines("show unique jobs")


def test_worker_that_dies_within_its_result(server: ServerProcess, wire: Wire, other: Wire) -> None:
    function = unused()
    handle = wire.submit(function, b"x")
    with Wire((server.host, server.port)) as dying:
        dying.can_do(function)
        assert dying.grab() == (handle, b"x")
        whole = packet(Q.WORK_COMPLETE, handle, b"y" * 100_000)
        push(dying, whole[:-50_000])
    other.can_do(function)
    assert other.grab() == (handle, b"x")
    other.complete(handle, b"whole")
    assert wire.result(handle) == b"whole"


@pytest.mark.parametrize("data", [header(0, 0), b"a b c d e f\n", packet(Q.ECHO_REQ, b"x"), b"status\n"])
def test_peer_that_resets_the_connection(server: ServerProcess, data: bytes) -> None:
    """What it has just sent is answered, or ends the connection, while it is no longer there."""
    for _ in range(100):
        with server.connect() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(data)


def test_a_hundred_thousand_requests_at_once(wire: Wire) -> None:
    number = 100_000
    sender = threading.Thread(target=push, args=(wire, packet(Q.GRAB_JOB) * number + packet(Q.ECHO_REQ, b"end")))
    sender.start()
    for _ in range(number):
        wire.packet(Q.NO_JOB)
    assert wire.packet(Q.ECHO_RES).args == (b"end",)
    sender.join()


def test_worker_that_hoards_grabs(wire: Wire, other: Wire) -> None:
    number, function = 70_000, unused()
    wire.can_do(function)
    wire.send(Q.OPTION_REQ, b"all_yours")
    assert wire.packet(Q.OPTION_RES).args == (b"all_yours",)
    sender = threading.Thread(target=push, args=(wire, packet(Q.GRAB_JOB) * number + packet(Q.ECHO_REQ, b"end")))
    sender.start()
    refused = 0
    while wire.get() != Packet(Q.ECHO_RES, (b"end",)):
        refused += 1
    sender.join()
    # Holding one costs a count; the rest is refused as usual.
    held = number - refused
    assert 0 < held <= 1 << 16
    other.submit(function, b"x", background=True)
    assert wire.packet(Q.JOB_ASSIGN).args[1:] == (function, b"x")
    wire.send(Q.PRE_SLEEP)
    for _ in range(held - 1):
        wire.packet(Q.NO_JOB)
    wire.echo()


def test_noise(server: ServerProcess) -> None:
    dice = random.Random(4730)
    for _ in range(300):
        with Wire((server.host, server.port)) as wire:
            noise = dice.randbytes(dice.randrange(1, 400))
            start = dice.choice([b"", b"\0REQ", header(dice.randrange(48), dice.randrange(40)), b"status\n"])
            push(wire, start + noise)
            if dice.random() < 0.5:
                wire.sock.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    while wire.sock.recv(65536):
                        pass


# Too much of it. Each of these has a server of its own.


@pytest.fixture
def raised_limit(require: Callable[[object, str], None]) -> Iterator[Callable[[int], None]]:
    """Raises this process's limit of open files as far as a test needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def raise_to(number: int) -> None:
        require(hard == resource.RLIM_INFINITY or hard >= number, f"a hard limit of {number} open files (ulimit -Hn)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, number), hard))

    yield raise_to
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def blocked(sock: socket.socket, data: bytes, limit: int) -> bool:
    """Sends the same data again and again without reading; whether the server stops taking it before `limit` bytes."""
    sock.setblocking(False)
    sent = 0
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    while sent < limit:
        if not poller.poll(700):
            return True
        with contextlib.suppress(BlockingIOError):
            sent += sock.send(data)
    return False


FLOODS = {
    "echo": packet(Q.ECHO_REQ, b"x" * 60_000),
    "small": packet(Q.GET_STATUS, b"H:nowhere:1") * 1000,
    "status": b"workers\n" * 5000,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_client_that_never_reads(driver: str, flood: bytes) -> None:
    with running("gearfast", "--driver", driver) as server, watched(server) as bystander, server.connect() as sock:
        assert blocked(sock, flood, 200 * MEGABYTE)
        bystander.check()


def test_client_that_reads_late_misses_nothing(driver: str) -> None:
    number, data = 400, os.urandom(100_000)
    with (
        running("gearfast", "--driver", driver) as server,
        watched(server, 64 * MEGABYTE),
        Wire((server.host, server.port)) as wire,
    ):
        sender = threading.Thread(target=push, args=(wire, packet(Q.ECHO_REQ, data) * number))
        sender.start()
        wait_until(lambda: server.process.poll() is None and unread(wire.sock) > 50_000, "replies arrive")
        for _ in range(number):
            assert wire.packet(Q.ECHO_RES).args == (data,)
        sender.join()


def unread(sock: socket.socket) -> int:
    """Bytes that have arrived and were not read."""
    try:
        return len(sock.recv(MEGABYTE, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return 0


def test_results_for_a_client_that_never_reads(driver: str) -> None:
    """A worker's data cannot be held back, as it has other jobs to report: the client is cut at `max_unsent`."""
    with (
        running("gearfast", "--driver", driver, "--max-packet", "4M", "--max-unsent", "8M") as server,
        watched(server, 64 * MEGABYTE) as bystander,
        Wire((server.host, server.port)) as client,
        Wire((server.host, server.port)) as worker,
    ):
        handle = client.submit(b"f", b"x")
        worker.can_do(b"f")
        assert worker.grab() == (handle, b"x")
        piece = packet(Q.WORK_DATA, handle, b"x" * MEGABYTE)
        for _ in range(64):
            assert push(worker, piece)
        worker.echo()  # all of it was taken
        bystander.check()
        with pytest.raises((EOFError, ConnectionError)):
            while True:
                client.packet(Q.WORK_DATA)


def test_clients_that_flood_and_leave(driver: str) -> None:
    with running("gearfast", "--driver", driver) as server, watched(server, 48 * MEGABYTE):
        for _ in range(20):
            with server.connect() as sock:
                sock.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    sock.sendall(FLOODS["echo"] * 100)


def test_ten_thousand_connections_that_say_nothing(driver: str, raised_limit: Callable[[int], None]) -> None:
    number = 10_000
    raised_limit(number + 500)
    with running("gearfast", "--driver", driver) as server, watched(server, 200 * MEGABYTE) as bystander:
        silent: list[socket.socket] = []
        try:
            for n in range(number):
                sock = socket.socket()
                silent.append(sock)
                # Ends without TIME_WAIT, so that the ports are free again; the address spares the usual ones.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.bind((f"127.0.0.{2 + n % 8}", 0))
                sock.connect((server.host, server.port))
            bystander.check(100)
            assert len(server.admin("workers").splitlines()) == number + 4
            with Wire(silent[-1]) as late:
                late.echo()  # it can still speak
        finally:
            for sock in silent:
                sock.close()
        wait_until(lambda: len(server.admin("workers").splitlines()) == 4, "all have left")


def test_more_connections_than_descriptors(driver: str) -> None:
    limit = 100
    with running("gearfast", "--driver", driver) as server:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, limit))
        with watched(server) as bystander, contextlib.ExitStack() as stack:
            waiting = [stack.enter_context(server.connect()) for _ in range(2 * limit)]
            bystander.check(50)
            before = cpu_seconds(server.pid)
            bystander.check(50)
            # Some of them fill the server; the others wait in the kernel, but for a few that it turns away.
            for sock in waiting:
                sock.close()
            with server.connect() as sock, Wire(sock) as late:
                late.echo()
            assert cpu_seconds(server.pid) - before < PATIENCE / 2


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_packet_of_the_codec_is_the_wire_form() -> None:
    """`packet` above, which can build what the codec refuses, builds the same as the codec otherwise."""
    assert packet(Q.SUBMIT_JOB, b"f", b"u", b"d\0d") == Packet(Q.SUBMIT_JOB, (b"f", b"u", b"d\0d")).encode()
