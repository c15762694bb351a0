# SPDX-License-Identifier: BSD-3-Clause
"""Old names by `install`, by GEARFAST_COMPAT and by `python -m gearfast.compat`."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gearfast
from gearfast import compat
from gearfast.errors import UsageError

from .programs import installed

PACKAGE = Path(gearfast.__file__).parent
# In a checkout, or as it is installed.
STARTUP = next(filter(Path.exists, (PACKAGE / "compat" / "startup.pth", PACKAGE.parent / "gearfast-compat.pth")))
SUBMODULES = (
    "admin_client",
    "admin_client_handler",
    "client",
    "client_handler",
    "command_handler",
    "compat",
    "connection",
    "connection_manager",
    "constants",
    "errors",
    "io",
    "job",
    "protocol",
    "util",
    "version",
    "worker",
    "worker_handler",
)
SHOW = "import gearman, gearman.errors as e; print(gearman.__name__, e.ServerUnavailable.__module__)"
SHOWN = "gearfast.compat.gearman gearfast.compat.gearman.errors\n"


def python(*arguments: str, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python, with warnings as errors, where it finds the gearfast of this test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GEARFAST_")}
    kept["PYTHONPATH"] = os.pathsep.join([str(PACKAGE.parent), *([str(folder)] if folder else [])])
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", compat.LIBRARIES)
def test_the_old_name_is_the_module_of_gearfast(name: str) -> None:
    with installed(name):
        assert importlib.import_module(name) is importlib.import_module(compat.LIBRARIES[name].module)


@pytest.mark.parametrize("submodule", SUBMODULES)
@pytest.mark.parametrize("name", ["gearman", "python3_gearman", "py3gearman"])
def test_submodules_are_the_same_too(name: str, submodule: str) -> None:
    with installed(name):
        old = importlib.import_module(f"{name}.{submodule}")
        assert old is importlib.import_module(f"gearfast.compat.{name}.{submodule}")
        assert getattr(importlib.import_module(name), submodule) is old
        assert old.__spec__ is not None
        assert old.__spec__.name == f"gearfast.compat.{name}.{submodule}"


def test_a_submodule_that_is_not_there() -> None:
    with installed("gearman"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("gearman.nonsense")


def test_twice_is_once() -> None:
    with installed("gearman"):
        compat.install("gearman")
        assert sys.meta_path.count(compat._FINDER) == 1


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="no 'gearwoman'"):
        compat.install("gearwoman")


def test_the_flavours_have_classes_of_their_own() -> None:
    kinds = {importlib.import_module(f"gearfast.compat.{name}").GearmanClient for name in ("gearman", "py3gearman")}
    assert len(kinds) == 2


@pytest.mark.parametrize(("marker", "accepted"), [("connection_manager.py", True), ("libgearman.py", False)])
def test_another_package_of_that_name_is_not_covered_up(tmp_path: Path, marker: str, accepted: bool) -> None:
    (tmp_path / "gearman").mkdir()
    for name in ("__init__.py", marker):
        (tmp_path / "gearman" / name).write_text("")
    code = f"from gearfast import compat; compat.install('gearman'); {SHOW}"
    done = python("-c", code, folder=tmp_path)
    assert done.stdout == (SHOWN if accepted else "")
    assert ("is another package" in done.stderr) is not accepted


def test_too_late(tmp_path: Path) -> None:
    (tmp_path / "gearman.py").write_text("")
    done = python("-c", "import gearman; from gearfast import compat; compat.install('gearman')", folder=tmp_path)
    assert "imported already" in done.stderr


# --- the environment variable ----------------------------------------------------------------------------------------


def at_start(tmp_path: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code where the wheel's .pth file lies in a folder that `site` looks into."""
    (tmp_path / "gearfast-compat.pth").write_bytes(STARTUP.read_bytes())
    return python("-c", f"import site; site.addsitedir({str(tmp_path)!r}); {code}", **environment)


def test_the_variable_puts_the_names_in_place(tmp_path: Path) -> None:
    done = at_start(tmp_path, SHOW, GEARFAST_COMPAT="py3gearman, gearman")
    assert (done.stdout, done.stderr) == (SHOWN, "")


@pytest.mark.parametrize("environment", [{}, {"GEARFAST_COMPAT": ""}])
def test_without_the_variable_nothing_is_imported(tmp_path: Path, environment: dict[str, str]) -> None:
    code = "import sys; print([name for name in sys.modules if name.startswith('gearfast')])"
    done = at_start(tmp_path, code, **environment)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_wrong_name_in_the_variable_is_said_once_and_the_program_starts(tmp_path: Path) -> None:
    code = f"site.addsitedir({str(tmp_path)!r}); {SHOW}"
    done = at_start(tmp_path, code, GEARFAST_COMPAT="gearwoman,gearman")
    assert done.stdout == SHOWN
    assert done.stderr.count("no 'gearwoman'") == len(done.stderr.splitlines()) == 1


def test_the_finder_costs_no_heavy_import(tmp_path: Path) -> None:
    code = "import sys; print({'importlib.resources', 'ssl', 'asyncio', 'gearfast._codec'} & set(sys.modules))"
    done = at_start(tmp_path, code, GEARFAST_COMPAT="gearman")
    assert (done.stdout, done.stderr) == ("set()\n", "")


# --- python -m gearfast.compat ---------------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A program that imports a neighbour, gearman, and says how it was started."""
    (tmp_path / "neighbour.py").write_text("HERE = True\n")
    path = tmp_path / "old_program.py"
    path.write_text(f"import sys, neighbour\n{SHOW}\nprint(__name__, sys.argv[1:])\n")
    return path


def test_a_script_is_run_as_it_is(script: Path) -> None:
    done = python("-m", "gearfast.compat", "--as", "gearman", str(script), "--as", "-x", "y")
    assert (done.stdout, done.stderr) == (f"{SHOWN}__main__ ['--as', '-x', 'y']\n", "")


def test_a_module_is_run_as_it_is(script: Path) -> None:
    done = python("-m", "gearfast.compat", "-m", script.stem, "y", folder=script.parent)
    assert (done.stdout, done.stderr) == (f"{SHOWN}__main__ ['y']\n", "")


def test_the_variable_names_what_a_script_gets(script: Path) -> None:
    done = python("-m", "gearfast.compat", str(script), GEARFAST_COMPAT="py3gearman")
    assert "No module named 'gearman'" in done.stderr or "gearfast.compat.gearman" not in done.stdout


def test_a_wrong_name_is_a_usage_error(script: Path) -> None:
    done = python("-m", "gearfast.compat", "--as", "gearwoman", str(script))
    assert done.returncode == 2
    assert "no 'gearwoman'" in done.stderr


def test_the_programs_exit_status_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "ends.py"
    path.write_text("import sys; sys.exit(7)\n")
    assert python("-m", "gearfast.compat", str(path)).returncode == 7
