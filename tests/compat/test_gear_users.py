# SPDX-License-Identifier: BSD-3-Clause
"""The ways in which real programs use gear, each in the shape that they have, on three job servers."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from gearfast.compat import gear

from ..functional.servers import PATIENCE, wait_until
from . import gear_servers
from .gear_servers import HOST, client, connected, serving, working

nothing_left = gear_servers.nothing_left
port = gear_servers.port
real_port = gear_servers.real_port


# Zuul up to 4.x: the scheduler's side.


class Build(gear.TextJob):
    """A job that knows which build it is for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.build_lost = False
        super().__init__(*args, **options)


class Scheduler(gear.Client):
    """Acts on every event of its jobs and keeps count of what it cannot place."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, Any]] = []
        self.unknown = 0

    def _note(self, event: str, job: Any) -> Any:
        self.events.append((event, job))
        return job

    def handleWorkComplete(self, packet: Any) -> Any:  # noqa: N802
        return self._note("complete", super().handleWorkComplete(packet))

    def handleWorkFail(self, packet: Any) -> Any:  # noqa: N802
        return self._note("fail", super().handleWorkFail(packet))

    def handleWorkException(self, packet: Any) -> Any:  # noqa: N802
        return self._note("exception", super().handleWorkException(packet))

    def handleWorkStatus(self, packet: Any) -> Any:  # noqa: N802
        return self._note("status", super().handleWorkStatus(packet))

    def handleWorkData(self, packet: Any) -> Any:  # noqa: N802
        return self._note("data", super().handleWorkData(packet))

    def handleDisconnect(self, job: Any) -> Any:  # noqa: N802
        job.build_lost = True
        return self._note("disconnect", super().handleDisconnect(job))

    def handleStatusRes(self, packet: Any) -> Any:  # noqa: N802
        try:
            job = super().handleStatusRes(packet)
        except gear.UnknownJobError:
            self.unknown += 1
            return None
        return self._note("known" if job.known else "unknown", job)


class Executor(gear.TextWorker):
    """Takes jobs later when it has much to do."""

    delay = 0.001

    def handleNoop(self, packet: Any) -> None:  # noqa: N802
        time.sleep(self.delay)
        super().handleNoop(packet)


def build(job: Any) -> None:
    arguments = json.loads(job.arguments)
    job.sendWorkData(json.dumps({"url": "x"}))
    job.sendWorkStatus(0, 100)
    if arguments.get("fail"):
        job.sendWorkFail()
    else:
        job.sendWorkComplete(json.dumps({"result": "SUCCESS", "unique": job.unique}))


def test_zuul_builds(port: int) -> None:
    with (
        working(port, kind=Executor, name="executor:execute", run=build),
        connected(Scheduler, port) as scheduler,
    ):
        scheduler.waitForServer()
        good = Build("executor:execute", json.dumps({"project": "größe"}), unique="build1")
        scheduler.submitJob(good, precedence=gear.PRECEDENCE_HIGH, timeout=300)
        bad = Build("executor:execute", json.dumps({"fail": True}), unique="build2")
        scheduler.submitJob(bad, precedence=gear.PRECEDENCE_LOW, timeout=300)
        wait_until(lambda: {event for event, _ in scheduler.events} >= {"complete", "fail"}, "both builds end")
        assert [json.loads(data) for data in good.data] == [{"url": "x"}, {"result": "SUCCESS", "unique": "build1"}]
        assert [event for event, job in scheduler.events if job is good] == ["data", "status", "complete"]
        assert [event for event, job in scheduler.events if job is bad] == ["data", "status", "fail"]
        assert good.fraction_complete == 0.0


def test_zuul_cancels_and_looks_after_lost_builds(port: int) -> None:
    with connected(Scheduler, port) as scheduler:
        job = Build("executor:execute", "{}", unique="u")
        scheduler.submitJob(job)
        packet = gear.Packet(gear.constants.REQ, gear.constants.GET_STATUS, job.handle)
        scheduler.sendPacket(packet, job.connection)
        wait_until(lambda: ("known", job) in scheduler.events, "the build is known")
        request = gear.CancelJobAdminRequest(job.handle)
        job.connection.sendAdminRequest(request, timeout=300)
        assert request.response.strip() == b"OK"
        scheduler.sendPacket(gear.Packet(gear.constants.REQ, gear.constants.GET_STATUS, b"H:lost:1"), job.connection)
        wait_until(lambda: scheduler.unknown == 1, "the lost build is unknown")


def test_zuul_asks_every_server_and_gives_up_those_that_fail(port: int) -> None:
    with (
        serving() as other,
        connected(Scheduler, port, other.port) as scheduler,
        working(port, name="build:x") as worker,
    ):
        worker.active_connections[0].echo(timeout=PATIENCE)  # its function is known now
        functions: set[bytes] = set()
        other.handleStatus = lambda request: None  # one that no longer answers
        lost = []
        for connection in scheduler.active_connections[:]:
            request = gear.StatusAdminRequest()
            try:
                connection.sendAdminRequest(request, timeout=1.0)
            except Exception:  # noqa: BLE001  (as it stands there)
                lost.append(connection)
                scheduler._lostConnection(connection)
                continue
            for line in request.response.split(b"\n"):
                parts = [part.strip() for part in line.split(b"\t")]
                if len(parts) > 3 and parts[3] != b"0":
                    functions.add(parts[0])
        assert functions == {b"build:x"}
        assert [connection.port for connection in lost] == [other.port]


def test_zuul_pauses_its_executor(port: int) -> None:
    with connected(lambda: Executor("executor"), port) as worker, client(port) as submitter:
        got: list[Any] = []
        worker.registerFunction("executor:execute")
        worker.setFunctions([])
        thread = threading.Thread(target=lambda: got.append(worker.getJob()))
        thread.start()
        wait_until(lambda: worker.active_connections[0].state == "SLEEP", "it sleeps")
        submitter.submitJob(gear.TextJob("executor:execute", "x"), background=True)
        worker._sendGrabJobUniq()
        worker.active_connections[0].echo(timeout=PATIENCE)
        assert got == []
        worker.registerFunction("executor:execute")
        thread.join(PATIENCE)
        assert got[0].arguments == "x"


def test_zuul_loses_its_server_and_goes_on() -> None:
    first = gear.Server(0)
    with connected(Scheduler, first.port) as scheduler:
        job = Build("f", "")
        scheduler.submitJob(job)
        first.shutdown()
        wait_until(lambda: job.build_lost, "the build is reported")
        with pytest.raises(gear.GearmanError):
            scheduler.submitJob(Build("f", ""))
        with serving(gear.Server, first.port) as second:
            scheduler.waitForServer(PATIENCE)
            again = Build("f", "")
            scheduler.submitJob(again)
            assert second.jobs[again.handle].arguments == b""


# Zuul's and nodepool's tests, on a server of their own.


class FakeServer(gear.Server):
    """Holds builds in the queue until a test releases them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.hold_jobs_in_queue = False
        self.jobs_history: list[Any] = []
        super().__init__(*args, **options)

    def getJobForConnection(self, connection: Any, peek: bool = False) -> Any:  # noqa: N802
        for queue in [self.high_queue, self.normal_queue, self.low_queue]:
            for job in queue:
                self.jobs_history.append(job)
                if not hasattr(job, "waiting"):
                    job.waiting = self.hold_jobs_in_queue and job.name.startswith(b"executor:")
                if job.waiting:
                    continue
                if job.name in connection.functions:
                    if not peek:
                        queue.remove(job)
                        connection.related_jobs[job.handle] = job
                        job.worker_connection = connection
                    job.running = True
                    return job
        return None

    def release(self, regex: str | None = None) -> int:
        released = 0
        for job in self.getQueue():
            if job.name != b"executor:execute" or not getattr(job, "waiting", False):
                continue
            if regex is None or regex in job.unique.decode("utf8"):
                job.waiting = False
                released += 1
                self.wakeConnections(job)
        return released


