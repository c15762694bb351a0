# SPDX-License-Identifier: BSD-3-Clause
"""One connection of a client: requests out, answers matched to them.

The server answers requests in their order, each by exactly one packet (ERROR included); that pairs JOB_CREATED with its
submission. What follows for a job comes by handle. If several requests of one connection share a job (same unique),
the server sends every packet of the job once for each of them, one right behind the other, so the copies are dealt out
in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from gearfast._codec import Decoder, Packet, encode
from gearfast.errors import (
    JobCancelled,
    JobException,
    JobFailed,
    ProtocolError,
    ResultTooLarge,
    ServerError,
    server_error,
)
from gearfast.protocol import MAX_HANDLE, MAX_PACKET, Command
from gearfast.session._client import JobRequest, QuickSession, Request
from gearfast.session.events import Data, Event, Status, Warning
from gearfast.session.requests import (
    CancelRequest,
    EchoRequest,
    OptionRequest,
    StatusRequest,
    UniqueStatusRequest,
)
from gearfast.types import JobStatus

__all__ = ["ClientSession"]

R = TypeVar("R", bound=Request)
HEADER = 12
MAGICS = (b"\0RES", b"\0REQ")  # gear's job server uses the latter too
BIG = frozenset((Command.WORK_COMPLETE, Command.WORK_DATA, Command.WORK_WARNING, Command.WORK_EXCEPTION))
"""What a worker can make as large as it likes."""


class Shared:
    """The requests of one connection that share a job, and which of them the next copy of a packet is for."""

    __slots__ = ("jobs", "turn")

    def __init__(self, jobs: list[JobRequest]) -> None:
        self.jobs = jobs
        self.turn = 0


class Skipper:
    """Stands in for the decoder while a packet over the limit goes by: of it only the handle is kept.

    `size`: bytes of its body.
    """

    __slots__ = ("_command", "_head", "_left", "_session", "_size")

    def __init__(self, session: ClientSession, command: int, size: int) -> None:
        self._session = session
        self._command = command
        self._size = size
        self._left = size
        self._head = b""

    def receive(self, data: bytes | bytearray | memoryview) -> list[Packet | bytes]:
        """As the decoder's, whose place is given back to one behind the packet."""
        here = min(self._left, len(data))
        if len(self._head) <= MAX_HANDLE:
            self._head += bytes(memoryview(data)[: min(here, MAX_HANDLE + 1 - len(self._head))])
        self._left -= here
        if self._left:
            return []
        self._session._skipped(self._command, self._head.partition(b"\0")[0], self._size)
        return self._session._new_decoder().receive(memoryview(data)[here:])


