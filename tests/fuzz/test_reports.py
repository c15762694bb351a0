# SPDX-License-Identifier: BSD-3-Clause
"""`.ci/leaks` tells what is ours in the reports of sanitizers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LEAKS = Path(__file__).resolve().parents[2] / ".ci" / "leaks"
OURS = "__pyx_f_8gearfast_8dispatch_4_job_job_new build/sanitize/cython/gearfast/dispatch/_job.c:2417"
LEAK = """
==7==ERROR: LeakSanitizer: detected memory leaks

{kind} leak of 96 byte(s) in 2 object(s) allocated from:
    #0 0x7f31 in __interceptor_malloc ../../../../src/libsanitizer/asan/asan_malloc_linux.cpp:69
    #1 0x7f32 in {caller}
    #2 0x7f33 in __pyx_pw_8gearfast_8dispatch_11_dispatcher_10Dispatcher_5receive gearfast/dispatch/_dispatcher.c:9

SUMMARY: AddressSanitizer: 96 byte(s) leaked in 2 allocation(s).
"""


def leaks(folder: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, str(LEAKS), str(folder)], capture_output=True, text=True)
    return done.returncode, done.stdout


def test_no_report_is_fine(tmp_path: Path) -> None:
    assert leaks(tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("kind", "caller", "status"),
    [
        ("Direct", OURS, 1),
        ("Direct", "_PyObject_Malloc Objects/obmalloc.c:100", 0),  # what CPython asked for, though on our behalf
        ("Indirect", OURS, 0),  # hangs on an object that somebody else gave up
        ("Direct", "feed (/tree/gearfast/dispatch/_dispatcher.cpython-311-x86_64-linux-gnu.so+0x23)", 1),
    ],
)
def test_only_what_the_extensions_asked_for_is_theirs(tmp_path: Path, kind: str, caller: str, status: int) -> None:
    (tmp_path / "asan.7").write_text(LEAK.format(kind=kind, caller=caller))
    found, said = leaks(tmp_path)
    assert found == status, said
    assert said.splitlines()[-1].startswith(f"sanitizers: 1 reports, 0 errors, {2 * status} leaks")


@pytest.mark.parametrize(
    "said",
    [
        "==7==ERROR: AddressSanitizer: heap-use-after-free on address 0x6020",
        "gearfast/dispatch/_job.c:7:3: runtime error: signed integer overflow",
        "AddressSanitizer:DEADLYSIGNAL",
    ],
)
def test_every_error_counts(tmp_path: Path, said: str) -> None:
    (tmp_path / "ubsan.7").write_text(f"{said}\n    #0 0x1 in somewhere\n")
    assert leaks(tmp_path)[0] == 1
