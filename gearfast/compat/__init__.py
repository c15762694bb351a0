# SPDX-License-Identifier: BSD-3-Clause
"""The old Python libraries' names on gearfast's wire code: programs written for them run with one changed import.

    from gearfast.compat import gearman          # instead of: import gearman

`install("gearman")` changes nothing in the program: from then on `import gearman` and all its submodules find the
module here. So does the environment variable GEARFAST_COMPAT=gearman, where gearfast is installed by pip, and
`python -m gearfast.compat program.py` anywhere. Nothing of the old libraries is needed; if they are installed, they are
left alone.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final, NamedTuple

from gearfast.errors import UsageError

__all__ = ["LIBRARIES", "VARIABLE", "Library", "install", "install_from_environment"]

VARIABLE: Final = "GEARFAST_COMPAT"
"""Environment variable with the names to install, separated by commas."""


class Library(NamedTuple):
    """An old library: its import name, and the module of gearfast that takes its place."""

    name: str
    module: str
    marker: str
    """A submodule that the original has, by which it is told from other packages of the same name."""


LIBRARIES: Final = {
    library.name: library
    for library in (
        Library("gearman", "gearfast.compat.gearman", marker="connection_manager"),
        Library("py3gearman", "gearfast.compat.py3gearman", marker="connection_manager"),
        Library("python3_gearman", "gearfast.compat.python3_gearman", marker="connection_manager"),
    )
}
"""All that can be installed, by import name."""


class _Finder:
    """Finds the module of gearfast under the old name, and the submodules below it.

    Without the base classes of `importlib.abc`, whose import would take most of the time when Python starts.
    """

    def __init__(self) -> None:
        self.modules: dict[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name, dot, rest = fullname.partition(".")
        if name not in self.modules:
            return None
        real = f"{self.modules[name]}{dot}{rest}"
        found = importlib.util.find_spec(real)
        if found is None:
            return None
        package = found.submodule_search_locations is not None
        loader: Any = self
        return ModuleSpec(fullname, loader, origin=found.origin, loader_state=real, is_package=package)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(spec.loader_state)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It is executed; only its own spec has to be put back, in whose place the import has put the other one."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


_FINDER: Final = _Finder()
_complaints: set[str] = set()


def install(*names: str) -> None:
    """Lets `import NAME` find gearfast's module from now on, for each of `names` (keys of LIBRARIES).

    Raises UsageError for an unknown name, if another package of that name can be imported, which only happens to be
    called the same, or if a module of that name is imported already.
    """
    for name in names:
        library = LIBRARIES.get(name)
        if library is None:
            raise UsageError(f"gearfast.compat has no {name!r}: there are {', '.join(LIBRARIES)}")
        if name in _FINDER.modules:
            continue
        _refuse_others(library)
        _FINDER.modules[name] = library.module
    if _FINDER.modules and _FINDER not in sys.meta_path:
        finder: Any = _FINDER
        sys.meta_path.insert(0, finder)


def _refuse_others(library: Library) -> None:
    if library.name in sys.modules:
        raise UsageError(f"{library.name!r} is imported already; install gearfast's before the first import of it")
    found = PathFinder.find_spec(library.name)
    if found is None or (found.loader is None and found.origin is None):  # nothing, or a folder without __init__.py
        return
    if PathFinder.find_spec(library.marker, found.submodule_search_locations or []) is None:
        raise UsageError(
            f"the {library.name!r} at {found.origin} is another package, not the one that gearfast takes the place of"
        )


def install_from_environment() -> None:
    """`install` with the names in GEARFAST_COMPAT; called at the start of Python by a .pth file of the wheel.

    What is wrong there is said on standard error, and the program starts all the same.
    """
    for name in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        try:
            install(name)
        except UsageError as error:
            if name not in _complaints:  # in a virtual environment Python reads a .pth file twice
                sys.stderr.write(f"{VARIABLE}: {error}\n")
            _complaints.add(name)
