# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from pathlib import Path

import pytest

from gearfast.demo.ledger import Held, Ledger, ended, enders, held_by, holders, starts


def test_a_job_is_held_until_it_ends(tmp_path: Path) -> None:
    with Ledger(tmp_path, "w1") as ledger, ledger.holding("r/1", "H:x:1", "resize"):
        assert held_by(tmp_path, "w1") == Held("w1", "r/1", "H:x:1", "resize")
        assert holders(tmp_path) == ["w1"]
        assert held_by(tmp_path, "w2") is None
    assert held_by(tmp_path, "w1") is None
    assert holders(tmp_path) == []


def test_starts_are_counted_over_all_workers_by_prefix(tmp_path: Path) -> None:
    for worker, key in (("w1", "a/1"), ("w2", "a/1"), ("w2", "a/2"), ("w1", "b/1")):
        with Ledger(tmp_path, worker) as ledger, ledger.holding(key, "H:x:1", "resize"):
            pass
    assert starts(tmp_path, "a/") == {"a/1": 2, "a/2": 1}
    assert enders(tmp_path, "a/1") == ["w1", "w2"]
    assert ended(tmp_path, "a/") == {"a/1", "a/2"}


def test_a_job_that_raises_was_begun_but_not_ended(tmp_path: Path) -> None:
    with (
        Ledger(tmp_path, "w1") as ledger,
        pytest.raises(OSError, match="no"),
        ledger.holding("a/1", "H:x:1", "resize"),
    ):
        raise OSError("no")
    assert starts(tmp_path) == {"a/1": 1}
    assert enders(tmp_path, "a/1") == []
    assert holders(tmp_path) == []