class ClientSession(QuickSession):
    """The client's half of one connection to `server` (an address, for messages).

    `exceptions`: ask for WORK_EXCEPTION packets (OPTION_REQ goes out first). `client_id`: name for lists of workers.
    `max_packet`: bytes of the largest packet that is kept; a job with a larger one fails with ResultTooLarge.
    `news`: list to which requests are appended when they are done or have new events; the caller empties it.
    """

    __slots__ = ("_max_packet", "_skipper", "exceptions")

    def __init__(
        self,
        server: str = "",
        *,
        exceptions: bool = True,
        client_id: bytes = b"",
        max_packet: int = MAX_PACKET,
        news: list[Request] | None = None,
    ) -> None:
        super().__init__(server, [] if news is None else news, max_packet)
        self.exceptions = False
        self._max_packet = max_packet
        self._skipper: Skipper | None = None
        if client_id:
            self.out.append(encode(Command.SET_CLIENT_ID, client_id))
        if exceptions:
            self.send(OptionRequest(b"exceptions"))

    @property
    def awaited(self) -> int:
        """How many replies and results are still to come."""
        return sum(1 for _ in self.pending())

    def pending(self) -> Iterator[Request]:
        """Requests without their answer or result, in the order in which they went out, jobs first."""
        for entry in self.jobs.values():
            if type(entry) is Shared:
                yield from entry.jobs
            else:
                yield entry
        yield from self.replies

    def unwritten(self, unsent: int) -> set[Request]:
        """Requests of which nothing went out, if the system has not taken the last `unsent` bytes of the output."""
        left = unsent + sum(map(len, self.out))
        found = set()
        for request in reversed(self.replies):  # the answers are due in the order of the output
            left -= len(request.packet)
            if left < 0:
                break
            found.add(request)
        return found

    def forget(self, job: JobRequest) -> None:
        """Take a job out of those whose result is awaited: the server does not know it any more."""
        entry = self.jobs.get(job.handle)
        if type(entry) is Shared:
            if job in entry.jobs:
                entry.jobs.remove(job)
            entry.turn = 0
            if not entry.jobs:
                del self.jobs[job.handle]
        elif entry is job:
            del self.jobs[job.handle]

    def take_rest(self, data: bytes | bytearray | memoryview) -> None:
        """As `receive`, of what begins with a packet that is not plain, or with part of one."""
        decoder = self.decoder or self._skipper
        assert decoder is not None
        try:
            packets = decoder.receive(data)
        except ProtocolError as error:
            packets, error.packets = error.packets, []
            self._take(packets)
            self._skip(error, data)
            return
        self._take(packets)

    def _skip(self, error: ProtocolError, data: bytes | bytearray | memoryview) -> None:
        """Go on behind a packet of a job that is only too large; raise any other error."""
        head = error.head
        size = int.from_bytes(head[8:HEADER], "big")
        command = int.from_bytes(head[4:8], "big")
        too_large = len(head) >= HEADER and head[:4] in MAGICS and size + HEADER > self._max_packet
        if not too_large or command not in BIG:
            raise error
        self.decoder = None
        self._skipper = Skipper(self, command, size)
        body = error.left - HEADER
        if body:
            self.receive(memoryview(data)[len(data) - body :])

    def _new_decoder(self) -> Decoder:
        self._skipper = None
        self.decoder = decoder = Decoder(self._max_packet)
        return decoder

    def _skipped(self, command: int, handle: bytes, size: int) -> None:
        """A packet of a job went by. The job fails, as what came is not whole; the rest of it is dropped."""
        if command in (Command.WORK_DATA, Command.WORK_WARNING):
            job = self._turn(handle)
        else:
            job = self._last(handle, self.jobs.pop(handle, None))
        if job is None or job.done:
            return
        limit = self._max_packet - HEADER - MAX_HANDLE - 1
        size -= len(handle) + 1
        what = f"function {job.function!r}: job {job.handle_text} ({self.server}): {size} bytes at once"
        job.fail(
            ResultTooLarge(
                f"{what} are more than max_result={limit}",
                server=self.server,
                function=job.function,
                handle=job.handle_text,
                size=size,
                limit=limit,
            )
        )
        job.abandoned = True
        self.news.append(job)

    def _take(self, packets: list[Packet | bytes]) -> None:
        for packet in packets:
            if isinstance(packet, bytes):
                self._line(packet)
                continue
            handler = _HANDLERS[packet.command]
            if handler is None:
                raise ProtocolError(f"{self.server}: {packet.name} is not for a client")
            handler(self, packet.args)

    # Answers in the order of requests

    def _job_created(self, args: tuple[bytes, ...]) -> None:
        """JOB_CREATED handle"""
        job = self._next_reply(JobRequest, "JOB_CREATED")
        handle = args[0]
        if handle.endswith(b"\0"):
            handle = handle.rstrip(b"\0")
        job.handle = handle
        job.server = self.server
        if job.background:
            if not job.abandoned:
                job.done = True
                self.news.append(job)
            return
        jobs = self.jobs
        if handle in jobs:
            entry = jobs[handle]
            if type(entry) is Shared:
                entry.jobs.append(job)
                entry.turn = 0
            else:
                jobs[handle] = Shared([entry, job])
        else:
            jobs[handle] = job
        if job.events is not None:
            self.news.append(job)

    def _error(self, args: tuple[bytes, ...]) -> None:
        """ERROR code text"""
        if not self.replies:
            return
        request = self.replies.popleft()
        if request.abandoned:
            return
        if type(request) is OptionRequest:
            request.done = True
        else:
            request.fail(self._refused(request, args[0], args[1]))
        self.news.append(request)

    def _refused(self, request: Request, code: bytes, text: bytes) -> ServerError:
        function = request.function if isinstance(request, JobRequest) else ""
        what = f"{request.what} ({self.server})"
        return server_error(code, text, what=what, server=self.server, function=function, handle=request.handle_text)

    def _option_res(self, args: tuple[bytes, ...]) -> None:
        """OPTION_RES option"""
        request = self._next_reply(OptionRequest, "OPTION_RES")
        if request.option == b"exceptions":
            self.exceptions = True
        self._answer(request, True)

    def _echo_res(self, args: tuple[bytes, ...]) -> None:
        """ECHO_RES data"""
        self._answer(self._next_reply(EchoRequest, "ECHO_RES"), args[0])

    def _status_res(self, args: tuple[bytes, ...]) -> None:
        """STATUS_RES handle known running numerator denominator"""
        request = self._next_reply(StatusRequest, "STATUS_RES")
        self._answer(request, JobStatus(args[1] == b"1", args[2] == b"1", number(args[3]), number(args[4])))

    def _status_res_unique(self, args: tuple[bytes, ...]) -> None:
        """STATUS_RES_UNIQUE unique known running numerator denominator clients"""
        request = self._next_reply(UniqueStatusRequest, "STATUS_RES_UNIQUE")
        status = JobStatus(args[1] == b"1", args[2] == b"1", number(args[3]), number(args[4]), number(args[5]))
        self._answer(request, status)

    def _answer(self, request: Request, result: object) -> None:
        if not request.abandoned:
            request.result = result
            request.done = True
            self.news.append(request)

    def _line(self, line: bytes) -> None:
        """OK, or ERR code text: the answer to a text command"""
        replies = self.replies
        if not replies or type(replies[0]) is not CancelRequest:
            raise ProtocolError(f"{self.server}: text {line[:40]!r} where a packet was due", head=line[:32])
        request = replies.popleft()
        if line == b"OK" or line.startswith(b"ERR UNKNOWN_JOB"):
            self._answer(request, line == b"OK")
        elif not request.abandoned:
            code, _, text = line.removeprefix(b"ERR ").partition(b" ")
            request.fail(self._refused(request, code, text.replace(b"+", b" ")))
            self.news.append(request)

    def _next_reply(self, kind: type[R], name: str) -> R:
        """The request in hand, which must be of this kind: a server that answers out of order cannot be followed."""
        replies = self.replies
        if replies and isinstance(replies[0], kind):
            return replies.popleft()  # type: ignore[return-value]
        due = f"the answer to {replies[0].what} was due" if replies else "nothing was asked"
        raise ProtocolError(f"{self.server}: {name} came, but {due}")

    # What follows for a job, by handle

    def _work_complete(self, args: tuple[bytes, ...]) -> None:
        """WORK_COMPLETE handle result"""
        job = self._last(args[0], self.jobs.pop(args[0], None))
        if job is not None and not job.abandoned:
            job.result = args[1]
            job.done = True
            self.news.append(job)

    def _work_fail(self, args: tuple[bytes, ...]) -> None:
        """WORK_FAIL handle"""
        job = self._last(args[0], self.jobs.pop(args[0], None))
        if job is not None and not job.abandoned:
            kind, how = (JobCancelled, "was cancelled") if job.cancelling else (JobFailed, "failed")
            message = f"function {job.function!r}: job {job.handle_text} {how} ({self.server})"
            job.fail(kind(message, server=self.server, function=job.function, handle=job.handle_text))
            self.news.append(job)

    def _work_exception(self, args: tuple[bytes, ...]) -> None:
        """WORK_EXCEPTION handle exception"""
        job = self._last(args[0], self.jobs.pop(args[0], None))
        if job is not None and not job.abandoned:
            said = args[1][:200].decode("utf-8", "replace")
            message = f"function {job.function!r}: job {job.handle_text} ({self.server}): {said}"
            about = {"server": self.server, "function": job.function, "handle": job.handle_text}
            job.fail(JobException(message, data=args[1], **about))
            self.news.append(job)

    def _work_data(self, args: tuple[bytes, ...]) -> None:
        """WORK_DATA handle data"""
        self._event(args[0], Data(args[1]))

    def _work_warning(self, args: tuple[bytes, ...]) -> None:
        """WORK_WARNING handle warning"""
        self._event(args[0], Warning(args[1]))

    def _work_status(self, args: tuple[bytes, ...]) -> None:
        """WORK_STATUS handle numerator denominator"""
        status = Status(number(args[1]), number(args[2]))
        job = self._event(args[0], status)
        if job is not None:
            job.progress = (status.numerator, status.denominator)

    def _event(self, handle: bytes, event: Event) -> JobRequest | None:
        """Give an event to the job of `handle` whose turn it is."""
        job = self._turn(handle)
        if job is not None and job.events is not None:
            job.events.append(event)
            self.news.append(job)
        return job

    def _turn(self, handle: bytes) -> JobRequest | None:
        """The job that the next packet of `handle` is for."""
        jobs = self.jobs
        entry = jobs.get(handle) or jobs.get(handle.rstrip(b"\0"))
        if entry is None:
            return None
        if type(entry) is Shared:
            job = entry.jobs[entry.turn]
            entry.turn = (entry.turn + 1) % len(entry.jobs)
        else:
            job = entry
        return job

    def _last(self, handle: bytes, entry: JobRequest | Shared | None) -> JobRequest | None:
        """The request that a job's last packet ends, `entry` having been taken out under `handle`.

        A worker's WORK_FAIL may carry a NUL behind the handle; then nothing was found under it. Of requests that share
        the job the first leaves, the others wait for their own copies.
        """
        if entry is None:
            handle = handle.rstrip(b"\0")
            entry = self.jobs.pop(handle, None)
        if type(entry) is Shared:
            job = entry.jobs.pop(0)
            entry.turn = 0
            if entry.jobs:
                self.jobs[handle] = entry
            return job
        return entry  # type: ignore[return-value]

    def _noop(self, args: tuple[bytes, ...]) -> None:
        """NOOP: meant for workers; a client may ignore it."""


