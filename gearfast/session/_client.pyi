# SPDX-License-Identifier: BSD-3-Clause
from collections import deque
from datetime import datetime
from typing import Any, Final, TypeAlias, final

from gearfast._codec import Decoder
from gearfast.errors import GearfastError
from gearfast.session.events import Event
from gearfast.session.hub import Link
from gearfast.session.moves import Past
from gearfast.session.retry import Retry
from gearfast.types import Handle, Priority

Buffer: TypeAlias = bytes | bytearray | memoryview

LIMIT: Final = 0

class Request:
    packet: bytes
    done: bool
    error: GearfastError | None
    result: Any
    abandoned: bool
    sent: bool
    link: Any
    waiter: Any
    deadline: float | None
    reply_by: float | None
    def __init__(self, packet: bytes) -> None: ...
    @property
    def what(self) -> str: ...
    @property
    def handle_text(self) -> str: ...
    def fail(self, error: GearfastError) -> None: ...

@final
class JobRequest(Request):
    result: bytes
    function: str
    unique: bytes
    background: bool
    handle: bytes
    server: str
    events: deque[Event] | None
    submissions: int
    cancelling: bool
    keyed: bool
    pinned: bool
    earlier: int
    failures: int
    unwritten: int
    lost_handle: bytes
    past: Past | None
    progress: tuple[int, int]
    retry: Retry | None
    retry_by: float
    tried: list[int] | None
    def __init__(self, packet: bytes, function: str, unique: bytes, background: bool) -> None: ...
    def begin_again(self) -> None: ...
    def to_handle(self) -> Handle: ...
    @property
    def what(self) -> str: ...
    @property
    def handle_text(self) -> str: ...

def check_seconds(value: object, what: str) -> None: ...
def time_limit(request: Request) -> float | None: ...

class QuickCalls:
    def set_up(
        self, prefix: bytes, reply: float | None, job_limit: float | None, retry: Retry | None, max_workload: int
    ) -> None: ...
    def limit_job(self, job: JobRequest, timeout: float | None, now: float) -> None: ...
    def limit_background(self, job: JobRequest, timeout: float | None, now: float) -> None: ...
    def new_unique(self) -> bytes: ...
    def checked_unique(self, unique: str | bytes) -> bytes: ...
    def job(
        self,
        function: str,
        workload: Buffer,
        unique: str | bytes | None,
        priority: Priority,
        timeout: float | None,
        now: float,
        reducer: str | None = None,
        retry: Retry | None = None,
    ) -> JobRequest: ...
    def background(
        self,
        function: str,
        workload: Buffer,
        unique: str | bytes | None,
        priority: Priority,
        timeout: float | None,
        now: float,
        reducer: str | None = None,
        retry: Retry | None = None,
        at: float | datetime | None = None,
    ) -> JobRequest: ...

class QuickHub:
    links: list[Link]
    heap: list[tuple[float, int, Request, int]]
    def start(self, job: JobRequest, now: float) -> Link: ...
    def watch(self, request: Request) -> None: ...
    def drop_done(self) -> None: ...
    def note(self, at: float, request: Request, what: int) -> None: ...

class QuickSession:
    server: str
    news: list[Request]
    out: list[bytes]
    replies: deque[Request]
    jobs: dict[bytes, Any]
    decoder: Decoder | None
    def __init__(self, server: str, news: list[Request], max_packet: int) -> None: ...
    def send(self, request: Request) -> None: ...
    def take_output(self) -> bytes: ...
    @property
    def has_output(self) -> bool: ...
    @property
    def unsent(self) -> int: ...
    @property
    def busy(self) -> bool: ...
    def receive(self, data: Buffer) -> None: ...
