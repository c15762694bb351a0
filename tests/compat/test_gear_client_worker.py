# SPDX-License-Identifier: BSD-3-Clause
"""gear's Client and Worker on three job servers: what drop-in users rely on, and what is mended."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from gearfast.compat import gear
from gearfast.compat.gear import constants
from gearfast.demo.processes import free_port

from ..functional.servers import PATIENCE, wait_until
from . import gear_servers
from .gear_servers import HOST, client, connected, done, serving, working

nothing_left = gear_servers.nothing_left
port = gear_servers.port
real_port = gear_servers.real_port


def test_a_job_there_and_back(port: int) -> None:
    with working(port), client(port) as submitter:
        job = gear.Job("reverse", b"abc", b"unique")
        assert submitter.submitJob(job) is None
        assert isinstance(job.handle, bytes)
        assert job.connection in submitter.active_connections
        done(job)
        assert (job.data, job.failure, job.exception) == ([b"cba"], False, None)
        assert job.connection.related_jobs == {}


def test_all_that_a_worker_may_send(port: int) -> None:
    def run(job: Any) -> None:
        job.sendWorkData(b"1")
        job.sendWorkData(b"")
        job.sendWorkWarning(b"2")
        job.sendWorkStatus(1, 4)
        job.sendWorkComplete(b"3\0")

    with working(port, run=run), client(port) as submitter:
        job = gear.Job("reverse", b"")
        submitter.submitJob(job)
        done(job)
        assert job.data == [b"1", b"2", b"3\0"]
        assert (job.numerator, job.denominator, job.fraction_complete, job.warning) == (b"1", b"4", 0.25, True)


def test_progress_of_nothing_has_no_fraction(port: int) -> None:
    def run(job: Any) -> None:
        job.sendWorkStatus(0, 0)
        job.sendWorkComplete()

    with working(port, run=run), client(port) as submitter:
        job = gear.Job("reverse", b"")
        submitter.submitJob(job)
        done(job)
        assert (job.numerator, job.denominator, job.fraction_complete) == (b"0", b"0", None)


def test_failures(port: int) -> None:
    def run(job: Any) -> None:
        if job.arguments == b"fail":
            job.sendWorkFail()
        else:
            job.sendWorkException(b"why")

    with working(port, run=run), client(port) as submitter:
        assert submitter.setOption("exceptions")
        for arguments, exception in ((b"fail", None), (b"raise", b"why")):
            job = gear.Job("reverse", arguments)
            submitter.submitJob(job)
            done(job)
            assert (job.failure, job.exception, job.data) == (True, exception, [])


def test_an_exception_without_the_option_is_a_failure(real_port: int) -> None:
    with working(real_port, run=lambda job: job.sendWorkException(b"why")), client(real_port) as submitter:
        job = gear.Job("reverse", b"")
        submitter.submitJob(job)
        done(job)
        assert (job.failure, job.exception) == (True, None)


def test_text(port: int) -> None:
    with working(port, kind=gear.TextWorker, name="größe"), client(port) as submitter:
        job = gear.TextJob("größe", "äb", "ü")
        submitter.submitJob(job)
        done(job)
        assert job.data == ["bä"]
        assert isinstance(job.handle, bytes)


def test_background_and_precedence(port: int) -> None:
    order: list[bytes] = []

    def run(job: Any) -> None:
        job.sendWorkComplete()
        order.append(job.arguments)

    with client(port) as submitter:
        for precedence, arguments in (
            (gear.PRECEDENCE_LOW, b"low"),
            (gear.PRECEDENCE_NORMAL, b"normal"),
            (gear.PRECEDENCE_HIGH, b"high"),
        ):
            submitter.submitJob(gear.Job("reverse", arguments), background=True, precedence=precedence)
        with working(port, run=run):
            wait_until(lambda: len(order) == 3, "all jobs are done")
    assert order == [b"high", b"normal", b"low"]


def test_wrong_precedence(port: int) -> None:
    with client(port) as submitter, pytest.raises(gear.ConfigurationError):
        submitter.submitJob(gear.Job("f", b""), precedence=3)


def test_large_data_comes_in_pieces(port: int) -> None:
    data = bytes(range(256)) * 8192
    with working(port), client(port) as submitter:
        job = gear.Job("reverse", data)
        submitter.submitJob(job)
        done(job)
        assert b"".join(job.data) == data[::-1]


def test_status_by_a_packet(port: int) -> None:
    class Reporting(gear.Client):
        def __init__(self, name: str) -> None:
            self.seen: list[Any] = []
            super().__init__(name)

        def handleStatusRes(self, packet: Any) -> Any:  # noqa: N802
            try:
                job = super().handleStatusRes(packet)
            except gear.UnknownJobError:
                job = None
            self.seen.append(job)
            return job

    with client(port, kind=Reporting) as submitter:
        job = gear.Job("nobody", b"")
        submitter.submitJob(job, background=True)
        for handle in (job.handle, b"H:none:99"):
            packet = gear.Packet(constants.REQ, constants.GET_STATUS, handle)
            submitter.sendPacket(packet, job.connection)
        wait_until(lambda: len(submitter.seen) == 2, "both answers are here")
        assert submitter.seen == [job, None]
        assert (job.known, job.running) == (True, False)


def test_two_jobs_with_one_unique_both_get_everything(real_port: int) -> None:
    """gear updated only the later one."""
    go = threading.Event()

    def run(job: Any) -> None:
        go.wait(PATIENCE)
        job.sendWorkData(b"1")
        job.sendWorkStatus(1, 2)
        job.sendWorkComplete(b"2")

    finished: list[Any] = []

    class Counting(gear.Client):
        def handleWorkComplete(self, packet: Any) -> Any:  # noqa: N802
            expected = packet.getJob()
            job = super().handleWorkComplete(packet)
            assert job is expected
            finished.append(job)
            return job

    jobs = [gear.Job("reverse", b"x", b"same") for _ in range(3)]
    with working(real_port, run=run), client(real_port, kind=Counting) as submitter:
        for job in jobs:
            submitter.submitJob(job)
        assert len({job.handle for job in jobs}) == 1
        go.set()
        for job in jobs:
            done(job)
            assert job.data == [b"1", b"2"]
            assert job.fraction_complete == 0.5
        wait_until(lambda: len(finished) == 3, "each had its own call")
        assert {id(job) for job in finished} == {id(job) for job in jobs}
        assert jobs[0].connection.related_jobs == {}
        assert not jobs[0].connection.sharing


def test_options(port: int) -> None:
    with client(port) as submitter:
        assert submitter.setOption("exceptions") is True
        assert submitter.active_connections[0].options == {b"exceptions"}
        assert submitter.setOption(b"no such option") is False
        job = gear.Job("f", b"")
        submitter.submitJob(job, background=True)  # the pairing of requests and answers is as it was
        assert job.handle


def test_options_are_set_again_after_a_loss(port: int) -> None:
    with client(port) as submitter:
        assert submitter.setOption("exceptions")
        (connection,) = submitter.active_connections
        submitter._lostConnection(connection)
        wait_until(lambda: connection in submitter.active_connections, "the server is back")
        wait_until(lambda: connection.options == {b"exceptions"}, "the option is set again")
        assert submitter.options == {b"exceptions"}


def test_echo_returns_when_answered(port: int) -> None:
    """gear raised TimeoutError when the answer came, and returned when it did not."""
    with client(port) as submitter:
        connection = submitter.getConnection()
        assert connection.echo(b"a\0b", timeout=PATIENCE) == b"a\0b"
        assert len(connection.echo(timeout=PATIENCE)) == 32
        assert connection.echo_conditions == {}


def test_admin_requests(port: int) -> None:
    with working(port) as worker, client(port) as submitter:
        connection = submitter.getConnection()
        queued = gear.Job("other", b"", b"queued")
        submitter.submitJob(queued, background=True)
        answers = {}
        for kind in (
            gear.StatusAdminRequest,
            gear.WorkersAdminRequest,
            gear.VersionAdminRequest,
            gear.ShowJobsAdminRequest,
            gear.ShowUniqueJobsAdminRequest,
        ):
            request = kind()
            assert connection.sendAdminRequest(request, timeout=PATIENCE) is None
            answers[kind.__name__] = request.response
        assert b"reverse\t0\t0\t1\n" in answers["StatusAdminRequest"]
        assert answers["StatusAdminRequest"].endswith(b".\n")
        assert b" worker : reverse\n" in answers["WorkersAdminRequest"]
        assert answers["VersionAdminRequest"].startswith(b"OK ")
        assert queued.handle in answers["ShowJobsAdminRequest"]
        assert b"queued\n" in answers["ShowUniqueJobsAdminRequest"]
        assert worker.functions.keys() == {b"reverse"}
        for expected in (b"OK", b"ERR UNKNOWN_JOB"):
            cancel = gear.CancelJobAdminRequest(queued.handle if expected == b"OK" else "H:none:1")
            connection.sendAdminRequest(cancel, timeout=PATIENCE)
            assert cancel.response.strip() == expected


def test_requests_from_many_threads_keep_their_answers(port: int) -> None:
    wrong: list[Any] = []
    with working(port, threads=2), client(port) as submitter:

        def run(number: int) -> None:
            connection = submitter.getConnection()
            for turn in range(10):
                text = f"{number}.{turn}".encode()
                job = gear.Job("reverse", text)
                submitter.submitJob(job)
                request = gear.VersionAdminRequest()
                connection.sendAdminRequest(request, timeout=PATIENCE)
                if done(job).data != [text[::-1]] or not request.response.startswith(b"OK "):
                    wrong.append((job, request.response))

        threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert wrong == []


def test_functions_come_and_go(port: int) -> None:
    done_by: list[str] = []

    def run(job: Any) -> None:
        job.sendWorkComplete()
        done_by.append(job.name)

    with client(port) as submitter, working(port, run=run, name="a") as worker:
        submitter.submitJob(gear.Job("late", b""), background=True)
        worker.registerFunction(b"late", timeout=60000)  # wakes the sleeper, as no server does
        wait_until(lambda: done_by == ["late"], "the job that waited is done")
        worker.unRegisterFunction("a")
        with pytest.raises(KeyError):
            worker.unRegisterFunction("a")
        worker.setFunctions(
            [gear.FunctionRecord("b"), gear.FunctionRecord(b"c", b"60000"), gear.FunctionRecord("d", "9")]
        )
        assert worker.functions.keys() == {b"b", b"c", b"d"}
        for name in ("c", "b"):
            submitter.submitJob(gear.Job(name, b""), background=True)
        wait_until(lambda: len(done_by) == 3, "both are done")
        with pytest.raises(gear.InvalidDataError):
            worker.setFunctions(["b"])
        assert worker.functions.keys() == {b"b", b"c", b"d"}
        worker.setFunctions([])
        assert worker.functions == {}


def test_states_of_a_worker(port: int) -> None:
    with connected(lambda: gear.Worker("w"), port) as worker:
        (connection,) = worker.active_connections
        assert connection.state == "IDLE"
        worker.registerFunction("f")
        got: list[Any] = []
        thread = threading.Thread(target=lambda: got.append(worker.getJob()))
        thread.start()
        wait_until(lambda: connection.state == "SLEEP", "the worker sleeps")
        assert worker.waiting_for_jobs == 1
        with client(port) as submitter:
            submitter.submitJob(gear.Job("f", b"x", b"u"), background=True)
            thread.join(PATIENCE)
        assert connection.state == "IDLE"
        assert worker.waiting_for_jobs == 0
        assert (got[0].name, got[0].arguments, got[0].unique, got[0].connection) == ("f", b"x", b"u", connection)


def test_a_job_without_unique_has_none(port: int) -> None:
    seen: list[Any] = []

    def run(job: Any) -> None:
        job.sendWorkComplete()
        seen.append(job.unique)

    with working(port, run=run), client(port) as submitter:
        job = gear.Job("reverse", b"")
        submitter.submitJob(job)
        done(job)
    assert seen == [None]


@pytest.mark.parametrize("stop", ["stopWaitingForJobs", "shutdown"])
def test_get_job_is_interrupted(port: int, stop: str) -> None:
    raised: list[type[BaseException]] = []

    def run(worker: Any) -> None:
        try:
            worker.getJob()
        except gear.InterruptedError as error:
            raised.append(type(error))

    with connected(lambda: gear.Worker("w"), port) as worker:
        worker.registerFunction("f")
        threads = [threading.Thread(target=run, args=(worker,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: worker.waiting_for_jobs == 3, "all wait")
        getattr(worker, stop)()
        for thread in threads:
            thread.join(PATIENCE)
        assert raised == [gear.InterruptedError] * 3
        if stop == "shutdown":
            with pytest.raises(gear.InterruptedError):
                worker.getJob()


def test_worker_needs_a_client_id() -> None:
    for arguments in ({}, {"worker_id": "w"}, {"client_id": "c", "worker_id": "w"}, {"client_id": ""}):
        with pytest.raises(Exception, match="A client_id must be provided"):
            gear.Worker(**arguments)


def test_shutdown_twice_warns(caplog: pytest.LogCaptureFixture) -> None:
    submitter = gear.Client("me")
    names = {thread.name for thread in threading.enumerate()}
    assert {"Gearman client poll", "Gearman client connect"} <= names
    submitter.shutdown()
    assert not submitter.poll_thread.is_alive()
    assert not submitter.connect_thread.is_alive()
    with caplog.at_level(logging.WARNING):
        submitter.shutdown()
    warnings = [record.name for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["gear.Client.b'me'"]


def test_servers_are_added_once() -> None:
    with connected(lambda: gear.Client("c")) as submitter:
        submitter.addServer(HOST, "1")
        with pytest.raises(gear.ConfigurationError, match="Host/port already specified"):
            submitter.addServer(HOST, "1")
        assert [connection.port for connection in submitter.inactive_connections] == ["1"]


def test_a_port_may_be_text(port: int) -> None:
    with connected(lambda: gear.Client("c")) as submitter:
        submitter.addServer("localhost", str(port))
        submitter.waitForServer(timeout=PATIENCE)
        assert repr(submitter.getConnection()).endswith(f"host: localhost port: {port}>")
        assert isinstance(submitter.client_id, bytes)


def test_no_server_at_all() -> None:
    with connected(lambda: gear.Client("c")) as submitter:
        submitter.addServer(HOST, free_port())
        with pytest.raises(gear.NoConnectedServersError):
            submitter.getConnection()
        with pytest.raises(gear.TimeoutError):
            submitter.waitForServer(timeout=0.01)
        # gear's manual says one, gear raised the other.
        with pytest.raises(gear.NoConnectedServersError):
            submitter.submitJob(gear.Job("f", b""))
        with pytest.raises(gear.GearmanError, match="Unable to submit job to any connected servers"):
            submitter.submitJob(gear.Job("f", b""))


def test_round_robin_and_reconnection(real_port: int) -> None:
    with serving() as second, client(real_port, second.port) as submitter:
        connections = [submitter.getConnection() for _ in range(4)]
        assert connections[:2] == connections[2:]
        assert connections[0] is not connections[1]
        first = next(one for one in submitter.active_connections if one.port == real_port)
        submitter._lostConnection(first)
        wait_until(lambda: first in submitter.active_connections, "the server is back")
        assert (submitter.inactive_connections, first.state) == ([], "INIT")


def test_handle_disconnect_gets_each_job_in_flight() -> None:
    class Watching(gear.Client):
        def __init__(self, name: str) -> None:
            self.lost: list[Any] = []
            super().__init__(name)

        def handleDisconnect(self, job: Any) -> Any:  # noqa: N802
            self.lost.append(job)
            return super().handleDisconnect(job)

    with serving() as server, client(server.port, kind=Watching) as submitter:
        jobs = [gear.Job("f", b"") for _ in range(2)]
        for job in jobs:
            submitter.submitJob(job)
        server.shutdown()
        wait_until(lambda: len(submitter.lost) == 2, "both jobs are reported")
        assert submitter.lost == jobs
        assert not any(job.complete for job in jobs)


def test_a_handler_that_raises_is_logged_and_polling_goes_on(port: int, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(gear.Client):
        def handleWorkData(self, packet: Any) -> Any:  # noqa: N802
            raise ValueError("mine")

    def run(job: Any) -> None:
        job.sendWorkData(b"1")
        job.sendWorkComplete(b"2")

    with working(port, run=run), client(port, kind=Broken) as submitter:
        job = gear.Job("reverse", b"")
        submitter.submitJob(job)
        assert done(job).data == [b"2"]
    assert any("mine" in (record.exc_text or "") for record in caplog.records)


def test_a_hook_for_every_packet(port: int) -> None:
    class Counting(gear.Client):
        def __init__(self, name: str) -> None:
            self.packets: list[int] = []
            self.timings: list[tuple[int, float]] = []
            super().__init__(name)

        def handlePacket(self, packet: Any) -> None:  # noqa: N802
            self.packets.append(packet.ptype)
            super().handlePacket(packet)

        def reportTimingStats(self, ptype: int, duration: float) -> None:  # noqa: N802
            self.timings.append((ptype, duration))

    with working(port), client(port, kind=Counting) as submitter:
        job = gear.Job("reverse", b"x")
        submitter.submitJob(job)
        done(job)
        wait_until(lambda: len(submitter.timings) == 2, "both are reported")
        assert submitter.packets == [constants.JOB_CREATED, constants.WORK_COMPLETE]
        assert all(seconds >= 0 for _, seconds in submitter.timings)


def test_shutdown_inside_a_handler(port: int) -> None:
    class Ending(gear.Client):
        def handleWorkComplete(self, packet: Any) -> Any:  # noqa: N802
            job = super().handleWorkComplete(packet)
            self.shutdown()
            return job

    with working(port):
        submitter = Ending("c")
        submitter.addServer(HOST, port)
        submitter.waitForServer(PATIENCE)
        job = gear.Job("reverse", b"x")
        submitter.submitJob(job)
        submitter.poll_thread.join(PATIENCE)
        assert job.complete
        assert not submitter.connect_thread.is_alive()


def test_a_connection_used_alone(port: int) -> None:
    connection = gear.Connection(HOST, port)
    connection.connect()
    try:
        assert connection.connected
        connection.sendPacket(gear.Packet(constants.REQ, constants.ECHO_REQ, b"a"))
        connection.sendRaw(gear.Packet(constants.REQ, constants.ECHO_REQ, b"b").toBinary())
        first, second = connection.readPacket(), connection.readPacket()
        assert (first, second) == (
            gear.Packet(constants.RES, constants.ECHO_RES, b"a"),
            gear.Packet(constants.RES, constants.ECHO_RES, b"b"),
        )
        request = gear.VersionAdminRequest()
        connection.admin_requests.append(request)
        connection.sendRaw(request.getCommand())
        assert connection.readPacket() is request
        assert request.response.startswith(b"OK ")
        assert not connection.hasPendingData()
        connection.reconnect()
        assert connection.connected
    finally:
        connection.disconnect()
    assert (connection.connected, connection.conn) == (False, None)


def test_a_connection_to_nobody() -> None:
    for host in (HOST, "no.such.host.invalid"):
        connection = gear.Connection(host, free_port())
        with pytest.raises(gear.ConnectionError, match="Unable to open socket"):
            connection.connect()
        with pytest.raises(gear.ConnectionError):
            connection.sendRaw(b"x")


def test_a_non_blocking_connection(port: int) -> None:
    connection = gear.NonBlockingConnection(HOST, port)
    connection.connect()
    try:
        with pytest.raises(gear.RetryIOError):
            connection.readPacket()
        connection.sendPacket(gear.Packet(constants.REQ, constants.ECHO_REQ, b"a"))

        def read() -> Any:
            try:
                return connection.readPacket()
            except gear.RetryIOError:
                return None

        assert wait_until(read, "the echo is back").data == b"a"
    finally:
        connection.disconnect()


def test_a_job_for_each_server_while_one_waits() -> None:
    """With several servers one job more may wait in job_queue; the next getJob takes it."""
    with serving() as one, serving() as other, connected(lambda: gear.Worker("w"), one.port, other.port) as worker:
        worker.registerFunction("f")
        for server in (one, other):
            with client(server.port) as submitter:
                submitter.submitJob(gear.Job("f", b""), background=True)
        jobs = [worker.getJob(), worker.getJob()]
        assert {job.connection.port for job in jobs} == {one.port, other.port}
        assert worker.waiting_for_jobs == 0
