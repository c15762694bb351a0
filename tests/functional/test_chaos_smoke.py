# SPDX-License-Identifier: BSD-3-Clause
"""A short chaos run with each driver; `make chaos` is the long one."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .server_tools import DRIVERS

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: /proc, SIGSTOP, Unix sockets"),
    pytest.mark.timeout(300),
]


@pytest.mark.parametrize(("driver", "more"), [*((driver, []) for driver in DRIVERS), (DRIVERS[0], ["--restarts"])])
def test_every_job_has_its_end_whatever_happens(
    driver: str, more: list[str], tmp_path: Path, patience: Callable[[float], float]
) -> None:
    command = [sys.executable, "-m", "tests.chaos", "--seconds", "5", "--seed", "7", "--driver", driver, *more]
    done = subprocess.run(
        [*command, "--clients", "3", "--workers", "3", "--keep", str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=patience(120),
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "0 faults" in done.stdout


SOUND: dict[str, list[list[object]]] = {
    "c0.0": [
        ["conn", 1, "tcp", False],
        ["ask", "c0.0-1", 1, True, "f0", ""],
        ["created", "c0.0-1", "H:1"],
        ["ask", "c0.0-2", 1, False, "f0", "u1"],
        ["created", "c0.0-2", "H:2"],
        ["got", 1, "H:1", "complete", "c0.0-1|w0.0.1"],
        ["end", 1],
    ],
    "w0.0": [
        ["conn", 1, "tcp"],
        ["grab", 1, "H:1", "f0", "c0.0-1"],
        ["final", 1, "H:1", "complete", "c0.0-1|w0.0.1"],
        ["fence", 1, "H:1", True],
        ["grab", 1, "H:2", "f0", "c0.0-2"],
        ["final", 1, "H:2", "complete", "c0.0-2|w0.0.2"],
        ["fence", 1, "H:2", True],
    ],
}


def load_check() -> Callable[[Path, str], tuple[list[str], object]]:
    spec = importlib.util.spec_from_file_location("chaos_check", ROOT / "tests" / "chaos" / "check.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.check  # type: ignore[no-any-return]


def faults(folder: Path, histories: dict[str, list[list[object]]], log: str = "") -> list[str]:
    for name, lines in histories.items():
        text = "".join(json.dumps([kind, 0.0, *values]) + "\n" for kind, *values in lines)
        (folder / f"{name}.jsonl").write_text(text)
    return load_check()(folder, log)[0]


def test_the_checker_passes_sound_histories(tmp_path: Path) -> None:
    assert faults(tmp_path, SOUND) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        # Lost, doubled, and never asked for.
        ({("c0.0", 5): []}, "0 answers"),
        ({("c0.0", 5): [["got", 1, "H:1", "complete", "c0.0-1|w0.0.1"]] * 2}, "2 answers"),
        ({("c0.0", 5): [["got", 1, "H:1", "complete", "another"]]}, "not sent by a worker"),
        ({("c0.0", 5): [["got", 1, "H:1", "fail", ""]]}, "not sent by a worker"),
        ({("c0.0", 2): [["created", "c0.0-1", "H:2"]]}, "requests with uniques"),
        ({("c0.0", 4): []}, "neither acknowledged nor refused"),
        ({("w0.0", 5): [], ("w0.0", 6): []}, "never done"),
        ({("w0.0", 6): [["fence", 1, "H:2", False]]}, "never done"),
        ({("w0.0", 4): [], ("w0.0", 5): [], ("w0.0", 6): []}, "never done"),
        ({("c0.0", 6): [["got", 1, "H:9", "complete", "c0.0-1|w0.0.1"], ["end", 1]]}, "did not ask for"),
        ({("c0.0", 6): [["got", 1, "H:2", "complete", "c0.0-2|w0.0.2"], ["end", 1]]}, "did not ask for"),
        ({("c0.0", 6): [["created", "c0.0-3", "H:3"], ["end", 1]]}, "never asked for"),
        ({("c0.0", 6): [["ask", "c0.0-1", 1, True, "f0", ""], ["end", 1]]}, "asked twice"),
        ({("c0.0", 6): [["result", "c0.0-1", "complete", "c0.0-1|w0.0.1"]] * 2 + [["end", 1]]}, "2 results"),
        ({("c0.0", 6): [["result", "c0.0-1", "complete", "another"], ["end", 1]]}, "not sent by a worker"),
        ({("c0.0", 6): [["refused", "c0.0-2", "JOB_NOT_FOUND"], ["end", 1]]}, "refused with"),
        ({("w0.0", 4): [["grab", 1, "H:2", "f0", "c9.9-1"]]}, "never asked for"),
        ({("w0.0", 3): [["fence", 1, "H:1", False]]}, "refused and delivered"),
        ({("w0.0", 6): [["fence", 1, "H:2", True], *SOUND["w0.0"][4:]]}, "done 2 times"),
        ({("c0.0", 6): [["stray", 1, "NOOP"], ["end", 1]]}, "stray"),
        ({("w0.0", 6): [["bad", "H:2: the workload of c0.0-2 is not whole"]]}, "not whole"),
    ],
)
def test_the_checker_sees_what_is_wrong(
    tmp_path: Path, changes: dict[tuple[str, int], list[list[object]]], fault: str
) -> None:
    histories = {
        name: [line for number, old in enumerate(lines) for line in changes.get((name, number), [old])]
        for name, lines in SOUND.items()
    }
    assert [text for text in faults(tmp_path, histories) if fault in text]


def test_the_checker_excuses_what_the_server_gave_up(tmp_path: Path) -> None:
    histories = {
        "c0.0": [*SOUND["c0.0"][:5], ["got", 1, "H:1", "fail", ""], ["end", 1]],
        "w0.0": SOUND["w0.0"][:2],
        "a0": [["cancel", "H:2"]],
    }
    assert faults(tmp_path, histories, "Dropped job due to max retry count: H:1 u\n") == []


def write(path: Path, lines: list[tuple[str, float, list[object]]]) -> None:
    path.write_text("".join(json.dumps([kind, when, *values]) + "\n" for kind, when, values in lines))


@pytest.mark.parametrize(
    ("drained", "down", "excused"),
    [
        (None, 5.0, True),  # it was asked for, and then the server died
        (None, 0.5, False),  # the server was up again before
        (3.0, 5.0, False),  # everything had been done before it died
        (6.5, 5.0, True),
    ],
)
def test_only_what_a_killed_server_may_have_had_in_memory_is_excused(
    tmp_path: Path, drained: float | None, down: float, excused: bool
) -> None:
    write(
        tmp_path / "c0.0.jsonl",
        [("ask", 1.0, ["c0.0-1", 1, False, "f0", ""]), ("created", 1.1, ["c0.0-1", "H:1"]), ("end", 9.0, [0])],
    )
    rest: list[tuple[str, float, list[object]]] = [] if drained is None else [("drained", drained, [])]
    restart: list[tuple[str, float, list[object]]] = [("down", down, []), ("up", down + 0.4, [])]
    write(tmp_path / "tool.jsonl", sorted(rest + restart, key=lambda line: line[1]))
    assert (load_check()(tmp_path, "")[0] == []) == excused
