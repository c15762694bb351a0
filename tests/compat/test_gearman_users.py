# SPDX-License-Identifier: BSD-3-Clause
"""Programs that use the old libraries, by the calls that they make: only the import is another one.

The patterns are those of Archivematica, OpenVDM, Datadog's check, Freesound, feedlark, Rucio, plugins for Zabbix and
Nagios, django-gearman and gmtasks, rebuilt here without their code.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import gearfast

from ..functional.servers import PATIENCE, ServerProcess, clean_environment
from .programs import TURN, Running, installed, worker_for, working


class JsonEncoder:
    """As Archivematica's: JSON in both directions."""

    @staticmethod
    def encode(encodable_object: Any) -> bytes:
        return json.dumps(encodable_object).encode()

    @staticmethod
    def decode(decodable_string: bytes) -> Any:
        return json.loads(decodable_string.decode())


# --- Archivematica ---------------------------------------------------------------------------------------------------


def archivematica_worker(gearman: Any, hosts: list[str], leave: threading.Event) -> Any:
    """Bytes for names, partials for callbacks, an Event read by after_poll, failures told as results."""

    class MCPWorker(gearman.GearmanWorker):  # type: ignore[misc]
        data_encoder = JsonEncoder

        def __init__(self, host_list: list[str]) -> None:
            self.shutdown_event = leave
            super().__init__(host_list)
            self.set_client_id(b"client_1")
            self.register_task(b"approve", functools.partial(self.call, "approve"))
            self.register_task(b"explode", functools.partial(self.call, "explode"))

        def call(self, name: str, worker: Any, job: Any) -> Any:
            assert isinstance(job.unique.decode(), str)
            if name == "explode":
                raise RuntimeError(job.data["why"])
            return {"name": name, "uuid": job.unique.decode(), **job.data}

        def after_poll(self, any_activity: bool) -> bool:
            return not self.shutdown_event.is_set()

        def on_job_exception(self, current_job: Any, exc_info: Any) -> Any:
            self.send_job_data(current_job, {"error": str(exc_info[1])})
            return super().on_job_exception(current_job, exc_info)

    return MCPWorker(hosts)


def archivematica_loop(gearman: Any, worker: Any, leave: threading.Event) -> None:
    while not leave.is_set():
        try:
            worker.work(poll_timeout=TURN)
        except gearman.errors.ServerUnavailable as error:
            logging.getLogger("mcp").error("Gearman server is unavailable: %s", error)


def archivematica_client(gearman: Any, hosts: list[str]) -> Any:
    class MCPGearmanClient(gearman.GearmanClient):  # type: ignore[misc]
        data_encoder = JsonEncoder

    return MCPGearmanClient(hosts)


def test_archivematica(gearman: Any, job_server: ServerProcess) -> None:
    leave = threading.Event()
    worker = archivematica_worker(gearman, [job_server.address], leave)
    running = Running(lambda: archivematica_loop(gearman, worker, leave))
    client = archivematica_client(gearman, [job_server.address])
    try:
        response = client.submit_job(b"approve", {"user": 1}, unique=b"abc")
        assert response.state == gearman.JOB_COMPLETE
        assert response.result == {"name": "approve", "uuid": "abc", "user": 1}
        assert client.submit_job(b"approve", {}).result["name"] == "approve"
        response = client.submit_job(b"explode", {"why": "because"}, poll_timeout=PATIENCE)
        assert response.state == gearman.JOB_FAILED
        assert list(response.data_updates) == [{"error": "because"}]
        late = client.submit_job(b"nobody", {}, poll_timeout=0.05)
        assert late.state == gearman.JOB_CREATED  # "timed out"
    finally:
        leave.set()
        running.join()
        client.shutdown()
        worker.shutdown()


def test_archivematica_waits_for_a_batch_by_itself(gearman: Any, job_server: ServerProcess) -> None:
    leave = threading.Event()
    client = archivematica_client(gearman, [job_server.address])
    batch = []
    for number in range(5):
        batch.append(
            client.submit_job(
                task=b"approve",
                data={"number": number},
                unique=f"task-{number}".encode(),
                wait_until_complete=False,
                background=False,
                max_retries=10,
            )
        )
        assert batch[-1].state == gearman.JOB_CREATED
    client.wait_until_jobs_accepted(batch)
    worker = archivematica_worker(gearman, [job_server.address], leave)
    running = Running(lambda: archivematica_loop(gearman, worker, leave))

    def incomplete(any_activity: bool) -> bool:
        return any(not request.complete and request.state != gearman.job.JOB_UNKNOWN for request in batch)

    client.poll_connections_until_stopped(client.connection_list, incomplete, timeout=PATIENCE)
    for request in batch:
        request.timed_out = not request.complete
        client.request_to_rotating_connection_queue.pop(request, None)
    leave.set()
    running.join()
    assert [request.result["number"] for request in batch] == [0, 1, 2, 3, 4]
    client.shutdown()
    worker.shutdown()


