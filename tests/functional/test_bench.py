# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark end to end on small samples: the floor, gearfast, the harness and the command."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("gearfast bench runs on Linux only", allow_module_level=True)

from gearfast import Command, Decoder, Packet, encode
from gearfast.bench import servers
from gearfast.bench.harness import measure
from gearfast.bench.load import Loader, LoadError, Meter, connect
from gearfast.bench.servers import Server, ServerError, compile_floor
from gearfast.bench.traffic import Row, Traffic

JOBS = 300
COMMAND = [sys.executable, "-m", "gearfast", "bench"]


@pytest.fixture(scope="module")
def floor() -> Iterator[Server]:
    with Server("floor") as server:
        yield server


def read_packets(sock: socket.socket, count: int) -> list[Packet]:
    sock.settimeout(30)
    decoder = Decoder()
    packets: list[Packet] = []
    while len(packets) < count:
        data = sock.recv(65536)
        assert data, "closed"
        packets += [packet for packet in decoder.receive(data) if isinstance(packet, Packet)]
    return packets


def take(server: Server, traffic: Traffic) -> tuple[int, float]:
    """Jobs and CPU seconds of one small sample."""
    meter = Meter(server.cpu)
    with Loader(server.address, traffic) as loader:
        return loader.sample(30.0, meter).jobs, meter.seconds


def test_the_floor_relays_a_job(floor: Server) -> None:
    with connect(floor.address) as worker, connect(floor.address) as client:
        worker.sendall(encode(Command.CAN_DO, b"f") + encode(Command.PRE_SLEEP) + encode(Command.ECHO_REQ, b"!"))
        assert [packet.name for packet in read_packets(worker, 1)] == ["ECHO_RES"]
        client.sendall(encode(Command.SUBMIT_JOB, b"f", b"u", b"work\0load"))
        (created,) = read_packets(client, 1)
        assert read_packets(worker, 1)[0].name == "NOOP"
        worker.sendall(encode(Command.GRAB_JOB_ALL))
        (assigned,) = read_packets(worker, 1)
        assert assigned.args == (*created.args, b"f", b"u", b"", b"work\0load")
        worker.sendall(encode(Command.WORK_COMPLETE, *created.args, b"done") + encode(Command.GRAB_JOB))
        assert read_packets(client, 1)[0].args == (*created.args, b"done")
        assert read_packets(worker, 1)[0].name == "NO_JOB"


@pytest.mark.parametrize("kind", ["floor", "gearfast"])
@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(limit=JOBS),
        Traffic(clients=4, workers=4, window=16, limit=JOBS),
        Traffic(clients=2, workers=2, window=16, grabs=8, functions=50, target=49, uniques=True, grab=30, limit=JOBS),
        Traffic(clients=2, workers=2, window=4, payload=65_536, limit=JOBS),
        Traffic(clients=2, workers=2, window=16, kind="background", limit=JOBS),
        Traffic(clients=2, workers=2, window=16, kind="background", phase="submit", grabs=4, limit=JOBS),
        Traffic(clients=2, workers=2, window=16, kind="background", phase="drain", grabs=4, limit=JOBS),
        Traffic(clients=2, workers=1, kind="connect", limit=JOBS),
        Traffic(clients=2, workers=0, window=16, kind="echo", limit=JOBS),
        Traffic(clients=2, workers=2, window=64, rate=20_000.0, idle=20, limit=JOBS),
    ],
    ids=["one", "many", "grabs", "large", "background", "submit", "drain", "connect", "echo", "paced"],
)
def test_every_kind_of_traffic_is_counted_exactly(kind: str, traffic: Traffic, request: pytest.FixtureRequest) -> None:
    if kind == "floor":
        jobs, seconds = take(request.getfixturevalue("floor"), traffic)
    else:
        with Server(kind) as server:
            jobs, seconds = take(server, traffic)
    assert jobs == JOBS
    assert seconds > 0


