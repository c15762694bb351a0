# SPDX-License-Identifier: BSD-3-Clause
"""A server that does an app's jobs where they are submitted, and its client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from gearfast import App, Client
from gearfast.testing import MemoryServer

Serve = Callable[[App], tuple[MemoryServer, Client]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Call it with an app, once its tasks are declared."""
    with ExitStack() as stack:

        def start(app: App) -> tuple[MemoryServer, Client]:
            server = stack.enter_context(MemoryServer(mode="inline", functions=app))
            return server, stack.enter_context(Client(server.url))

        yield start