def test_zuul_tests_hold_and_release_builds() -> None:
    with serving(FakeServer, 0, ssl_key=None, ssl_cert=None, ssl_ca=None) as server:
        server.hold_jobs_in_queue = True
        with (
            working(server.port, kind=gear.TextWorker, name="executor:execute", run=build) as worker,
            connected(Scheduler, server.port) as scheduler,
        ):
            jobs = [Build("executor:execute", "{}", unique=f"build{number}") for number in range(3)]
            for job in jobs:
                scheduler.submitJob(job)
            (connection,) = worker.active_connections
            wait_until(lambda: connection.state == "SLEEP" and worker.waiting_for_jobs == 1, "all is settled")
            wait_until(lambda: all(getattr(job, "waiting", False) for job in server.getQueue()), "all are held")
            assert [server.jobs.get(job.handle).unique for job in jobs] == [b"build0", b"build1", b"build2"]
            assert server.release("build1") == 1
            wait_until(lambda: jobs[1].complete, "the released build is done")
            assert [job.complete for job in jobs] == [False, True, False]
            assert len(server.getQueue()) == 2
            assert sorted(job.handle for job in scheduler.active_connections[0].related_jobs.values()) == sorted(
                job.handle for job in (jobs[0], jobs[2])
            )
            assert server.release() == 2
            wait_until(lambda: all(job.complete for job in jobs), "all are done")
    names = [thread.name for thread in threading.enumerate()]
    assert [name for name in names if name.startswith("Gearman")] == []


