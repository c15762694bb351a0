# SPDX-License-Identifier: BSD-3-Clause
from collections.abc import Container
from typing import NamedTuple

class Batch(NamedTuple):
    number: int
    records: bytes
    first: int
    last: int
    jobs: int
    late: tuple[int, ...]
    changes: tuple[tuple[int, int], ...]
    ended: bytes
    replaced: bytes = ...
    @property
    def is_empty(self) -> bool: ...

def chosen(records: bytes, numbers: bytes) -> tuple[bytes, bytes]: ...
def survivors(records: bytes, ended: bytes, late: Container[int] = ...) -> tuple[bytes, int, int, int]: ...
