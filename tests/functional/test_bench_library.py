# SPDX-License-Identifier: BSD-3-Clause
"""Each program whose CPU is compared does jobs for a moment, and what a fresh process costs is measured."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Require

if sys.platform != "linux":
    pytest.skip("the comparison needs /proc of Linux", allow_module_level=True)

from gearfast.bench.library import footprint, table
from gearfast.bench.library.runner import LibraryError, figures, measure, missing
from gearfast.bench.library.table import GROUPS, Group, Program


@pytest.mark.timeout(120)
@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_each_program_does_its_jobs_and_has_its_figures(group: Group, require: Require) -> None:
    names = [program.name for program in group.programs]
    lacking = missing(names, group)
    require(not lacking, lacking)
    cpu = measure(group, 1, 0.01, pin="none", names=names)
    assert list(cpu) == names
    found = figures(group, cpu)
    assert set(found) == {one.figure for one in (*group.programs, *group.ratios)}
    assert all(len(values) == 1 and values[0] > 0 for values in found.values())


@pytest.mark.parametrize("side", ["client", "worker"])
def test_a_program_that_fails_is_named(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = next(group.traffic for group in GROUPS if group.side == side)
    # Its process does not know it, and so ends at once.
    group = Group("made-up", "made up", (Program("nothing", "nothing", "bare:nothing"),), traffic)
    monkeypatch.setattr(table, "GROUPS", (*GROUPS, group))
    with pytest.raises(LibraryError, match="nothing has failed"):
        measure(group, 1, 0.01, pin="none")


def test_the_import_of_the_public_names_takes_time_and_brings_no_asyncio() -> None:
    assert footprint.unwanted_modules() == []
    assert "ssl" in footprint.unwanted_modules("import ssl")
    assert "pytest" in footprint.unwanted_modules("import pytest")
    assert footprint.import_ms(1, "import time; time.sleep(0.2)")[0] > 100
    with pytest.raises(LibraryError, match="No module named"):
        footprint.import_ms(1, "import no_such_module")


def test_an_idle_worker_has_memory_of_its_own() -> None:
    assert 0.5 < footprint.worker_memory() < 50