def interrupted(worker: Any) -> None:
    """Waits for a job until it is told to stop."""
    with pytest.raises(gear.InterruptedError):
        worker.getJob()


def test_nodepool_waits_for_its_worker_to_ask() -> None:
    with serving() as server, connected(lambda: gear.Worker("w"), server.port) as worker:
        worker.registerFunction("image-build:x")
        states = []
        connection = worker.active_connections[0]
        original = connection.changeState

        def watch(state: str) -> None:
            states.append(state)
            original(state)

        connection.changeState = watch
        thread = threading.Thread(target=interrupted, args=(worker,))
        thread.start()
        wait_until(lambda: connection.state == "SLEEP", "it sleeps")
        worker.stopWaitingForJobs()
        thread.join(PATIENCE)
        assert states == ["GRAB_WAIT", "SLEEP", "IDLE"]


# nodepool, turbo-hipster, apimon, Libra.


class ImageJob(gear.Job):
    """Its client calls these."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[str] = []

    def onCompleted(self) -> None:  # noqa: N802
        self.calls.append("completed")

    def onFailed(self) -> None:  # noqa: N802
        self.calls.append("failed")

    def onDisconnect(self) -> None:  # noqa: N802
        self.calls.append("disconnected")


class ImageClient(gear.Client):
    def handleWorkComplete(self, packet: Any) -> None:  # noqa: N802
        super().handleWorkComplete(packet).onCompleted()

    def handleWorkFail(self, packet: Any) -> None:  # noqa: N802
        super().handleWorkFail(packet).onFailed()

    def handleWorkException(self, packet: Any) -> None:  # noqa: N802
        super().handleWorkException(packet).onFailed()

    def handleDisconnect(self, job: Any) -> None:  # noqa: N802
        super().handleDisconnect(job).onDisconnect()


def test_nodepool_client_calls_its_jobs(port: int) -> None:
    def run(job: Any) -> None:
        (job.sendWorkComplete if job.arguments == b"good" else job.sendWorkFail)()

    with working(port, name="image", run=run), client(port, kind=ImageClient) as submitter:
        jobs = [ImageJob("image", arguments) for arguments in (b"good", b"bad")]
        for job in jobs:
            submitter.submitJob(job)
        wait_until(lambda: all(job.calls for job in jobs), "both were called")
        assert [job.calls for job in jobs] == [["completed"], ["failed"]]


class Hipster(threading.Thread):
    """A worker in a thread that is stopped from another."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.stop_event = threading.Event()
        self.finished: list[bytes] = []
        self.gearman = gear.Worker("hipster")
        self.gearman.addServer(HOST, port)
        self.gearman.waitForServer()
        self.gearman.registerFunction("build:tests")

    def stop(self) -> None:
        self.stop_event.set()
        self.gearman.stopWaitingForJobs()

    def run(self) -> None:
        while not self.stop_event.is_set():
            try:
                job = self.gearman.getJob()
                job.sendWorkData(json.dumps({"work": "started"}).encode("utf8"))
                job.sendWorkStatus(1, 2)
                job.sendWorkComplete(json.dumps({"result": "SUCCESS"}).encode("utf8"))
                self.finished.append(job.arguments)
            except gear.InterruptedError:
                continue
        self.gearman.shutdown()


