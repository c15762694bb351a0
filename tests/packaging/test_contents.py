# SPDX-License-Identifier: BSD-3-Clause
"""What is in the sdist and the wheels: exactly the sources, and exactly what is used, compared with the checkout.

GEARFAST_DIST names the folder with the files; `make wheels` builds them and runs this.
"""

from __future__ import annotations

import email.parser
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIST = Path(os.environ["GEARFAST_DIST"])
SOURCE_SUFFIXES = {".py", ".pyx", ".pxd", ".pyi", ".h", ".lua", ".pth", ".sql"}
C_SOURCES = {"gearfast/bench/floor.c"}
"""C that is a source; all other C below gearfast/ was made by Cython."""
LINUX_ONLY = ("gearfast/server/_reactor", "gearfast/bench/")


def checkout(suffixes: set[str]) -> set[str]:
    """The package's files in the checkout with these endings, as paths below it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gearfast").rglob("*")
        if path.suffix in suffixes and "__pycache__" not in path.parts
    }


def photos() -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / "gearfast/demo/photos").iterdir()}


def extensions(platform: str) -> set[str]:
    """Names of the extensions that a wheel for this platform holds, as paths without an ending."""
    names = {name.removesuffix(".pyx") for name in checkout({".pyx"})}
    return names if platform == "linux" else {name for name in names if not name.startswith(LINUX_ONLY)}


@pytest.fixture(scope="module")
def sdist() -> set[str]:
    (path,) = DIST.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module", params=sorted(DIST.glob("*.whl")), ids=lambda path: path.name)
def wheel(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


def test_there_is_a_wheel() -> None:
    assert list(DIST.glob("*.whl"))


def test_sdist_has_every_source(sdist: set[str]) -> None:
    expected = checkout(SOURCE_SUFFIXES) | photos() | C_SOURCES | {"gearfast/py.typed"}
    assert expected - sdist == set()
    project = {"setup.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "SECURITY.md"}
    assert project - sdist == set()
    assert {name for name in sdist if name.startswith("tests/unit/")}


def test_sdist_has_nothing_built(sdist: set[str]) -> None:
    assert {name for name in sdist if name.endswith((".so", ".pyd", ".pyc", ".o"))} == set()
    assert {name for name in sdist if name.startswith(("gearfast/", "build/")) and name.endswith(".c")} == C_SOURCES
    assert {name for name in sdist if name.startswith((".", "dist/"))} == set()


def test_wheel_has_what_is_used_and_no_more(wheel: Path) -> None:
    names = names_in(wheel)
    inside = {name for name in names if name.startswith("gearfast/")}
    built = {name for name in inside if name.endswith((".so", ".pyd"))}
    pages = {name for name in checkout({".html"}) if name.startswith("gearfast/demo/")}
    expected = checkout({".py", ".pyi", ".pxd", ".lua", ".sql"}) | photos() | pages | C_SOURCES | {"gearfast/py.typed"}
    assert inside - built == expected
    # auditwheel puts shared libraries into gearfast.libs; gearfast needs none but the C library.
    assert {name.split("/")[0] for name in names} == {
        "gearfast",
        "gearfast-compat.pth",
        *(n.split("/")[0] for n in names if ".dist-info/" in n),
    }


def test_wheel_has_every_extension_for_one_python(wheel: Path) -> None:
    _, _, python, abi, platform = wheel.stem.split("-")
    system = {"many": "linux", "musl": "linux", "linu": "linux", "maco": "macos", "win_": "windows"}[platform[:4]]
    built = {name for name in names_in(wheel) if name.endswith((".so", ".pyd"))}
    assert {name.split(".")[0] for name in built} == extensions(system)
    assert abi == python  # not abi3, not free-threaded


def test_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        fields = email.parser.Parser().parsestr(archive.read(metadata).decode())
        (points,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        entries = archive.read(points).decode().split()
    assert fields["Name"] == "gearfast"
    assert fields["License-Expression"] == "BSD-3-Clause"
    assert fields["Requires-Python"] == ">=3.11"
    assert [line for line in fields.get_all("Requires-Dist") or [] if "extra ==" not in line] == []
    assert "gearfast.cli:main" in entries
    assert "gearfast.pytest_plugin" in entries
