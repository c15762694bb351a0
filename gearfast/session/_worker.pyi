# SPDX-License-Identifier: BSD-3-Clause
from collections.abc import Mapping
from typing import Any, Self, TypeAlias, final

Buffer: TypeAlias = bytes | bytearray | memoryview

@final
class Assignment:
    session: WorkerSession
    handle: bytes
    function: bytes
    unique: bytes
    reducer: bytes
    workload: bytes
    lost: bool
    over: bool
    cancelled: bool
    deadline: float | None
    assigned_at: float

class JobView:
    _desk: Any
    _assignment: Assignment
    def __new__(cls, desk: Any, assignment: Assignment) -> Self: ...
    @property
    def workload(self) -> bytes: ...
    @property
    def unique(self) -> bytes: ...

@final
class Slots:
    most: int
    in_hand: int
    resting: bool
    only: WorkerSession | None
    def __init__(self, most: int = 1) -> None: ...

@final
class Desk:
    in_hand: int

@final
class WorkerSession:
    server: str
    desk: Desk
    slots: Slots
    credits: bool
    shared: bool
    ready: list[Assignment]
    refusals: list[tuple[bytes, bytes]]
    jobs: dict[bytes, Assignment]
    grabs: int
    limit: int
    max_result: int
    budget: int
    unanswered: int
    dry: bool
    asleep: bool
    slept_at: float
    def __init__(
        self,
        server: str = "",
        *,
        abilities: Mapping[bytes, int] | None = None,
        worker_id: bytes = b"",
        limit: int = 1,
        all_yours: bool = False,
        max_packet: int = ...,
        max_result: int = ...,
        ready: list[Assignment] | None = None,
        slots: Slots | None = None,
        desk: Desk | None = None,
    ) -> None: ...
    def can_do(self, name: bytes, timeout: int = 0) -> None: ...
    def cant_do(self, name: bytes) -> None: ...
    def grab(self, count: int = 1) -> None: ...
    def balance(self) -> None: ...
    def drop(self, job: Assignment) -> None: ...
    def sleep(self) -> None: ...
    def recall(self) -> None: ...
    def share(self, shared: bool) -> None: ...
    def wake(self) -> None: ...
    def set_limit(self, limit: int) -> None: ...
    def get_status(self, job: Assignment) -> None: ...
    def complete(self, job: Assignment, result: Buffer) -> None: ...
    def answer(self, job: Assignment, result: Buffer) -> bytes: ...
    def fail(self, job: Assignment) -> None: ...
    def exception(self, job: Assignment, data: bytes) -> None: ...
    def data(self, job: Assignment, data: Buffer) -> None: ...
    def warning(self, job: Assignment, data: Buffer) -> None: ...
    def status(self, job: Assignment, numerator: int, denominator: int) -> None: ...
    @property
    def has_output(self) -> bool: ...
    def take_output(self) -> bytes: ...
    def receive(self, data: Buffer, now: float = 0.0) -> bool: ...
