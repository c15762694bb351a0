# SPDX-License-Identifier: BSD-3-Clause
"""Reduce jobs of libgearman: GRAB_JOB_ALL, JOB_ASSIGN_ALL, and reducers of every kind of worker."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..servers import PATIENCE, ServerProcess, clean_environment
from .conftest import Pool, Require
from .peers import unused

SCRIPT = [sys.executable, str(Path(__file__).parent / "reduce_libgearman.py")]
Names = tuple[str, str]


@pytest.fixture
def splitter(require: Require, server: ServerProcess) -> Iterator[Names]:
    """The names of a function that splits and of one that makes upper case, both of a libgearman worker."""
    try:
        ctypes.CDLL("libgearman.so.8")
    except OSError:
        require(False, "libgearman.so.8 (Debian: apt-get install libgearman8)")
    names = unused("split"), unused("upper")
    arguments = ["worker", server.host, str(server.port), *names]
    # One waits for its pieces while the other does them.
    workers = [subprocess.Popen([*SCRIPT, *arguments], env=clean_environment()) for _ in range(2)]
    yield names
    for worker in workers:
        worker.kill()
        worker.wait(PATIENCE)


def reduce(server: ServerProcess, splitting: str, reducing: str, words: str) -> tuple[int, str, str]:
    arguments = ["client", server.host, str(server.port), splitting, reducing, words]
    done = subprocess.run(
        [*SCRIPT, *arguments], capture_output=True, text=True, timeout=PATIENCE, env=clean_environment()
    )
    return done.returncode, done.stdout, done.stderr


def test_reducer_of_libgearman(server: ServerProcess, splitter: Names) -> None:
    splitting, upper = splitter
    assert reduce(server, splitting, upper, "the quick brown fox") == (0, "BROWN+FOX+QUICK+THE\n", "")
    assert server.function(splitting).total == server.function(upper).total == 0


@pytest.mark.parametrize("language", ["php", "perl", "gearfast", "gearfast-aio"])
def test_reducer_of_another_worker(server: ServerProcess, splitter: Names, pool: Pool, language: str) -> None:
    reducing = pool.prefix(language, server) + "reverse"
    assert reduce(server, splitter[0], reducing, "one two three") == (0, "eerht+eno+owt\n", "")


def test_reducer_of_the_gearman_command(
    server: ServerProcess, splitter: Names, gearman_worker: Callable[..., object]
) -> None:
    name = unused("count")
    gearman_worker(server, "-f", name, "--", "wc", "-c")
    assert reduce(server, splitter[0], name, "one three") == (0, "3\n+5\n\n", "")