def test_turbo_hipster_is_stopped_from_outside(port: int) -> None:
    worker = Hipster(port)
    worker.start()
    with client(port) as submitter:
        job = gear.Job("build:tests", b"patch", b"uuid")
        submitter.submitJob(job)
        wait_until(lambda: job.complete, "the tests are done")
    wait_until(lambda: worker.gearman.waiting_for_jobs == 1, "it waits for the next job")
    worker.stop()
    worker.join(PATIENCE)
    assert not worker.is_alive()
    assert worker.finished == [b"patch"]


def test_apimon_publishes_its_own_status() -> None:
    class Scheduling(gear.Server):
        def handleStatus(self, request: Any) -> None:  # noqa: N802
            request.connection.sendRaw(b"paused\t1\t0\t2\n")
            super().handleStatus(request)

    with serving(Scheduling) as server, client(server.port) as submitter:
        request = gear.StatusAdminRequest()
        submitter.getConnection().sendAdminRequest(request, timeout=PATIENCE)
        assert request.response == b"paused\t1\t0\t2\n.\n"


def test_libra_takes_one_server_after_the_other(port: int) -> None:
    """JSON in bytes, several servers in one list, keepalive on, a pause after each lost server."""
    with serving() as other:
        worker = gear.Worker("libra-worker")
        try:
            for one in (port, other.port):
                worker.addServer(HOST, one, keepalive=True, tcp_keepcnt=3, tcp_keepidle=10, tcp_keepintvl=5)
            wait_until(lambda: len(worker.active_connections) == 2, "both are connected")
            worker.registerFunction("libra_pool_mgm")
            for one in (port, other.port):
                with client(one) as submitter:
                    job = gear.Job("libra_pool_mgm", json.dumps({"action": "BUILD"}).encode())
                    submitter.submitJob(job)
                    taken = worker.getJob()
                    taken.arguments = json.loads(taken.arguments.decode())
                    taken.sendWorkComplete(json.dumps(taken.arguments).encode())
                    wait_until(lambda job=job: job.complete, "the job is done")
                    assert json.loads(job.data[0]) == {"action": "BUILD"}
        finally:
            worker.shutdown()


# Jenkins' Gearman plugin, whose worker speaks to these servers: functions with labels, stop and set_description.


def test_jenkins_plugin_functions_and_data(port: int) -> None:
    functions = ["build:job", "build:job:linux", "stop:master", "set_description:master"]
    with connected(lambda: gear.TextWorker("master_exec-0"), port) as worker, client(port) as submitter:
        worker.setFunctions([gear.FunctionRecord(name) for name in functions])
        job = gear.TextJob("build:job:linux", json.dumps({"OFFLINE_NODE_WHEN_COMPLETE": "false"}), "uuid")
        submitter.submitJob(job, precedence=gear.PRECEDENCE_NORMAL)
        running = worker.getJob()
        assert running.name == "build:job:linux"
        running.sendWorkData(json.dumps({"number": 1, "manager": "master"}))
        running.sendWorkStatus(0, 100)
        running.sendWorkStatus(100, 100)
        running.sendWorkComplete(json.dumps({"result": "SUCCESS"}))
        wait_until(lambda: job.complete, "the build is done")
        assert json.loads(job.data[0])["manager"] == "master"
        assert json.loads(job.data[-1]) == {"result": "SUCCESS"}
        assert job.fraction_complete == 1.0


# gearhorn, gearstore: a worker that is a client too.


def test_gearstore_stores_and_forwards(port: int) -> None:
    with client(port) as forwarder:

        def run(job: Any) -> None:
            funcname, payload = job.arguments.split(b"\0", 1)
            forwarder.submitJob(gear.Job(funcname, payload, job.unique), background=True)
            job.sendWorkComplete(b"stored")

        results: list[bytes] = []

        def final(job: Any) -> None:
            results.append(job.arguments)
            job.sendWorkComplete()

        with working(port, name="store", run=run), working(port, name="target", run=final), client(port) as submitter:
            job = gear.Job("store", b"target\0payload", b"unique")
            submitter.submitJob(job)
            wait_until(lambda: results, "the stored job is done")
            assert results == [b"payload"]
            wait_until(lambda: job.complete, "the submitter knows")
            assert job.data == [b"stored"]
