# SPDX-License-Identifier: BSD-3-Clause
"""Other people's clients read the results of background jobs, by the function that the server answers itself."""

from __future__ import annotations

import pytest

from ..servers import ServerProcess, wait_until
from .conftest import Pool
from .peers import EVERY_BYTE, Request, acting, b64, completing, unused

pytestmark = pytest.mark.parametrize("server", ["gearfast"], indirect=True)
ASK = "gearfast.result"
LANGUAGES = ["php", "perl", "gearfast"]


def submit(pool: Pool, server: ServerProcess, client: str, worker: str, workload: bytes, unique: str) -> str:
    """A background job that has ended, of a function that keeps results; its function."""
    function = pool.prefix(worker, server) + "act"
    assert server.admin(f"policy set {function} keep_results=1000").strip() == "OK"
    [outcome] = pool.client(client, server).submit(Request(function, workload, unique=unique, background=True))
    assert outcome.state == "created"
    wait_until(lambda: unique not in server.admin("show unique jobs").splitlines(), "the job has ended")
    return function


@pytest.mark.parametrize("worker", ["php", "perl"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_result(pool: Pool, server: ServerProcess, language: str, worker: str) -> None:
    unique = unused("kept")
    result = EVERY_BYTE * 200
    actions = acting(["status", 3, 4], ["data", b64(b"a part")], completing(result))
    function = submit(pool, server, language, worker, actions, unique)
    client = pool.client(language, server)
    for question in (unique.encode(), f"{function}\0{unique}".encode()):
        [outcome] = client.submit(Request(ASK, question))
        assert outcome.is_bytes(result)
        assert (outcome.statuses, outcome.data, outcome.warnings) == (((3, 4),), (), ())
    [outcome] = client.submit(Request(ASK, outcome.handle.encode()))
    assert outcome.is_bytes(result)


@pytest.mark.parametrize("language", LANGUAGES)
def test_failures_and_what_is_not_known(pool: Pool, server: ServerProcess, language: str) -> None:
    failed, thrown = unused("kept"), unused("kept")
    submit(pool, server, language, "gearfast", acting(["fail"]), failed)
    submit(pool, server, language, "gearfast", acting(["exception", b64(b"no luck")]), thrown)
    client = pool.client(language, server)
    one, other, unknown = client.submit(
        Request(ASK, failed.encode()), Request(ASK, thrown.encode()), Request(ASK, b"nobody's")
    )
    assert (one.state, one.warnings) == ("fail", ())
    assert other.state == "exception" and other.exception.endswith(b"no luck")
    assert unknown.state == "fail"
    [warning] = unknown.warnings
    assert warning.startswith(b"gearfast.result: UNKNOWN_JOB ")
