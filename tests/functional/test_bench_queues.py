# SPDX-License-Identifier: BSD-3-Clause
"""Each job queue that gearfast is compared with does jobs for a moment, with a real redis-server."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Require

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the comparison needs /proc of Linux")


@pytest.mark.timeout(300)
def test_each_library_does_its_jobs_and_has_its_figures(require: Require) -> None:
    from gearfast.bench.queues.libraries import LIBRARIES, missing
    from gearfast.bench.queues.runner import figures, measure

    lacking = missing()
    require(not lacking, lacking)
    found = figures(measure(1, pin="none", scale=0.02))
    for name in LIBRARIES:
        for what in ("cpu", "p50", "p99"):
            assert all(value > 0 for value in found[f"queues-{what}-{name}"]), (what, name)
    assert len(found["queues-cpu-ratio"]) == len(found["queues-p50-ratio"]) == 1
