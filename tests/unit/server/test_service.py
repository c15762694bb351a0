# SPDX-License-Identifier: BSD-3-Clause
"""Handles: prefix and first number."""

from __future__ import annotations

import time

from gearfast.protocol import MAX_HANDLE
from gearfast.server.service import MAX_PREFIX, first_handle, handle_prefix


def test_prefix_is_gearmands() -> None:
    assert handle_prefix("myhost") == "H:myhost"
    assert handle_prefix("") == "H:localhost"
    assert handle_prefix("my host\0\u00e4") == "H:myhost"


def test_long_names_stay_apart_and_fit() -> None:
    one, two = handle_prefix("x" * 63 + "1"), handle_prefix("x" * 63 + "2")
    assert one != two
    assert len(one) == len(two) == MAX_PREFIX
    assert len(f"{one}:{2**64 - 1}") <= MAX_HANDLE


def test_a_later_start_begins_above_all_earlier_handles() -> None:
    now = time.time_ns()
    one_second_later = now + 1_000_000_000
    assert first_handle(one_second_later) - first_handle(now) == 10_000_000
    assert first_handle() >= first_handle(now)
    assert first_handle(2**63) < 2**63
