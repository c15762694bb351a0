# SPDX-License-Identifier: BSD-3-Clause
"""The pure parts of the comparison with other job queues."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gearfast.bench.bars import FIGURES
from gearfast.bench.markdown import is_about, queue_sections
from gearfast.bench.queues import libraries
from gearfast.bench.queues.job import noop, payloads
from gearfast.bench.queues.libraries import LIBRARIES, missing
from gearfast.bench.queues.producer import wait_times
from gearfast.bench.queues.runner import Measured, figures

MACHINE = {"cpu": "a CPU", "cpus": "2", "system": "Linux 6", "python": "3.11"}


def test_figures_pair_gearfast_with_the_best_library_and_with_celery() -> None:
    measured = Measured(
        {"gearfast": [10.0, 20.0], "celery": [3000.0, 3000.0], "huey": [500.0, 600.0]},
        {"gearfast": [[1e-4, 2e-4, 3e-4]], "celery": [[4e-3, 5e-3, 6e-3]]},
    )
    found = figures(measured)
    assert found["queues-cpu-ratio"] == [50.0, 30.0]
    assert found["queues-cpu-celery"] == [3000.0, 3000.0]
    assert found["queues-p50-celery"] == pytest.approx([5000.0])
    assert found["queues-p50-ratio"] == pytest.approx([0.04])
    assert found["queues-p99-gearfast"] == pytest.approx([298.0])
    assert set(found) <= set(FIGURES)


def test_the_bars_are_those_of_the_two_ratios() -> None:
    assert FIGURES["queues-cpu-ratio"].passed(25.0) and not FIGURES["queues-cpu-ratio"].passed(24.9)
    assert FIGURES["queues-p50-ratio"].passed(0.1) and not FIGURES["queues-p50-ratio"].passed(0.11)


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda name: None if name == "taskiq_redis" else name)
    monkeypatch.setattr(libraries, "redis_server", lambda: None)
    assert missing(["gearfast"]) == ""
    assert missing() == (
        "taskiq-redis (pip install taskiq-redis) and redis-server (Debian: apt-get install redis-server)"
    )


def test_only_the_last_payload_has_a_port() -> None:
    work = list(payloads(3, 4730))
    assert [one["last"] for one in work] == [0, 0, 4730]
    assert noop(work[1]) == 1


def test_a_wrong_result_is_an_error() -> None:
    assert len(wait_times(noop, payloads(2))) == 2
    with pytest.raises(RuntimeError, match="job 0 is None"):
        wait_times(lambda payload: None, payloads(1))


def test_a_page_of_queues_gets_their_tables_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert not is_about(str(page), "queues")
    page.write_text("<!-- bench: queues-bars -->\n<!-- end -->\n")
    assert is_about(str(page), "queues")
    found = queue_sections(
        {"queues-cpu-gearfast": [20.0], "queues-cpu-ratio": [24.0]}, MACHINE, {"pairs": 1, "versions": {"rq": "3"}}
    )
    assert "rq 3" in found["queues-machine"]
    assert "| gearfast | `Client.map_background` | 20,000 | 20 |" in found["queues-libraries"]
    assert "| >= 25 | 24 | **miss** |" in found["queues-bars"]
    assert all(library.title in found["queues-libraries"] for library in LIBRARIES.values())


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc of Linux")
def test_children_count_while_they_live_and_after_their_end() -> None:
    from gearfast.bench.queues.trees import ended_children, members, tree_cpu

    assert ended_children("7 (a ) b) S " + " ".join(map(str, range(1, 30)))) == 13 + 14
    burn = "import time\nwhile time.process_time() < 0.2: pass\n"
    parent = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\n"
        f"child = subprocess.Popen([sys.executable, '-c', {burn + 'print(1, flush=True); input()'!r}],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\nprint(child.pid, flush=True)\ninput()\nchild.kill()\nchild.wait()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdin is not None
        child = int(process.stdout.readline())
        assert set(members(process.pid)) == {process.pid, child}
        assert tree_cpu([process.pid]) > 0.38
        assert os.getpid() not in members(process.pid)
        process.stdin.write(b"\n")
    finally:
        process.communicate()
    with pytest.raises(ProcessLookupError):
        tree_cpu([process.pid])
