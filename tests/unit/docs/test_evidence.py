# SPDX-License-Identifier: BSD-3-Clause
"""What docs/semantics.md, failures.md, policies.md, results.md and schedules.md say is shown by tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gearfast.dispatch.policy import KEYS
from gearfast.schedules.schedule import KEYS as SCHEDULE_KEYS

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "docs" / name for name in ("semantics.md", "failures.md", "policies.md", "results.md", "schedules.md")]
SHOWN = re.compile(r"<!-- shown by: (.*?)-->", re.DOTALL)

pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs docs/ of a checkout")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_test_that_a_page_names_exists(page: Path) -> None:
    named = " ".join(SHOWN.findall(page.read_text(encoding="utf-8"))).split()
    missing = []
    for name in named:
        path, _, test = name.partition("::")
        file = ROOT / path
        if not file.exists() or not re.search(rf"^ *(async )?def {test}\(", file.read_text("utf-8"), re.MULTILINE):
            missing.append(name)
    assert len(named) > 20
    assert missing == []


def test_each_statement_of_the_semantics_names_one() -> None:
    text = (ROOT / "docs" / "semantics.md").read_text(encoding="utf-8")
    statements = re.findall(r"^- \*\*.*?(?=^- |^#|^[A-Z]|\Z)", text, re.DOTALL | re.MULTILINE)
    assert len(statements) > 20
    assert [statement for statement in statements if "shown by:" not in statement] == []


def table(page: str) -> list[tuple[str, str, str]]:
    """Key, default and meaning of each row of a page's table of keys."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    return [(name, default, about.replace(" (`drop-oldest`)", "")) for name, default, about in rows]


def test_the_table_of_keys_is_that_of_the_code() -> None:
    assert table("policies.md") == [(name, key.metadata["default"], key.metadata["help"]) for name, key in KEYS.items()]


def test_the_table_of_keys_of_a_schedule_is_that_of_the_code() -> None:
    keys = SCHEDULE_KEYS.items()
    assert table("schedules.md") == [(name, key.metadata["shown"], key.metadata["help"]) for name, key in keys]
