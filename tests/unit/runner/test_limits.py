# SPDX-License-Identifier: BSD-3-Clause
"""Amounts of memory, and whether a queue is empty."""

from __future__ import annotations

import sys

import pytest

from gearfast import Client, ConnectError, Server, UsageError
from gearfast.runner.limits import bytes_of, has_queued_jobs, resident_bytes


@pytest.mark.parametrize(
    ("text", "number"),
    [("1024", 1024), ("300M", 300 << 20), ("1.5g", 3 << 29), ("2 GiB", 2 << 30), ("7kb", 7 << 10)],
)
def test_amounts(text: str, number: int) -> None:
    assert bytes_of(text) == number


@pytest.mark.parametrize("text", ["", "M", "-1", "0", "3X", "1e3", "0.0M"])
def test_no_amounts(text: str) -> None:
    with pytest.raises(UsageError, match="300M"):
        bytes_of(text)


@pytest.mark.parametrize("has_psutil", [True, False])
def test_memory_of_this_process(has_psutil: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_psutil:
        monkeypatch.setitem(sys.modules, "psutil", None)
    before = resident_bytes()
    block = b"x" * (64 << 20)
    if before:  # Windows without psutil does not tell
        assert resident_bytes() >= before + len(block) // 2
    assert has_psutil or sys.platform == "win32" or before


def test_whether_jobs_are_queued() -> None:
    with Server() as first, Server() as second, Client(second.url) as client:
        both = [first.url, second.url]
        client.submit_background("other")
        assert not has_queued_jobs(both, {"f"}, None)
        client.submit_background("f")
        assert has_queued_jobs(both, {"f"}, None)
        assert has_queued_jobs(["127.0.0.1:1", second.url], {"f"}, None)
    with pytest.raises(ConnectError, match=r"127\.0\.0\.1:1"):
        has_queued_jobs("127.0.0.1:1", {"f"}, None)