# --- OpenVDM ---------------------------------------------------------------------------------------------------------


def openvdm_worker(python3_gearman: Any, address: str) -> Any:
    class OVDMGearmanWorker(python3_gearman.GearmanWorker):  # type: ignore[misc]
        def __init__(self) -> None:
            self.stop = False
            super().__init__(host_list=[address])
            self.register_task("transfer", self.transfer)
            self.register_task("test", lambda worker, job: worker.make(job))

        def transfer(self, worker: Any, job: Any) -> str:
            """Submits jobs itself, and waits for them in the callback."""
            worker.send_job_status(job, 1, 10)
            client = python3_gearman.GearmanClient([address])
            jobs = [{"task": "part", "data": part} for part in json.loads(job.data)["parts"]]
            requests = client.submit_multiple_jobs(jobs, background=False, wait_until_complete=False)
            client.wait_until_jobs_completed(requests)
            worker.send_job_status(job, 10, 10)
            client.shutdown()
            return json.dumps({"parts": [request.result for request in requests]})

        def make(self, job: Any) -> str:
            raise OSError("no such folder")

        def on_job_execute(self, current_job: Any) -> Any:
            self.current = json.loads(current_job.data)
            return super().on_job_execute(current_job)

        def on_job_exception(self, current_job: Any, exc_info: Any) -> Any:
            self.send_job_data(current_job, json.dumps([{"partName": "Worker crashed", "result": "Fail"}]))
            return super().on_job_exception(current_job, exc_info)

        def on_job_complete(self, current_job: Any, job_result: Any) -> Any:
            result = json.loads(job_result)
            assert isinstance(result, dict)
            return super().send_job_complete(current_job, job_result)

        def after_poll(self, any_activity: bool) -> bool:
            return not self.stop

    return OVDMGearmanWorker()


def test_openvdm(job_server: ServerProcess) -> None:
    python3_gearman = importlib.import_module("gearfast.compat.python3_gearman")
    parts = worker_for(python3_gearman, job_server, part=lambda worker, job: job.data.upper())
    worker = openvdm_worker(python3_gearman, job_server.address)
    with working(parts), working(worker):
        client = python3_gearman.GearmanClient([job_server.address])
        request = client.submit_job("transfer", json.dumps({"parts": ["a", "ü"]}), poll_timeout=PATIENCE)
        crashed = client.submit_job("test", "{}", poll_timeout=PATIENCE)
        client.shutdown()
    assert json.loads(request.result) == {"parts": ["A", "Ü"]}
    assert (request.status["numerator"], request.status["denominator"]) == (10, 10)
    assert crashed.state == "FAILED"
    assert json.loads(crashed.data_updates.popleft())[0]["result"] == "Fail"


