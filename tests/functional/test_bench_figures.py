# SPDX-License-Identifier: BSD-3-Clause
"""What is no row of the benchmark: memory, long queues, jobs in lock step, and what a worker with credits sends."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("gearfast bench runs on Linux only", allow_module_level=True)

from gearfast import Decoder, Packet, Worker
from gearfast.bench import compaction, durable, takeover
from gearfast.bench.instructions import run_in_step
from gearfast.bench.load import Loader, Meter
from gearfast.bench.memory import connection_memory, function_memory, queue_grabs, queue_memory
from gearfast.bench.servers import Server
from gearfast.bench.traffic import ROWS, Traffic

from .fault_proxy import Listener
from .servers import HOST, PATIENCE, wait_until

JOBS = 40
Start = Callable[["Recorder", str], contextlib.AbstractContextManager[None]]


class Recorder(Listener):
    """Relays to the server at `port` and counts the packets of both directions by name."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.packets: Counter[str] = Counter()
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        server = self._keep(socket.create_connection((HOST, self.target), PATIENCE))
        server.settimeout(None)
        self._start(self._relay, server, connection)
        self._relay(connection, server)

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        decoder = Decoder()
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                packets = [packet for packet in decoder.receive(data) if isinstance(packet, Packet)]
                self.packets.update(packet.name.removesuffix("_ALL").removesuffix("_UNIQ") for packet in packets)
                sink.sendall(data)


@contextlib.contextmanager
def python_worker(recorder: Recorder, function: str) -> Iterator[None]:
    """gearfast's own worker, behind the recorder."""
    worker = Worker(recorder.address)
    worker.register(function, lambda job: job.workload)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join()


@contextlib.contextmanager
def generated_worker(recorder: Recorder, function: str) -> Iterator[None]:
    """The load generator's worker of the row credits-1x1, behind the recorder."""
    traffic = Traffic(clients=0, credits=ROWS["credits-1x1"].traffic.credits)
    with Loader(recorder.address, traffic, prefix=function.removesuffix("-0")):
        yield


def run_jobs(server: Server, loader: Loader, recorder: Recorder) -> Counter[str]:
    """Runs jobs one at a time; the packets of the worker's connection, when it waits for the next job again."""
    before = Counter(recorder.packets)
    assert loader.sample(PATIENCE, Meter(server.cpu)).jobs == JOBS
    finished = before["WORK_COMPLETE"] + JOBS
    wait_until(lambda: recorder.packets["GRAB_JOB"] > finished, "the last grab")
    return recorder.packets - before


@pytest.mark.parametrize("start", [python_worker, generated_worker], ids=["Worker", "load generator"])
def test_a_worker_with_credits_sends_a_result_and_a_grab_for_each_job_and_nothing_else(start: Start) -> None:
    with (
        Server("gearfast") as server,
        Recorder(int(server.address.rpartition(":")[2])) as recorder,
        start(recorder, "bench-0"),
        Loader(server.address, Traffic(workers=0, limit=JOBS)) as loader,
    ):
        run_jobs(server, loader, recorder)  # until the first job the worker has to find out what its server can do
        assert run_jobs(server, loader, recorder) == {"JOB_ASSIGN": JOBS, "WORK_COMPLETE": JOBS, "GRAB_JOB": JOBS}


def test_paused_workers_take_as_many_jobs_as_they_are_told() -> None:
    with Server("floor") as server:
        traffic = Traffic(clients=2, workers=2, window=8, kind="background", grabs=4)
        with Loader(server.address, traffic) as loader:
            meter = Meter(server.cpu)
            loader.fill(100)
            assert loader.take(30, meter) == 30
            assert meter.seconds > 0
            loader.fill(10)
            assert loader.take(5, meter) == 5
            loader.resume()
            loader.settle(75)


@pytest.mark.parametrize("name", ["floor", "gearfast"])
@pytest.mark.parametrize("row", ["fg-4x4-64", "bg-8x4-64", "grabs16-4x4-64", "submit-only", "payload64k-4x4-4"])
def test_server_and_load_in_lock_step_do_every_job(name: str, row: str) -> None:
    with Server(name) as server:
        before = server.cpu()
        run_in_step(server, ROWS[row].traffic, 200)
        assert server.cpu() > before


