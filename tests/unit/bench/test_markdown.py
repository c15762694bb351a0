# SPDX-License-Identifier: BSD-3-Clause
"""Tables in a page: the sections, and that nothing else of the page changes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("gearfast bench runs on Linux only", allow_module_level=True)

from gearfast.bench.harness import Results, Sample
from gearfast.bench.markdown import fill, sections

MACHINE = {"cpu": "a processor", "cpus": "2", "system": "Linux", "python": "3.11"}
SETTINGS = {"pairs": 3, "seconds": 0.3, "pin": "one"}
COUNTS = {
    "compiler": "cc 12",
    "python": "3.11",
    "valgrind": "valgrind-3",
    "rows": {
        "fg-1x1": {
            "floor": {"instructions": 1000.0, "calls": {"sendto": 5.0}},
            "gearfast": {"instructions": 1500.0, "calls": {"sendto": 5.0, "recvfrom": 4.0}},
        }
    },
}


def samples(cpu_us: float, p99_us: float = 90.0) -> list[Sample]:
    return [Sample(cpu_us, 1e6 / cpu_us, 20.0, p99_us, 1.0, 1000, 1 << 20) for _ in range(3)]


@pytest.fixture
def results() -> Results:
    return Results(
        {
            "fg-1x1": {"gearfast": samples(10.5), "floor": samples(10.0), "gearmand": samples(30.0)},
            "paced-8x8": {"gearfast": samples(20.0, 250.0), "floor": samples(20.0, 100.0)},
        }
    )


def test_sections_show_rows_bars_figures_and_counts(results: Results) -> None:
    found = sections(results, {"queue-10m": [120.0], "queue-10m-floor": [80.0]}, MACHINE, SETTINGS, COUNTS)
    assert set(found) == {"machine", "rows", "latency", "bars", "figures", "instructions"}
    assert "| `fg-1x1` | 10 | 10.5 |  | 30 | 1.05 [1.05, 1.05] |" in found["rows"]
    assert "| `paced-8x8` | 100 | 250 |" in found["latency"]
    assert "fg-1x1" not in found["latency"]
    assert "| fg-1x1 / floor | <= 1.1 | 1.05 [1.05, 1.05] | pass |" in found["bars"]
    assert "| paced-8x8 p99_us / floor | <= 1.2 | 2.5 [2.5, 2.5] | **miss** |" in found["bars"]
    assert "| `queue-10m` | 120 bytes | <= 130 | pass |" in found["figures"]
    assert "| `queue-10m-floor` | 80 bytes |  |  |" in found["figures"]
    assert "| 1.50 | sendto 5 | sendto 5, recvfrom 4 |" in found["instructions"]


def test_a_run_with_another_pin_gives_its_rows_alone(results: Results) -> None:
    assert list(sections(results, {}, MACHINE, {**SETTINGS, "pin": "split"})) == ["rows-split"]


def test_only_what_stands_between_marks_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    rest = "\n<!-- end -->\nbetween\n<!-- bench: bars -->\nkept\n<!-- end -->\n"
    page.write_text(f"before\n<!-- bench: rows -->\nold{rest}")
    fill(str(page), {"rows": r"new \1", "latency": "added"})
    assert page.read_text() == (
        f"before\n<!-- bench: rows -->\nnew \\1{rest}\n<!-- bench: latency -->\nadded\n<!-- end -->\n"
    )
    again = page.read_text()
    fill(str(page), {"rows": r"new \1", "latency": "added"})
    assert page.read_text() == again
