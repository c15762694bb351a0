# SPDX-License-Identifier: BSD-3-Clause
"""What the worker processes write down: which job each one holds, and every start and end of a job.

    FOLDER/busy/WORKER.json    there while WORKER holds a job; a worker that is killed leaves its file behind
    FOLDER/WORKER.jobs         a line for each start and end

A worker writes its file before it touches a job and removes it before it reports the result. So while the file is
there, the job server has no result of that job.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Held", "Ledger", "ended", "enders", "held_by", "holders", "starts"]


@dataclass(frozen=True)
class Held:
    """A job in the hands of a worker."""

    worker: str
    key: str
    handle: str
    function: str


class Ledger:
    """The writing side: one for each worker process."""

    def __init__(self, folder: Path, worker: str) -> None:
        self._worker = worker
        self._busy = folder / "busy" / f"{worker}.json"
        self._busy.parent.mkdir(parents=True, exist_ok=True)
        # One line, one write: whatever stands there is complete even if the process is killed right after.
        self._log = (folder / f"{worker}.jobs").open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._log.close()

    @contextmanager
    def holding(self, key: str, handle: str, function: str) -> Iterator[None]:
        """The worker holds the job as long as this is open. An end is noted only if the job went well."""
        held = Held(self._worker, key, handle, function)
        self._log.write(f"start {key} {handle}\n".encode())
        part = self._busy.with_name(f".{self._busy.name}.part")
        part.write_text(json.dumps(asdict(held)), encoding="utf-8")
        os.replace(part, self._busy)
        try:
            yield
            self._log.write(f"end {key} {handle}\n".encode())
        finally:
            self._busy.unlink()


def held_by(folder: Path, worker: str) -> Held | None:
    """The job that the worker holds, or held when it was killed; None if it holds none."""
    try:
        return Held(**json.loads((folder / "busy" / f"{worker}.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def holders(folder: Path) -> list[str]:
    """Names of the workers that hold a job right now."""
    return sorted(path.stem for path in (folder / "busy").glob("*.json"))


def _lines(folder: Path, word: str) -> Iterator[tuple[str, str]]:
    """Worker and key of each line that begins with the word."""
    for path in sorted(folder.glob("*.jobs")):
        for line in path.read_text(encoding="utf-8").splitlines():
            first, key = line.split()[:2]
            if first == word:
                yield path.stem, key


def starts(folder: Path, prefix: str = "") -> Counter[str]:
    """How often each job was begun, of those whose key begins with `prefix`."""
    return Counter(key for _, key in _lines(folder, "start") if key.startswith(prefix))


def ended(folder: Path, prefix: str = "") -> set[str]:
    """The jobs that were done to their end, of those whose key begins with `prefix`."""
    return {key for _, key in _lines(folder, "end") if key.startswith(prefix)}


def enders(folder: Path, key: str) -> list[str]:
    """The workers that did the job to its end."""
    return [worker for worker, done in _lines(folder, "end") if done == key]