def test_memory_of_functions_and_connections() -> None:
    function, registration = function_memory("gearfast", 5_000)
    assert 20 < registration < 1_000
    assert 20 < function < 1_000
    assert 4_000 <= connection_memory("floor", 500) < 6_000  # twice the ECHO and its head


def test_memory_of_queued_jobs() -> None:
    plain, unique = (queue_memory("gearfast", 50_000, uniques=uniques) for uniques in (False, True))
    assert 32 < plain < unique < 1_000


def test_a_long_queue_is_filled_grabbed_from_and_emptied() -> None:
    found: dict[str, list[float]] = {}
    for name, value in queue_grabs("gearfast", 20_000, samples=2, taken=1_000):
        found.setdefault(name, []).append(value)
    assert {name: len(values) for name, values in found.items()} == {"": 1, "grab": 2, "grab-us": 2, "given-back": 1}
    assert all(value > 0 for value in (*found["grab"], *found["grab-us"]))
    assert found["given-back"][0] <= 1


def test_tls_and_credits_are_rows_like_others() -> None:
    for traffic in (Traffic(tls=True, limit=JOBS), Traffic(credits=True, limit=JOBS), Traffic(others=50, limit=JOBS)):
        with Server("gearfast", tls=traffic.tls) as server, Loader(server.address, traffic) as loader:
            assert loader.sample(PATIENCE, Meter(server.cpu)).jobs == JOBS


def test_a_run_goes_on_where_it_was_left(tmp_path: Path) -> None:
    path, page = tmp_path / "bench.json", tmp_path / "page.md"
    command = [sys.executable, "-m", "gearfast", "bench", "--servers=gearfast,floor", "--pairs=1", "--seconds=0.02"]
    command += [f"--json={path}", "--resume", f"--markdown={page}"]
    rows = []
    for row in ("fg-32x32", "echo-*,fg-32x32"):
        done = subprocess.run([*command, f"--rows={row}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        rows.append(json.loads(path.read_text())["samples"])
        assert list(rows[-1]) == (["fg-32x32"] if len(rows) == 1 else ["fg-32x32", "echo-4-64"])
    assert rows[0]["fg-32x32"] == rows[1]["fg-32x32"]
    assert "| `echo-4-64` |" in page.read_text()


def test_a_long_run_of_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So short that nothing is rewritten: what it tells is looked at, not the bars."""
    result = tmp_path / "result.json"
    compaction.main(["--minutes", "0.02", "--queue", "500", "--rate", "2000", "--json", str(result)])
    found = json.loads(result.read_text("utf-8"))
    assert found["jobs"] > 0
    assert found["queued"] >= 500
    assert 64 * found["queued"] < found["live"] < found["file"]
    assert 0 < found["waits_ms"]["p50"] <= found["waits_ms"]["p99.9"] <= found["waits_ms"]["max"]
    assert f"{found['jobs']:,} jobs, {found['queued']:,} queued" in capsys.readouterr().out


def test_what_a_figure_had_open_is_closed_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), durable.running(tmp_path) as (server, link):
        raise ZeroDivisionError
    assert link.sock.fileno() == -1
    assert server.returncode is not None


def test_a_takeover(database_url: Callable[[str], str], capsys: pytest.CaptureFixture[str]) -> None:
    takeover.main([database_url("postgresql"), "--jobs", "3000", "--lease", "1"])
    assert re.fullmatch(r"3,000 jobs were there -?\d+\.\d\d s after the end of the lease\n", capsys.readouterr().out)


def test_durable_latency_and_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "COMMITS", 5)
    ours, bare, rested = durable.commit_latency(2)
    assert len(ours) == len(bare) == len(rested) == 2
    assert min(*ours, *bare, *rested) > 0
    first, whole = durable.comes_back(10_000)
    assert 0 < first <= whole
