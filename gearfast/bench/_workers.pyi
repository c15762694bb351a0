# SPDX-License-Identifier: BSD-3-Clause
import socket
from collections.abc import Sequence

from gearfast.bench._load import Load

class Workers(Load):
    def __init__(
        self,
        sockets: Sequence[socket.socket],
        control: int = -1,
        *,
        grabs: int = 1,
        grab: int = 9,
        answer: int = 0,
        functions: int = 1,
        prefix: bytes = b"bench",
        credits: bool = False,
    ) -> None: ...
    def fence(self) -> None: ...
    def serve(self) -> None: ...
    def settle(self, target: int) -> int: ...
    def take(self, jobs: int) -> int: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    @property
    def finished_jobs(self) -> int: ...