def number(text: bytes) -> int:
    """Decimal text as a job server reads it: what is no number is 0."""
    try:
        return int(text.rstrip(b"\0"))
    except ValueError:
        return 0


_Handler = Callable[[ClientSession, tuple[bytes, ...]], None]

_HANDLERS: list[_Handler | None] = [None] * 43
_HANDLERS[Command.NOOP] = ClientSession._noop
_HANDLERS[Command.JOB_CREATED] = ClientSession._job_created
_HANDLERS[Command.ERROR] = ClientSession._error
_HANDLERS[Command.OPTION_RES] = ClientSession._option_res
_HANDLERS[Command.ECHO_RES] = ClientSession._echo_res
_HANDLERS[Command.STATUS_RES] = ClientSession._status_res
_HANDLERS[Command.STATUS_RES_UNIQUE] = ClientSession._status_res_unique
_HANDLERS[Command.WORK_COMPLETE] = ClientSession._work_complete
_HANDLERS[Command.WORK_FAIL] = ClientSession._work_fail
_HANDLERS[Command.WORK_EXCEPTION] = ClientSession._work_exception
_HANDLERS[Command.WORK_DATA] = ClientSession._work_data
_HANDLERS[Command.WORK_WARNING] = ClientSession._work_warning
_HANDLERS[Command.WORK_STATUS] = ClientSession._work_status
