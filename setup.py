# SPDX-License-Identifier: BSD-3-Clause
"""The extensions; everything else about the package is in pyproject.toml.

Every gearfast/**/*.pyx is one extension. The environment variable GEARFAST_BUILD picks a build:

    (unset)    optimised
    quick      hardly optimised: compiled in half the time
    debug      -O0 -g, C asserts, the macro GEARFAST_DEBUG
    profile    as optimised, with the debugging information that valgrind and perf want
    sanitize   AddressSanitizer and UndefinedBehaviorSanitizer, with C asserts
    coverage   line tracing in the extensions, for coverage.py's Cython plugin

CYTHON_CACHE_DIR, a folder, keeps the C for builds elsewhere from the same sources.

GEARFAST_ONLY, a list such as gearfast._codec,gearfast.dispatch, builds only what lies at or below these names;
"none" is nothing, for an editable install, which would not leave its objects to the next build.

Directives that change what the code means stand in the .pyx files, so that a file reads the same wherever it is built.

gearfast/compat/startup.pth is installed beside the package as gearfast-compat.pth, where Python reads it at its start.
"""

import os
import sys
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Extension, setup
from setuptools.command.build import build
from setuptools.command.build_ext import build_ext

LINUX_ONLY = ("gearfast/server/_", "gearfast/bench/")
BUILDS = ("", "quick", "debug", "profile", "sanitize", "coverage")
BUILD = os.environ.get("GEARFAST_BUILD", "")
BASE = Path("build", BUILD)
# The same C serves every build but that with line tracing.
CYTHON = (BASE if BUILD == "coverage" else Path("build")) / "cython"
ONLY = [name for name in os.environ.get("GEARFAST_ONLY", "").split(",") if name]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def flags() -> dict[str, list]:
    """The arguments of `Extension` that differ by build and compiler."""
    if sys.platform == "win32":
        compile_args = {"debug": ["/Od", "/Zi"]}.get(BUILD, ["/O2"])
        link_args = {"debug": ["/DEBUG"]}.get(BUILD, [])
    else:
        compile_args = {
            "quick": ["-O1", "-g0"],
            "debug": ["-O0", "-g3"],
            "profile": ["-O3", "-g"],
            "sanitize": ["-O1", "-g", "-fno-omit-frame-pointer", *SANITIZERS],
        }.get(BUILD, ["-O3", "-g0"])
        link_args = {"sanitize": SANITIZERS}.get(BUILD, [])
    checked = BUILD in ("debug", "sanitize")
    macros = [("GEARFAST_DEBUG", "1")] if checked else []
    if BUILD == "coverage":
        macros += [("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")]
    return {
        "extra_compile_args": compile_args,
        "extra_link_args": link_args,
        "define_macros": macros,
        "undef_macros": ["NDEBUG"] if checked else [],
    }


def extensions() -> list[Extension]:
    """One extension for each .pyx that this system can build."""
    found = []
    for path in sorted(Path("gearfast").glob("**/*.pyx")):
        if sys.platform != "linux" and path.as_posix().startswith(LINUX_ONLY):
            continue
        name = ".".join(path.with_suffix("").parts)
        if ONLY and not any(f"{name}.".startswith(f"{only}.") for only in ONLY):
            continue
        found.append(Extension(name, [path.as_posix()], include_dirs=[path.parent.as_posix()], **flags()))
    return found


class BuildExtensions(build_ext):
    """`build_ext` that runs Cython only when extensions are built, and keeps the C below build/."""

    def build_extensions(self) -> None:
        from Cython.Build import cythonize

        generated = cythonize(
            self.extensions,
            build_dir=str(CYTHON),
            nthreads=os.cpu_count() or 1 if sys.platform == "linux" else 0,
            include_path=["."],
            cache=os.environ.get("CYTHON_CACHE_DIR") or False,
            compiler_directives={"language_level": 3, **({"linetrace": True} if BUILD == "coverage" else {})},
        )
        sources = {extension.name: extension.sources for extension in generated}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        super().build_extensions()

    def copy_extensions_to_source(self) -> None:
        # What lies in place may be newer and yet come from another build; without force only older files are replaced.
        self.force = True
        super().copy_extensions_to_source()


class BuildStartup(Command):
    """Puts the .pth file where the package goes; into an editable wheel too, which holds little else."""

    SOURCE = Path("gearfast/compat/startup.pth")
    NAME = "gearfast-compat.pth"

    def initialize_options(self) -> None:
        self.build_lib = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        where = self.get_finalized_command("install").install_lib if self.editable_mode else self.build_lib
        self.mkpath(str(where))
        self.copy_file(str(self.SOURCE), str(Path(where, self.NAME)))

    def get_outputs(self) -> list[str]:
        return [] if self.editable_mode else [str(Path(self.build_lib, self.NAME))]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    def get_source_files(self) -> list[str]:
        return [self.SOURCE.as_posix()]


class Build(build):
    """`build` with that."""

    sub_commands: ClassVar = [*build.sub_commands, ("build_startup", None)]


if BUILD not in BUILDS:
    sys.exit(f"GEARFAST_BUILD={BUILD}: expected one of {', '.join(filter(None, BUILDS))}, or unset")

setup(
    ext_modules=extensions(),
    cmdclass={"build": Build, "build_ext": BuildExtensions, "build_startup": BuildStartup},
    options={"build": {"build_base": str(BASE)}, "build_ext": {"parallel": os.cpu_count() or 1}},
)