@pytest.mark.parametrize("kind", ["floor", "gearfast"])
def test_unix_sockets(kind: str) -> None:
    with Server(kind, unix=True) as server:
        assert server.address.startswith("/")
        assert take(server, Traffic(limit=JOBS))[0] == JOBS


def test_samples_follow_each_other_on_the_same_connections(floor: Server) -> None:
    meter = Meter(floor.cpu)
    with Loader(floor.address, Traffic(clients=2, workers=2, window=4, limit=JOBS)) as loader:
        assert [loader.sample(30.0, meter).jobs for _ in range(3)] == [JOBS] * 3


def test_a_server_that_goes_away_is_an_error() -> None:
    with Server("floor") as server, Loader(server.address, Traffic()) as loader:
        server.close()
        with pytest.raises(LoadError):
            loader.sample(1.0, Meter(lambda: 0.0))


def test_a_server_with_a_store_of_its_own() -> None:
    traffic = Traffic(kind="background", phase="submit", limit=JOBS, store=True)
    with Server("gearfast=memory://bench", store=True) as server, Loader(server.address, traffic) as loader:
        assert loader.sample(30.0, Meter(server.cpu)).jobs == JOBS
    with pytest.raises(ServerError), Server("gearfast=oracle://bench", store=True):
        pass


def test_a_server_never_has_the_port_of_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It chooses its own: one that was free a moment ago may be somebody else's by then."""
    with Server("gearfast") as taken:
        port = int(taken.address.rpartition(":")[2])
        monkeypatch.setattr(servers, "_free_port", lambda: port)
        with Server("gearfast") as server:
            assert server.address != taken.address


def test_servers_that_cannot_be_started_say_why(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="unknown server"):
        Server("nothing")
    with pytest.raises(ServerError, match="source is missing"):
        compile_floor(tmp_path, tmp_path / "floor.c")
    (tmp_path / "floor.c").write_text("int main(void) { return wrong; }\n")
    with pytest.raises(ServerError, match="does not compile"):
        compile_floor(tmp_path, tmp_path / "floor.c")


def test_rounds_give_every_server_the_same_samples() -> None:
    rows = [
        Row("a", "one", Traffic(limit=50), "pair"),
        Row("b", "the other", Traffic(limit=50, functions=5), "pair"),
    ]
    with Server("gearfast") as server:
        other = f"{server.address}@{server.pid}"
        results = measure(rows, ["floor", other, "nothing"], pairs=3, seconds=30.0)
    assert {row: {name: len(values) for name, values in found.items()} for row, found in results.samples.items()} == {
        "a": {"floor": 3, other: 3},
        "b": {"floor": 3, other: 3},
    }
    assert [problem.split(":")[0] for problem in results.problems] == ["a on nothing", "b on nothing"]
    assert results.ratio("b", other, "floor", "a") is not None


def test_the_command_measures_and_writes_its_samples(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    done = subprocess.run(
        [*COMMAND, "--rows=fg-1x1", "--servers=gearfast,floor", "--pairs=2", "--seconds=0.02", f"--json={path}"],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert "x floor" in done.stdout
    data = json.loads(path.read_text())
    assert {name: len(values) for name, values in data["samples"]["fg-1x1"].items()} == {"gearfast": 2, "floor": 2}
    assert data["problems"] == []


def test_the_command_lists_rows_and_refuses_others() -> None:
    listed = subprocess.run([*COMMAND, "--list"], capture_output=True, text=True)
    assert "fg-4x4-64" in listed.stdout
    refused = subprocess.run([*COMMAND, "--rows", "fg-9x9"], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "unknown row fg-9x9" in refused.stderr
    refused = subprocess.run(
        [*COMMAND, "--rows", "fg-1x1", "--servers", "gearfst,floor"], capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "unknown server gearfst: gearfast[=URL], floor, gearmand" in refused.stderr
