# SPDX-License-Identifier: BSD-3-Clause
"""Where `gearfast submit` takes its jobs from: arguments, standard input, its lines, files, a directory."""

from __future__ import annotations

import fnmatch
import os
import sys
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from gearfast.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["Workloads"]


class Workload(NamedTuple):
    """The data of one job. `name`: of the file that it comes from, relative to the directory; else empty."""

    data: bytes
    name: str = ""


class Workloads:
    """All that the command line asks for, one at a time. `total`: how many, None if only the end will tell.

    Iterating raises UsageError with the file's name for one that cannot be read.
    """

    def __init__(self, args: argparse.Namespace, words: list[str]) -> None:
        self._words = words
        self._lines: bool = args.lines or args.bare_lines
        self._bare: bool = args.bare_lines
        self._no_data: bool = args.no_data
        self._base: str = args.directory or ""
        self._paths: list[str] | None = None
        if args.directory is not None:
            if words or args.files:
                raise UsageError("--directory gives the jobs: no DATA and no --files beside it")
            self._paths = _listed(args.directory, args.glob, args.recursive)
        elif args.glob is not None or args.recursive:
            raise UsageError("--glob and --recursive are for --directory DIR")
        elif args.files:
            if not words:
                raise UsageError("--files: which? `gearfast submit FUNCTION --files FILE ...`")
            self._paths = words
            for path in words:
                # A pipe is fine, as a shell's <(command) is one.
                if path != "-" and (os.path.isdir(path) or not os.path.exists(path)):
                    raise UsageError(f"{path}: {'not a file' if os.path.exists(path) else 'no such file'}")
        if args.output is not None:
            self._output: str = args.output
            self._check_output()

    @property
    def total(self) -> int | None:
        """How many there are, None if only the end will tell."""
        if self._paths is not None:
            return len(self._paths)
        if self._words:
            return len(self._words)
        return 1 if self._no_data or not self._lines else None

    def _check_output(self) -> None:
        if self._paths is None or "-" in self._paths:
            raise UsageError("--output names the results after files: it needs --files or --directory")
        if self._base and os.path.realpath(self._base) == os.path.realpath(self._output):
            raise UsageError("--output is the --directory itself; the results would go over its files")
        if not self._base:
            names = [os.path.basename(path) for path in self._paths]
            twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
            if twice is not None:
                raise UsageError(f"--output: two of the files are called {twice}; their results would be one file")

    def __iter__(self) -> Iterator[Workload]:
        if self._paths is not None:
            yield from map(self._file, self._paths)
        elif self._words:
            for word in self._words:
                # As the bytes that the shell gave.
                yield Workload(word.encode(sys.getfilesystemencoding(), "surrogateescape"))
        elif self._no_data:
            yield Workload(b"")
        elif self._lines:
            for line in _standard_input():
                yield Workload(line.removesuffix(b"\n") if self._bare else line)
        else:
            yield Workload(_standard_input().read())

    def _file(self, path: str) -> Workload:
        if path == "-":
            return Workload(_standard_input().read(), path)
        try:
            with open(os.path.join(self._base, path), "rb") as file:
                return Workload(file.read(), path if self._base else os.path.basename(path))
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None


def _listed(directory: str, pattern: str | None, recursive: bool) -> list[str]:
    """Sorted names of the files in a directory, relative to it; hidden ones only if the pattern begins with a dot.

    What is there but is no file (a pipe, a socket, a device) is left out with a line on standard error.
    """
    found = []

    def refuse(error: OSError) -> None:
        raise UsageError(f"--directory {error.filename}: {error.strerror}") from None

    for folder, folders, files in os.walk(directory, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if recursive else []
        for name in files:
            if name.startswith(".") and not (pattern or "").startswith("."):
                continue
            if pattern is None or fnmatch.fnmatch(name, pattern):
                path = os.path.join(folder, name)
                if os.path.exists(path) and not os.path.isfile(path):  # reading it could take for ever
                    print(f"gearfast submit: {path}: a pipe, socket or device, left out", file=sys.stderr)
                    continue
                found.append(os.path.relpath(path, directory))
    return sorted(found)


def _standard_input() -> BinaryIO:
    """Standard input, by a reader of its own: the one of `sys.stdin` must not be in use when Python ends."""
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except (OSError, ValueError):  # it is no file: a test's
        return sys.stdin.buffer
