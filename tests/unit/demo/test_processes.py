# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gearfast.demo.processes import ChildError, Family, wait_until

SAY_AND_WAIT = "import sys; print('Listening on 127.0.0.1:7', file=sys.stderr, flush=True); sys.stdin.read()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SAY_AND_WAIT
ENDS = "import sys; print('no port left', file=sys.stderr); sys.exit(3)"
LEASHED = "from gearfast.demo.leash import hold; import time; hold(); print('up', flush=True); time.sleep(1000)"


def test_a_child_tells_where_it_listens_and_is_ended(tmp_path: Path) -> None:
    with Family(tmp_path) as family:
        child = family.start("the server", [sys.executable, "-c", SAY_AND_WAIT])
        assert child.listening() == "127.0.0.1:7"
        assert child.running
    assert not child.running
    assert (tmp_path / "the-server.log").read_text() == "Listening on 127.0.0.1:7\n"


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    family = Family(tmp_path)
    child = family.start("it", [sys.executable, "-c", STUBBORN])
    child.listening()
    family.stop(patience=0.1)
    assert child.process.returncode == -signal.SIGKILL


def test_a_child_that_ends_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with Family(tmp_path) as family:
        child = family.start("it", [sys.executable, "-c", ENDS])
        with pytest.raises(ChildError, match=r"it did not say where it listens(.|\n)*no port left"):
            child.listening()
        child.process.wait()
        with pytest.raises(ChildError, match="exit status 3"):
            family.check()
        family.check(child)


def test_what_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    with Family(tmp_path) as family, pytest.raises(ChildError, match="it cannot be started"):
        family.start("it", [str(tmp_path / "nowhere")])


def test_a_frozen_child_stands_until_it_is_thawed_or_killed(tmp_path: Path) -> None:
    with Family(tmp_path) as family:
        child = family.start("it", [sys.executable, "-c", SAY_AND_WAIT])
        child.listening()
        assert child.freeze()
        assert psutil.Process(child.pid).status() == psutil.STATUS_STOPPED
        child.thaw()
        assert child.freeze()
        child.kill()
        assert child.process.returncode == -signal.SIGKILL


def test_a_child_on_a_leash_ends_with_a_parent_that_was_killed(patience: Callable[[float], float]) -> None:
    code = (
        "import subprocess, sys, time\n"
        f"command = [sys.executable, '-c', {LEASHED!r}]\n"
        "child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    deadline = time.monotonic() + patience(20)
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.01)
    assert not psutil.pid_exists(parent.pid) or os.name == "nt"


def test_wait_until_gives_up() -> None:
    wait_until(lambda: True, "never")
    with pytest.raises(ChildError, match="it was red"):
        wait_until(lambda: False, "it was red", timeout=0.02)
