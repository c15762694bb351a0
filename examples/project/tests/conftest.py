# SPDX-License-Identifier: BSD-3-Clause
"""What the tests share."""

from __future__ import annotations

import pytest


class Outbox:
    """Keeps mails instead of sending them."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str]] = []

    def send(self, address: str, text: str) -> None:
        """Keep one."""
        self.mails.append((address, text))


@pytest.fixture
def outbox() -> Outbox:
    """Where mails go."""
    return Outbox()
