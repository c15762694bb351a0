# SPDX-License-Identifier: BSD-3-Clause
"""Large and empty workloads, and the ways in which jobs of other people's workers end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ..servers import ServerProcess
from .conftest import Completed, Pool
from .peers import EVERY_BYTE, PAIR_IDS, PAIRS, Client, Request, Worker, acting, b64, completing, unused

MakeWorker = Callable[..., Worker]
FIVE_MEGABYTES = 5 * 1024 * 1024
only_gearfast = pytest.mark.parametrize("server", ["gearfast"], indirect=True)


@pytest.mark.parametrize(("client_language", "worker_language"), PAIRS, ids=PAIR_IDS)
def test_five_megabytes_both_ways(
    pool: Pool, server: ServerProcess, client_language: str, worker_language: str
) -> None:
    client, prefix = pool.client(client_language, server), pool.prefix(worker_language, server)
    times = FIVE_MEGABYTES // len(EVERY_BYTE)
    [outcome] = client.submit(Request(prefix + "reverse", EVERY_BYTE, times))
    assert outcome.length == FIVE_MEGABYTES
    assert outcome.is_bytes(EVERY_BYTE[::-1] * times)


@pytest.mark.parametrize(("client_language", "worker_language"), PAIRS, ids=PAIR_IDS)
def test_large_data_and_warnings(pool: Pool, server: ServerProcess, client_language: str, worker_language: str) -> None:
    client, prefix = pool.client(client_language, server), pool.prefix(worker_language, server)
    piece = EVERY_BYTE * 512
    workload = acting(["data", b64(piece)], ["warning", b64(piece)], ["data", b64(piece[1:])], completing(piece[2:]))
    [outcome] = client.submit(Request(prefix + "act", workload))
    assert outcome.is_bytes(piece[2:])
    assert outcome.data == (piece, piece[1:])
    assert outcome.warnings == (piece,)


@pytest.mark.parametrize("worker_language", ["php", "gearfast", "gearfast-aio"])
@pytest.mark.parametrize("client_language", ["perl", "gearfast", "gearfast-aio"])
def test_no_workload_and_no_result(
    pool: Pool, server: ServerProcess, client_language: str, worker_language: str
) -> None:
    client, prefix = pool.client(client_language, server), pool.prefix(worker_language, server)
    [outcome] = client.submit(Request(prefix + "echo", b""))
    assert (outcome.state, outcome.result) == ("complete", b"")


# Perl's worker leaves out the NUL behind the handle if the result is empty or "0". gearmand takes that for a broken
# packet and hands the job out again, for ever.
@only_gearfast
@pytest.mark.parametrize("result", [b"", b"0"])
def test_perl_worker_without_a_result_does_not_spin(
    server: ServerProcess, pool: Pool, make_worker: MakeWorker, result: bytes
) -> None:
    prefix = unused("empty") + "."
    make_worker("perl", server, prefix)
    client = pool.client("perl", server)
    [ended] = client.submit(Request(prefix + "act", acting(completing(result))))
    assert ended.state in ("complete", "fail")
    assert client.run(Request(prefix + "echo", b"next")) == b"next"


# gearmand sends a WORK_FAIL with a NUL behind the handle, which libgearman does not match to its job: it waits on.
# PHP's extension asks for exceptions always.
@only_gearfast
@pytest.mark.parametrize("client_language", ["perl", "gearfast", "gearfast-aio"])
@pytest.mark.parametrize("worker_language", ["php", "perl", "gearfast"])
def test_exception_is_a_failure_for_clients_that_did_not_ask(
    pool: Pool, server: ServerProcess, client_language: str, worker_language: str
) -> None:
    client, prefix = pool.client(client_language, server), pool.prefix(worker_language, server)
    [failed, fine] = client.submit(
        Request(prefix + "act", acting(["exception", b64(b"out of paper")])),
        Request(prefix + "echo", b"next"),
        exceptions=False,
    )
    assert (failed.state, failed.exception) == ("fail", b"")
    assert fine.result == b"next"


@only_gearfast
def test_exception_is_a_failure_for_the_gearman_command(
    pool: Pool, server: ServerProcess, gearman: Callable[..., Completed]
) -> None:
    function = pool.prefix("php", server) + "act"
    done = gearman("-f", function, data=acting(["exception", b64(b"out of paper")]))
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"Job failed\n")


@pytest.mark.parametrize("client_language", ["php", "perl", "gearfast"])
def test_perl_worker_whose_function_dies(
    pool: Pool, server: ServerProcess, make_worker: MakeWorker, client_language: str
) -> None:
    prefix = unused("dies") + "."
    make_worker("perl", server, prefix)
    client: Client = pool.client(client_language, server)
    [outcome] = client.submit(Request(prefix + "act", acting(["die", b64(b"out of paper")])))
    assert outcome.state == "exception"
    # Perl freezes the text in a format of its own.
    assert b"out of paper" in outcome.exception
