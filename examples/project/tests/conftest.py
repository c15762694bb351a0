# SPDX-License-Identifier: BSD-3-Clause
"""What the tests share."""

from __future__ import annotations

import pytest

from tests.outbox import Outbox


@pytest.fixture
def outbox() -> Outbox:
    """Where mails go."""
    return Outbox()
