# SPDX-License-Identifier: BSD-3-Clause
"""What is on a disk if the power goes at a moment: what was synced, and any part of what was not.

The model is the weak one that POSIX allows. Between two syncs of a file each sector (512 bytes) of each write may have
reached the disk or not, in any order, and so may each change of its size. A file that was made, or removed, is so for
certain only after a sync of its folder.
"""

from __future__ import annotations

import enum
import random
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

__all__ = ["Kind", "Note", "build_recorder", "cut", "read_notes"]

SECTOR: Final = 512
_HEAD: Final = struct.Struct("<IIqQq")


class Kind(enum.IntEnum):
    """What was done to a file."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    UNLINK = 5


@dataclass(frozen=True, slots=True)
class Note:
    """`time`: seconds of `time.monotonic()`. `offset`: of a write, or the new size."""

    kind: Kind
    path: Path
    offset: int
    data: bytes
    time: float


def build_recorder(folder: Path, compiler: str) -> Path:
    """The library for LD_PRELOAD."""
    library = folder / "recorder.so"
    source = Path(__file__).with_name("recorder.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl", "-lpthread"], check=True)
    return library


def read_notes(log: Path) -> list[Note]:
    """All that was noted, in order. The last note may be in pieces, as its process was killed."""
    data = log.read_bytes()
    notes = []
    at = 0
    while at + _HEAD.size <= len(data):
        kind, length, offset, size, time_ns = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if at + length + size > len(data):
            break
        path = Path(data[at : at + length].decode())
        at += length
        notes.append(Note(Kind(kind), path, offset, data[at : at + size], time_ns / 1e9))
        at += size
    return notes


@dataclass
class _File:
    """`kept`: what is on the disk for certain. `pending`: what was done since its last sync."""

    kept: bytearray = field(default_factory=bytearray)
    pending: list[Note] = field(default_factory=list)
    made: bool = False
    removed: bool = False


def _apply(data: bytearray, note: Note, survives: random.Random | None, share: float) -> None:
    if note.kind is Kind.TRUNCATE:
        if survives is None or survives.random() < share:
            del data[note.offset :]
            data.extend(bytes(note.offset - len(data)))
        return
    for start in range(0, len(note.data), SECTOR):
        part = note.data[start : start + SECTOR]
        if survives is None or survives.random() < share:
            at = note.offset + start
            data.extend(bytes(max(0, at - len(data))))
            data[at : at + len(part)] = part


def _until(notes: list[Note]) -> dict[Path, _File]:
    """The files after these notes."""
    files: dict[Path, _File] = {}
    for note in notes:
        if note.kind is Kind.SYNC and note.path not in files:  # a folder
            files = {path: file for path, file in files.items() if not (file.removed and path.parent == note.path)}
            for path, file in files.items():
                file.made |= path.parent == note.path
            continue
        if note.kind is Kind.CREATE:
            files[note.path] = _File()
        elif note.kind is Kind.UNLINK:
            if note.path in files:
                files[note.path].removed = True
        elif note.kind is Kind.SYNC:
            file = files[note.path]
            for one in file.pending:
                _apply(file.kept, one, None, 1.0)
            file.pending.clear()
        else:
            files.setdefault(note.path, _File()).pending.append(note)
    return files


def cut(notes: list[Note], folder: Path, rng: random.Random) -> None:
    """Writes into `folder` what is there after the power went behind these notes. `rng` decides what was in doubt."""
    share = rng.choice((0.0, 0.5, 0.9, 1.0))
    for path, file in _until(notes).items():
        if (not file.made and rng.random() > share) or (file.removed and rng.random() < 0.5):
            continue
        data = bytearray(file.kept)
        for note in file.pending:
            _apply(data, note, rng, share)
        (folder / path.name).write_bytes(data)
