# SPDX-License-Identifier: BSD-3-Clause
"""What most of these tests begin with; those with other settings have fixtures of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gearfast import Client
from gearfast.testing import MemoryServer


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer() as server:
        yield server


@pytest.fixture
def client(server: MemoryServer) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client
