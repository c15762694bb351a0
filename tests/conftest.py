# SPDX-License-Identifier: BSD-3-Clause
"""What every test may use: `patience`, which scales time limits, `require`, for what a test needs besides Python, and
databases of this test run.

GEARFAST_TEST_SLOW=3      multiplies every time limit that is scaled by `patience`
GEARFAST_REQUIRE_ALL=1    makes a missing requirement a failure instead of a skip, so that CI skips nothing
GEARFAST_DIST=dist        the folder of sdist and wheels to look into; without it tests/packaging is left out
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest

# A shared machine may stop a test at any moment for longer than hypothesis allows one example by default. CI decides
# about a change, so it tries the same examples each time; everybody else's runs and the fuzzers look for new ones.
hypothesis.settings.register_profile("gearfast", deadline=None, derandomize=bool(os.environ.get("CI")))
hypothesis.settings.load_profile("gearfast")

# Kinds of databases, the module of each that their stores need, and what brings it.
DATABASES = {
    "postgresql": ("psycopg", "gearfast[postgres]"),
    "mysql": ("pymysql", "gearfast[mysql]"),
    "redis": ("redis", "gearfast[redis]"),
}

ROOT = Path(__file__).resolve().parents[1]
collect_ignore = [] if os.environ.get("GEARFAST_DIST") else ["packaging"]
if not (ROOT / "gearfast").is_dir():  # an installed package is tested, without its source tree
    collect_ignore += ["unit/test_layers.py", "unit/test_source_rules.py", "unit/test_stubs.py"]
    collect_ignore += ["fuzz", "functional/test_bench.py"]


class Require:
    """Skips the test that asks for something that is not here; fails it under GEARFAST_REQUIRE_ALL=1."""

    def __call__(self, present: object, what: str) -> None:
        """Goes on if `present` is true. `what` says what is missing and how to get it."""
        if present:
            return
        if os.environ.get("GEARFAST_REQUIRE_ALL", "0") not in ("", "0"):
            pytest.fail(f"missing: {what}", pytrace=False)
        pytest.skip(f"needs {what}")

    def program(self, name: str, package: str) -> str:
        """The path of a program, which `apt-get install PACKAGE` brings on Debian."""
        path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin{os.pathsep}/sbin")
        self(path, f"{name} (Debian: apt-get install {package})")
        assert path is not None
        return path

    def module(self, name: str, package: str) -> ModuleType:
        """A Python module, which `pip install PACKAGE` brings."""
        try:
            return importlib.import_module(name)
        except ImportError:
            self(False, f"the module {name} (pip install {package})")
            raise


@pytest.fixture(scope="session")
def require() -> Require:
    """`require(condition, what)`, `require.program(name, debian_package)`, `require.module(name, pip_package)`."""
    return Require()


@pytest.fixture(scope="session")
def patience() -> Callable[[float], float]:
    """Scales a time limit in seconds for slow machines: `patience(5)` is 5, times GEARFAST_TEST_SLOW."""
    factor = float(os.environ.get("GEARFAST_TEST_SLOW", "1"))
    return lambda seconds: seconds * factor


@pytest.fixture(scope="session")
def need_database(require: Require) -> Callable[[str], ModuleType]:
    """`need_database(kind)`: skips unless a server of this kind can be started here; the module with their classes."""

    def look(kind: str) -> ModuleType:
        if sys.platform != "linux":
            pytest.skip("starts databases as Linux does it")
        from tests.store import databases

        database = databases.KINDS[kind]
        require.module(*DATABASES[kind])
        require(database.program(), f"{kind} (Debian: apt-get install {database.package})")
        require.program("setpriv", "util-linux")
        return databases

    return look


@pytest.fixture(scope="session")
def database_url(
    need_database: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """`database_url(kind)`: the URL of an empty store in a database of this test run."""
    run = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        run = run.parent
    with contextlib.ExitStack() as stack:
        urls: dict[str, Callable[[str], str]] = {}

        def url(kind: str) -> str:
            databases = need_database(kind)
            if kind not in urls:
                urls[kind] = stack.enter_context(databases.shared(kind, run))
            return urls[kind](databases.fresh_name())

        yield url
