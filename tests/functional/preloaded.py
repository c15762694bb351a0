# SPDX-License-Identifier: BSD-3-Clause
"""Libraries that are preloaded into processes of tests."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

CLOCK = Path(__file__).with_name("jumping_clock.c")


def build(compiler: str, source: Path, folder: Path) -> Path:
    """The library of a source."""
    built = folder / f"{source.stem}.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", built, source, "-ldl"], check=True)
    return built


def preload(*libraries: Path) -> dict[str, str]:
    """What a process needs in its environment to have them, besides those that it would have anyway."""
    return {"LD_PRELOAD": ":".join([os.environ.get("LD_PRELOAD", ""), *map(str, libraries)]).strip(":")}


class Clock:
    """The wall clock of processes with `environ`."""

    def __init__(self, library: Path, path: Path) -> None:
        self._path = path
        self.environ = {**preload(library), "JUMPING_CLOCK": str(path)}
        self.jump(0)

    def jump(self, seconds: int) -> None:
        """From now on it is wrong by so much."""
        with open(self._path, "r+b" if self._path.exists() else "wb") as file:
            file.write(struct.pack("q", seconds))
