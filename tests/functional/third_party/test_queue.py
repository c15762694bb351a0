# SPDX-License-Identifier: BSD-3-Clause
"""The queue as other people's clients and workers see it: order, joining, status, lost workers, crowds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from ..servers import ServerProcess
from .peers import EVERY_BYTE, PAIR_IDS, PAIRS, Client, CommandWorker, Request, Worker, acting, b64, completing, unused

MakeClient = Callable[[str, ServerProcess], Client]
MakeWorker = Callable[..., Worker]


@pytest.fixture(params=PAIRS, ids=PAIR_IDS)
def pair(request: pytest.FixtureRequest) -> tuple[str, str]:
    client, worker = request.param
    return client, worker


@pytest.fixture
def client_language(pair: tuple[str, str]) -> str:
    return pair[0]


@pytest.fixture
def worker_language(pair: tuple[str, str]) -> str:
    return pair[1]


@pytest.fixture
def prefix() -> str:
    return unused("q") + "."


@pytest.fixture
def client(client_language: str, server: ServerProcess, make_client: MakeClient) -> Client:
    return make_client(client_language, server)


# Order.


def test_priorities_then_age(
    server: ServerProcess, client: Client, worker_language: str, make_worker: MakeWorker, prefix: str
) -> None:
    for priority in ("low", "normal", "high", "low", "normal", "high"):
        workload = acting(["note", priority], completing(b"done"))
        client.background(Request(prefix + "act", workload, priority=priority))
    worker = make_worker(worker_language, server, prefix)
    notes = [worker.event("note") for _ in range(6)]
    assert [note["text"] for note in notes] == ["high", "high", "normal", "normal", "low", "low"]
    # Each pair in the order of submission, which shows in the numbers of the handles.
    numbers = [int(note["handle"].rsplit(":", 1)[1]) for note in notes]
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        assert first < second


# Joining by unique.


def test_clients_with_the_same_unique_share_a_job(
    server: ServerProcess, worker_language: str, make_client: MakeClient, make_worker: MakeWorker, prefix: str
) -> None:
    clients = [make_client(language, server) for language in ("php", "perl", "gearfast")]
    clients[0].begin(Request(prefix + "hold", b"first", unique=prefix))
    server.wait_for(prefix + "hold", total=1)
    for n, client in enumerate(clients[1:]):
        client.begin(Request(prefix + "hold", f"ignored {n}".encode(), unique=prefix))
    worker = make_worker(worker_language, server, prefix)
    start = worker.event("start")
    assert start["workload"] == b64(b"first")
    server.wait_for_clients(prefix, 3)
    assert server.function(prefix + "hold").total == 1
    worker.order(["status", 1, 2], ["data", b64(b"part")], completing(b"shared"))
    seen = [client.outcomes()[0] for client in clients]
    assert {outcome.handle for outcome in seen} == {start["handle"]}
    assert {(outcome.state, outcome.result, outcome.data) for outcome in seen} == {("complete", b"shared", (b"part",))}
    assert {outcome.statuses for outcome in seen} == {((1, 2),)}


def test_another_unique_or_function_is_another_job(server: ServerProcess, client: Client, prefix: str) -> None:
    handles = {
        client.background(Request(prefix + function, b"x", unique=unique))
        for function, unique in (("a", "u"), ("a", "U"), ("b", "u"), ("a", "u"))
    }
    assert len(handles) == 3
    assert server.function(prefix + "a").total == 2


def test_background_joins_foreground(
    server: ServerProcess, client: Client, make_client: MakeClient, make_worker: MakeWorker, prefix: str
) -> None:
    client.begin(Request(prefix + "hold", b"x", unique="both"))
    server.wait_for(prefix + "hold", total=1)
    handle = make_client("php", server).background(Request(prefix + "hold", b"y", unique="both"))
    worker = make_worker("php", server, prefix)
    start = worker.event("start")
    assert (start["handle"], start["unique"]) == (handle, "both")
    worker.order(completing(b"done"))
    [outcome] = client.outcomes()
    assert (outcome.handle, outcome.result) == (handle, b"done")
    assert server.function(prefix + "hold").total == 0


# Status.


def test_status_from_queue_to_end(
    server: ServerProcess, client: Client, worker_language: str, make_worker: MakeWorker, prefix: str
) -> None:
    handle = client.background(Request(prefix + "hold", b"x"))
    assert client.status(handle) == (1, 0, 0, 0)
    worker = make_worker(worker_language, server, prefix)
    worker.event("start")
    assert client.status(handle) == (1, 1, 0, 0)
    worker.order(["status", 30, 100], ["note", "sent"])
    worker.event("note")
    # The worker's next packet on the same connection comes after its status, but the client's may overtake both.
    while (status := client.status(handle)) == (1, 1, 0, 0):
        pass
    assert status == (1, 1, 30, 100)
    worker.order(completing(b"done"))
    server.wait_for(prefix + "hold", total=0)
    assert client.status(handle)[:2] == (0, 0)


def test_status_by_unique(
    server: ServerProcess, make_client: MakeClient, worker_language: str, make_worker: MakeWorker, prefix: str
) -> None:
    php, waiting, unique = make_client("php", server), make_client("perl", server), unused("unique")
    assert php.call("status_unique", unique=unique)["status"][:2] == [0, 0]
    waiting.begin(Request(prefix + "hold", b"x", unique=unique))
    server.wait_for(prefix + "hold", total=1)
    assert php.call("status_unique", unique=unique)["status"] == [1, 0, 0, 0]
    worker = make_worker(worker_language, server, prefix)
    worker.event("start")
    assert php.call("status_unique", unique=unique)["status"] == [1, 1, 0, 0]
    worker.order(completing(b"done"))
    assert waiting.outcomes()[0].state == "complete"
    assert php.call("status_unique", unique=unique)["status"][:2] == [0, 0]


def test_unknown_handle(client: Client) -> None:
    assert client.status("H:nowhere:1")[:2] == (0, 0)


def test_perl_reads_the_status_of_functions(server: ServerProcess, make_client: MakeClient, prefix: str) -> None:
    perl = make_client("perl", server)
    perl.background(Request(prefix + "a", b"x"))
    counts = perl.call("server_status")["status"][prefix + "a"]
    assert {name: int(count) for name, count in counts.items()} == {"queued": 1, "running": 0, "capable": 0}


def test_php_pings(server: ServerProcess, make_client: MakeClient) -> None:
    php = make_client("php", server)
    assert php.call("ping", Request("", EVERY_BYTE, times=4096))["ping"] is True


# Workers that go.


def test_killed_worker_passes_its_job_on(
    server: ServerProcess, client: Client, worker_language: str, make_worker: MakeWorker, prefix: str
) -> None:
    first = make_worker(worker_language, server, prefix)
    client.begin(Request(prefix + "hold", EVERY_BYTE * 10))
    started = first.event("start")
    second = make_worker("perl" if worker_language == "php" else "php", server, prefix)
    server.wait_for(prefix + "hold", running=1, workers=2)
    first.kill()
    again = second.event("start")
    assert (again["handle"], again["workload"]) == (started["handle"], b64(EVERY_BYTE * 10))
    second.order(completing(b"done by another"))
    [outcome] = client.outcomes()
    assert (outcome.state, outcome.result) == ("complete", b"done by another")
    assert outcome.handle == started["handle"]


def test_job_of_a_killed_worker_waits_for_the_next(
    server: ServerProcess, client: Client, worker_language: str, make_worker: MakeWorker, prefix: str
) -> None:
    client.begin(Request(prefix + "hold", b"precious"))
    for _ in range(3):
        worker = make_worker(worker_language, server, prefix)
        start = worker.event("start")
        assert start["workload"] == b64(b"precious")
        worker.order(["data", b64(b"again ")], ["note", "sent"])
        worker.event("note")
        worker.kill()
        server.wait_for(prefix + "hold", total=1, running=0, workers=0)
    last = make_worker(worker_language, server, prefix)
    last.event("start")
    last.order(completing(b"at last"))
    [outcome] = client.outcomes()
    assert (outcome.state, outcome.result) == ("complete", b"at last")
    assert outcome.data == (b"again ",) * 3


# gearmand runs its timers in another thread than its queue; it often forgets the second worker after a time-out.
@pytest.mark.parametrize("server", ["gearfast"], indirect=True)
@pytest.mark.parametrize("pair", [("perl", "php"), ("php", "perl"), ("php", "gearfast")], indirect=True, ids="-".join)
def test_time_out_of_a_function_passes_the_job_on(
    server: ServerProcess, client: Client, worker_language: str, make_worker: MakeWorker, prefix: str
) -> None:
    slow = make_worker(worker_language, server, prefix, 1000)  # milliseconds, the least that servers take
    client.begin(Request(prefix + "hold", b"x"))
    handle = slow.event("start")["handle"]
    other = make_worker("php", server, prefix)
    assert other.event("start")["handle"] == handle
    other.order(completing(b"in time"))
    [outcome] = client.outcomes()
    assert (outcome.state, outcome.result) == ("complete", b"in time")


# Clients that go.


def test_job_of_a_killed_client_is_dropped(
    server: ServerProcess, client: Client, make_client: MakeClient, make_worker: MakeWorker, prefix: str
) -> None:
    client.begin(Request(prefix + "act", acting(["note", "nobody waits"], completing(b"x"))))
    server.wait_for(prefix + "act", total=1)
    client.kill()
    make_client("php", server).background(Request(prefix + "act", acting(["note", "wanted"], completing(b"x"))))
    worker = make_worker("php", server, prefix)
    assert worker.event("note")["text"] == "wanted"
    server.wait_for(prefix + "act", total=0)


def test_one_of_two_waiting_clients_is_killed(
    server: ServerProcess, client: Client, make_client: MakeClient, make_worker: MakeWorker, prefix: str
) -> None:
    stays = make_client("perl", server)
    for each in (client, stays):
        each.begin(Request(prefix + "hold", b"x", unique=prefix))
    worker = make_worker("php", server, prefix)
    worker.event("start")
    server.wait_for_clients(prefix, 2)
    client.kill()
    server.wait_for_clients(prefix, 1)
    worker.order(completing(b"for one"))
    assert stays.outcomes()[0].result == b"for one"


# Crowds.


def test_many_clients_and_workers(
    server: ServerProcess,
    make_client: MakeClient,
    make_worker: MakeWorker,
    gearman_worker: Callable[..., CommandWorker],
) -> None:
    prefix = unused("crowd") + "."
    workers = [make_worker(language, server, prefix) for language in ("php", "perl", "gearfast", "gearfast-aio")]
    gearman_worker(server, "-f", prefix + "echo", "--", "cat")
    clients = [make_client(language, server) for language in ("php", "perl", "gearfast", "gearfast-aio")]
    wanted = {}
    for number, client in enumerate(clients):
        names = [f"{number}.{n}" for n in range(50)]
        client.begin(
            *(
                Request(prefix + "act", acting(["note", name], completing(name.encode())), priority=priority)
                for name, priority in zip(names, ["normal", "high", "low", "normal", "high"] * 10, strict=True)
            ),
            *(Request(prefix + "echo", f"echo {name}".encode()) for name in names[:10]),
        )
        wanted[client] = [*(name.encode() for name in names), *(f"echo {name}".encode() for name in names[:10])]
    for client, results in wanted.items():
        assert [outcome.result for outcome in client.outcomes()] == results
    for worker in workers:
        worker.kill()
    done = Counter(note["text"] for worker in workers for note in iter(worker.poll, None) if note["event"] == "note")
    # Every job was done, and none of them twice.
    assert done == Counter(f"{number}.{n}" for number in range(4) for n in range(50))