STOPPED_BY_A_SIGNAL = """
import signal, sys
import python3_gearman

class Worker(python3_gearman.GearmanWorker):
    stop = False

    def after_poll(self, any_activity):
        return not self.stop

worker = Worker(host_list=[sys.argv[1]])
worker.register_task("f", lambda worker, job: job.data)

def stop(number, frame):
    worker.stop = True
    worker.shutdown()

signal.signal(signal.SIGTERM, stop)
try:
    worker.work()
except python3_gearman.errors.ServerUnavailable:
    pass
print("left")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_openvdm_is_stopped_by_a_signal(job_server: ServerProcess, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(STOPPED_BY_A_SIGNAL)
    command = [sys.executable, "-m", "gearfast.compat", str(script), job_server.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
        try:
            job_server.wait_for("f", workers=1)
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=PATIENCE)[0] == "left\n"
        finally:
            process.kill()


# --- monitoring ------------------------------------------------------------------------------------------------------


def test_datadog_keeps_one_admin_client(job_server: ServerProcess) -> None:
    python3_gearman = importlib.import_module("gearfast.compat.python3_gearman")
    assert isinstance(python3_gearman.__version__, str)
    clients: dict[Any, Any] = {}
    for _ in range(5):
        key = (job_server.host, job_server.port)
        if key not in clients:
            clients[key] = python3_gearman.GearmanAdminClient([f"{key[0]}:{key[1]}"])
        client = clients[key]
        tasks = client.get_status()
        running = sum(task["running"] for task in tasks[:100])
        version = client.get_version()
        assert version.startswith("OK ")
        assert (running, len(version.split(" "))) == (0, 2)
    client.shutdown()


def test_rucio_zabbix_nagios(gearman: Any, job_server: ServerProcess) -> None:
    admin = gearman.admin_client.GearmanAdminClient([job_server.address], 5.0)
    assert admin.ping_server() > 0
    for line in admin.get_status():
        assert {"task", "queued", "running", "workers"} <= set(line)
    with pytest.raises(gearman.admin_client.ServerUnavailable):
        gearman.admin_client.GearmanAdminClient(["127.0.0.1:1"]).get_workers()
    admin.shutdown()


# --- programs of Python 2 --------------------------------------------------------------------------------------------


def test_freesound_feedlark_and_scripts(gearman: Any, job_server: ServerProcess) -> None:
    worker = gearman.GearmanWorker([job_server.address])
    worker.data_encoder = JsonEncoder  # on the instance
    seen: list[Any] = []

    def analyze(gearman_worker: Any, gearman_job: Any) -> str:
        seen.append(gearman_job.data)
        return "true"

    worker.register_task("analyze_sound", analyze)
    client = gearman.GearmanClient([job_server.address])
    done = threading.Event()
    worker.after_job = lambda: not done.is_set()
    with working(worker):
        client.submit_job(
            "analyze_sound",
            json.dumps(4711),
            wait_until_complete=False,
            background=True,
            priority=gearman.PRIORITY_HIGH,
        )
        request = client.submit_job("analyze_sound", json.dumps({"id": 1}), poll_timeout=PATIENCE)
    client.shutdown()
    assert request.result == b'"true"'
    assert seen == [4711, {"id": 1}]


def test_a_patched_submit_job(job_server: ServerProcess) -> None:
    with installed("gearman"), mock.patch("gearman.GearmanClient.submit_job") as submit_job:
        client = importlib.import_module("gearman").GearmanClient(["nowhere:1"])
        client.submit_job("f", "x", background=True)
    submit_job.assert_called_once_with("f", "x", background=True)


def test_django_gearman(gearman: Any, job_server: ServerProcess) -> None:
    """Subclasses of all three, and all arguments by position."""

    class PickleDataEncoder(gearman.DataEncoder):  # type: ignore[misc]
        @classmethod
        def encode(cls, encodable_object: Any) -> bytes:
            return repr(encodable_object).encode()

        @classmethod
        def decode(cls, decodable_string: bytes) -> Any:
            return decodable_string.decode()

    class DjangoGearmanClient(gearman.GearmanClient):  # type: ignore[misc]
        data_encoder = PickleDataEncoder

        def __call__(self, func: str, arg: Any, *options: Any) -> Any:
            return super().submit_job(func, arg, *options)

    class DjangoGearmanWorker(gearman.GearmanWorker):  # type: ignore[misc]
        data_encoder = PickleDataEncoder

    worker = DjangoGearmanWorker([job_server.address])
    worker.register_task("app.f", lambda worker, job: job.data)
    client = DjangoGearmanClient([job_server.address])
    with working(worker):
        request = client("app.f", ("x",), None, None, False, True, 0, PATIENCE)
    assert request.result == repr(repr(("x",)))
    client.shutdown()


def test_gmtasks(gearman: Any, job_server: ServerProcess) -> None:
    """A job that means the worker to end: shutdown in the callback, and the job is queued again."""
    worker = gearman.GearmanWorker([job_server.address])
    worker.register_task("stop", lambda worker, job: worker.shutdown())
    client = gearman.GearmanClient([job_server.address])
    client.submit_job("stop", "", background=True, poll_timeout=PATIENCE)
    with pytest.raises(gearman.errors.ServerUnavailable):
        worker.work()
    job_server.wait_for("stop", total=1, running=0, workers=0)
    client.shutdown()


# --- the same programs through the shim, in processes of their own ---------------------------------------------------

PROGRAM = """
import json, sys
import gearman
from gearman.errors import ServerUnavailable
from gearman.job import JOB_COMPLETE
from gearman.connection_manager import DataEncoder

class Worker(gearman.GearmanWorker):
    done = 0
    def after_job(self):
        self.done += 1
        return self.done < 1

if sys.argv[2] == "worker":
    worker = Worker([sys.argv[1]])
    worker.register_task("reverse", lambda worker, job: job.data[::-1])
    worker.work()
else:
    client = gearman.GearmanClient([sys.argv[1]])
    request = client.submit_job("reverse", "desserts", poll_timeout=60)
    print(request.result.decode(), request.state == JOB_COMPLETE)
    client.shutdown()
"""


def test_a_client_and_a_worker_in_processes(job_server: ServerProcess, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    base = [sys.executable, "-W", "error", "-m", "gearfast.compat", "--as", "gearman", str(script), job_server.address]
    environment = {**clean_environment(), "PYTHONPATH": str(Path(gearfast.__file__).parents[1])}
    with subprocess.Popen([*base, "worker"], env=environment) as worker:
        try:
            command = [*base, "client"]
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True
            )
            assert worker.wait(PATIENCE) == 0
        finally:
            worker.kill()
    assert (done.stdout, done.stderr) == ("stressed True\n", "")
