# SPDX-License-Identifier: BSD-3-Clause
"""docs/protocol.md is what the table of commands gives."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "docs" / "make_protocol.py"


@pytest.mark.skipif(not SCRIPT.exists(), reason="needs docs/ of a checkout")
def test_the_page_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_protocol", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text() == module.page(), "run: python docs/make_protocol.py"
