# SPDX-License-Identifier: BSD-3-Clause
"""Pages that scripts write are what their tables give."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.skipif(not DOCS.exists(), reason="needs docs/ of a checkout")
@pytest.mark.parametrize("name", ["make_protocol", "make_settings"])
def test_a_page_is_up_to_date(name: str) -> None:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text(encoding="utf-8") == module.page(), f"run: python docs/{name}.py"
