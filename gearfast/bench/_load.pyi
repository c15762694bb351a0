# SPDX-License-Identifier: BSD-3-Clause
import socket
from collections.abc import Sequence

class Load:
    def __init__(self, sockets: Sequence[socket.socket], control: int = -1) -> None: ...
    def close(self) -> None: ...
