# SPDX-License-Identifier: BSD-3-Clause
import socket
from collections.abc import Sequence
from typing import TypedDict

from gearfast.bench._load import Load

class Counted(TypedDict):
    jobs: int
    wall_ns: int
    wrong: int
    histogram: list[int]

def bucket_value(index: int) -> int: ...
def percentile(histogram: Sequence[int], share: float) -> int: ...

class Clients(Load):
    def __init__(
        self,
        sockets: Sequence[socket.socket],
        control: int = -1,
        *,
        kind: int = 0,
        window: int = 1,
        payload: int = 32,
        answer: int = 0,
        function: bytes = b"bench-0",
        uniques: bool = False,
        priority: int = 0,
    ) -> None: ...
    def run(self, seconds: float, limit: int = ..., rate: float = 0.0) -> Counted: ...
    def begin(self, limit: int) -> None: ...
    @property
    def finished_jobs(self) -> int: ...
    @property
    def wrong_results(self) -> int: ...
