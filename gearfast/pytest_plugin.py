# SPDX-License-Identifier: BSD-3-Clause
"""pytest fixtures, registered by installing gearfast.

`gearfast_server`: a job server of the test's own (`gearfast.Server`), on a free port.
`gearfast_session_server`: one for all tests of the session (with xdist: of the worker process).
`gearfast_client`: a `gearfast.Client` of `gearfast_server`.

`gearfast_server_options` and `gearfast_session_server_options` give the keyword arguments of `gearfast.Server`;
override them where other settings are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

# Every run of pytest imports this module, with or without Gearman in it: nothing else is imported before a fixture
# is asked for.
if TYPE_CHECKING:
    from collections.abc import Iterator

    from gearfast import Client, Server

__all__ = [
    "gearfast_client",
    "gearfast_server",
    "gearfast_server_options",
    "gearfast_session_server",
    "gearfast_session_server_options",
]


@pytest.fixture
def gearfast_server_options() -> dict[str, Any]:
    """Keyword arguments of `gearfast.Server` for `gearfast_server`; override it to change them."""
    return {}


@pytest.fixture
def gearfast_server(gearfast_server_options: dict[str, Any]) -> Iterator[Server]:
    """A running job server for this test alone."""
    import gearfast

    with gearfast.Server(**gearfast_server_options) as server:
        yield server


@pytest.fixture(scope="session")
def gearfast_session_server_options() -> dict[str, Any]:
    """Keyword arguments of `gearfast.Server` for `gearfast_session_server`; override it to change them."""
    return {}


@pytest.fixture(scope="session")
def gearfast_session_server(gearfast_session_server_options: dict[str, Any]) -> Iterator[Server]:
    """A running job server for all tests. Name functions and uniques so that tests do not meet each other's jobs."""
    import gearfast

    with gearfast.Server(**gearfast_session_server_options) as server:
        yield server


@pytest.fixture
def gearfast_client(gearfast_server: Server) -> Iterator[Client]:
    """A client of `gearfast_server`."""
    import gearfast

    with gearfast.Client(gearfast_server.url) as client:
        yield client
