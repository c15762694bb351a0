# SPDX-License-Identifier: BSD-3-Clause
"""Tables, JSON, pictures and the comparison with the bars, from made-up samples."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if sys.platform != "linux":
    pytest.skip("gearfast bench runs on Linux only", allow_module_level=True)

from gearfast.bench import plot, report
from gearfast.bench.bars import BARS
from gearfast.bench.harness import Results, Sample, cpus

if TYPE_CHECKING:
    from ...conftest import Require

PAIRS = 11


def samples(cpu_us: float, drift: float = 0.0) -> list[Sample]:
    return [Sample(cpu_us * (1 + drift * i), 1e6 / cpu_us, 20.0, 90.0, 1.0, 1000, 1 << 20) for i in range(PAIRS)]


@pytest.fixture
def results() -> Results:
    return Results(
        {
            "fg-1x1": {
                "gearfast": samples(12.0, 0.05),
                "floor": samples(10.0, 0.05),
                "gearmand": samples(30.0, 0.05),
                "gearmand-t1": samples(16.0, 0.05),
            },
            "functions1-4x4": {"gearfast": samples(10.0)},
            "functions5000-4x4": {"gearfast": samples(13.0)},
        },
        ["fg-8x8 on gearmand: gearmand is not installed"],
    )


def test_a_paired_ratio_does_not_see_what_drifts_for_both(results: Results) -> None:
    ratio = results.ratio("fg-1x1", "gearfast", "floor")
    assert ratio is not None
    assert ratio.median == pytest.approx(1.2)
    assert ratio.high - ratio.low == pytest.approx(0.0, abs=1e-9)


def test_what_was_not_measured_has_no_figures(results: Results) -> None:
    assert results.summary("fg-8x8", "gearfast") is None
    assert results.ratio("fg-1x1", "gearfast", "other") is None
    assert results.better("fg-8x8", ["gearmand", "gearmand-t1"]) is None


def test_the_better_setting_takes_less_cpu(results: Results) -> None:
    assert results.better("fg-1x1", ["gearmand", "gearmand-t1"]) == "gearmand-t1"


def test_verdicts(results: Results) -> None:
    verdicts = {verdict.what: verdict for verdict in report.check(results, {"decode-c": [25.0, 30.0, 35.0]})}
    assert verdicts["fg-1x1 / floor"].passed is False  # 1.2, and the bar is 1.1
    assert verdicts["fg-1x1 / gearmand-t1"].passed is True
    assert verdicts["functions5000-4x4 / functions1-4x4"].passed is False
    assert verdicts["fg-8x8 / floor"].passed is None
    assert verdicts["decode-c (million/s)"].passed is True
    assert verdicts["decode-python (million/s)"].passed is None
    assert len(verdicts) >= len(BARS)
    text = report.verdict_table(list(verdicts.values()))
    assert {"pass", "MISS", "not measured"} == {line.rsplit("  ", 1)[-1] for line in text.splitlines()[1:]}


def test_a_bar_on_another_store_is_of_the_server_with_that_store() -> None:
    rows = {"gearfast": samples(2.0), "gearfast=redis:///0": samples(3.0), "gearfast=postgresql:///jobs": samples(20.0)}
    verdicts = {verdict.what: verdict for verdict in report.check(Results({"durable-submit": rows}), {})}
    assert verdicts["durable-submit rate"].passed is True
    assert verdicts["durable-submit rate, postgresql"].measured.startswith("50,000")
    assert verdicts["durable-submit rate, postgresql"].passed is True
    del rows["gearfast=postgresql:///jobs"]
    verdicts = {verdict.what: verdict for verdict in report.check(Results({"durable-submit": rows}), {})}
    assert verdicts["durable-submit rate, postgresql"].passed is None


def test_equal_to_gearmand_is_not_below_it() -> None:
    same = Results({"fg-1x1": {"gearfast": samples(16.0), "gearmand": samples(16.0)}})
    verdict = next(v for v in report.check(same, {}) if v.what == "fg-1x1 / gearmand")
    assert verdict.passed is False


def test_the_table_names_servers_ratios_and_problems(results: Results) -> None:
    text = report.table(results)
    assert "x floor" in text
    assert "1.2 [1.2, 1.2]" in text
    assert "gearmand is not installed" in text
    assert text.index("gearfast") < text.index("gearmand-t1")


def test_json_keeps_every_sample(results: Results, tmp_path: Path) -> None:
    path = str(tmp_path / "bench.json")
    report.write_json(path, results, {"embedded-start": [9.5]}, {"pairs": PAIRS})
    again, figures = report.read_json(path)
    assert again.as_dict() == results.as_dict()
    assert figures == {"embedded-start": [9.5]}


def test_the_same_data_draws_the_same_bytes(results: Results, tmp_path: Path, require: Require) -> None:
    require.module("matplotlib", '"gearfast[bench]"')
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    plot.draw(results, str(first))
    plot.draw(results, str(second))
    assert first.read_bytes() == second.read_bytes()
    assert "1 client, 1 worker" in first.read_text()


def test_without_matplotlib_the_message_says_how_to_get_it(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(plot.PlotUnavailable, match=r'pip install "gearfast\[bench\]"'):
        plot.draw(results, str(tmp_path / "a.svg"))


def test_nothing_is_not_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        plot.draw(Results(), str(tmp_path / "a.svg"))


def test_pins() -> None:
    server, load = cpus("one")
    assert server == load
    assert server is not None
    assert len(server) == 1
    assert cpus("none") == (None, None)
    with pytest.raises(ValueError, match="pin must be"):
        cpus("two")
