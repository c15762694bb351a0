# SPDX-License-Identifier: BSD-3-Clause
"""`aiogear.mixin`: bytes of a transport to named tuples, and those who wait for them.

Text is UTF-8; bytes that are none pass as lone surrogates ("surrogateescape") and can be had back as they were.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from gearfast._codec import Decoder, Packet, encode
from gearfast.compat.aiogear.exception import WorkFailed
from gearfast.compat.aiogear.packet import Type
from gearfast.compat.aiogear.response import (
    JobAssign,
    JobAssignAll,
    JobAssignUniq,
    JobCreated,
    NoJob,
    Noop,
    StatusRes,
    StatusResUnique,
    WorkComplete,
    WorkData,
    WorkException,
    WorkFail,
)
from gearfast.errors import ProtocolError
from gearfast.protocol import COMMANDS, MAGIC_RESPONSE

logger = logging.getLogger(__name__.removeprefix("gearfast.compat."))

_TUPLES: dict[Any, Any] = {
    Type.JOB_CREATED: JobCreated,
    Type.JOB_ASSIGN: JobAssign,
    Type.JOB_ASSIGN_UNIQ: JobAssignUniq,
    Type.JOB_ASSIGN_ALL: JobAssignAll,
    Type.WORK_COMPLETE: WorkComplete,
    Type.WORK_DATA: WorkData,
    Type.WORK_EXCEPTION: WorkException,
    Type.NO_JOB: NoJob,
    Type.NOOP: Noop,
}
_TYPES = {packet_type.value: packet_type for packet_type in Type}
_FIELDS = {int(spec.command): len(spec.fields) for spec in COMMANDS}


# Types of packets that somebody waits for, what to call with one of them, and the future that this is for.
_Register = tuple[tuple[Any, ...], Callable[..., Any], "asyncio.Future[Any] | None"]


def to_bytes(value: Any) -> bytes:
    """Text as UTF-8, bytes as they are, anything else as its str()."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return str(value).encode("utf-8", "surrogateescape")


def to_text(value: bytes) -> str:
    """UTF-8 as text, other bytes as lone surrogates."""
    return value.decode("utf-8", "surrogateescape")


def to_bool(x: bytes) -> bool:
    """A flag of the protocol."""
    return x in (b"1", b"true")


def to_int(x: bytes) -> int:
    """A number of the protocol; what is none counts as 0."""
    try:
        return int(x)
    except ValueError:
        return 0


class GearmanProtocolMixin:
    """What clients and workers share. `loop`: the running loop, at the latest when the connection is made."""

    transport: Any = None

    def __init__(self, loop: Any = None) -> None:
        super().__init__()
        if loop is None:
            with contextlib.suppress(RuntimeError):  # made outside of the loop that will connect it
                loop = asyncio.get_running_loop()
        self.loop = loop
        self.__dict__.setdefault("transport", None)
        self._decoder = Decoder()
        self._registers: list[_Register] = []
        self._gone = False  # nothing that is asked now can be answered

    # Sending.

    def serializer(self, packet: Any) -> Callable[..., bytes]:
        """What turns arguments into the body of a packet."""
        return lambda *args: self._request_body(packet, args)

    def serialize_request(self, packet_type: Any, *args: Any) -> bytes:
        """A packet to the job server, as bytes."""
        return encode(packet_type.value, *_fit(packet_type, args), magic=b"\0REQ")

    def serialize_response(self, packet_type: Any, *args: Any) -> bytes:
        """A packet from the job server, as bytes."""
        return encode(packet_type.value, *_fit(packet_type, args), magic=MAGIC_RESPONSE)

    def _request_body(self, packet_type: Any, args: tuple[Any, ...]) -> bytes:
        return b"\0".join(_fit(packet_type, args))

    def send(self, packet: Any, *args: Any) -> None:
        """Sends a packet; nothing happens without a connection. Raises ValueError for arguments that do not fit."""
        self._send(self.serialize_request(packet, *args))

    def _send(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    # Waiting.

    def do_register(self, callback: Callable[..., Any], *packets: Any) -> None:
        """Calls `callback(packet_type, response)` for the next packet of one of these types, and only that."""
        self._registers.append((packets, callback, None))

    def wait_for(self, *packets: Any, return_response: bool = False) -> asyncio.Future[Any]:
        """A future of the next packet of one of these types; with `return_response`, of (type, packet).

        Fails with ConnectionError when the connection is lost.
        """
        future = self._new_future()

        def answer(packet_type: Any, response: Any) -> None:
            if not future.done():
                future.set_result((packet_type, response) if return_response else response)

        self._register(future, answer, *packets)
        return future

    def _request(self, *packets: Any) -> asyncio.Future[Any]:
        """As `wait_for`, for a request that the server may also refuse: then the future fails with WorkFailed."""
        future = self._new_future()

        self._register(future, partial(settle, future), *packets, Type.ERROR)
        return future

    def _new_future(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = (self.loop or asyncio.get_running_loop()).create_future()
        return future

    def _register(self, future: asyncio.Future[Any], answer: Callable[..., Any], *packets: Any) -> None:
        if self._gone:
            fail(future, None)
        else:
            self._registers.append((packets, answer, future))

    def get_registered(self, packet: Any) -> Callable[..., Any] | None:
        """The callback of who has waited longest for this type."""
        for index, (types, callback, _) in enumerate(self._registers):
            if packet in types:
                del self._registers[index]
                return callback
        return None

    def _connected(self, transport: Any) -> None:
        self.transport = transport
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
        self._decoder = Decoder()
        self._gone = False

    def _disconnected(self, exc: BaseException | None) -> None:
        """Fails whatever waits: no answer will come."""
        self.transport = None
        self._gone = True
        registers, self._registers = self._registers, []
        for _, _, future in registers:
            if future is not None:
                fail(future, exc)

    # Receiving.

    def data_received(self, data: bytes) -> None:
        """Takes bytes of the job server. What is no Gearman closes the connection."""
        failure = None
        try:
            items = self._decoder.receive(data)
        except ProtocolError as error:
            items, failure = list(error.packets), error
        for item in items:
            if isinstance(item, Packet):
                packet_type = _TYPES.get(item.command)
                self._received(packet_type, _response(packet_type, item))
            else:
                logger.warning("Received text that nobody asked for: %r", item)
        if failure is not None:
            logger.error("The job server sends nonsense: %s", failure)
            if self.transport is not None:
                self.transport.close()

    def _received(self, packet_type: Any, response: Any) -> None:
        callback = self.get_registered(packet_type)
        if callback is not None:
            callback(packet_type, response)
        else:
            logger.warning("Received un-expected message from server: %s (%r)", packet_type, response)


class ClosableProtocol(GearmanProtocolMixin, asyncio.Protocol):
    """A client's protocol, which can be closed, and left like a block."""

    def __init__(self, loop: Any = None) -> None:
        super().__init__(loop=loop)
        self._closing: asyncio.Future[Any] | None = None

    def _connected(self, transport: Any) -> None:
        super()._connected(transport)
        self._closing = None

    def _closed(self, exc: BaseException | None) -> None:
        """Tells who waits for the end."""
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(exc)

    def disconnect(self) -> asyncio.Future[Any]:
        """Closes the connection; a future of asyncio's reason, None if nothing went wrong."""
        if self._closing is None:
            self._closing = self._new_future()
            if self.transport is None:
                self._closing.set_result(None)
            else:
                self.transport.close()
        return self._closing

    close = disconnect

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        await self.close()


def settle(future: asyncio.Future[Any], packet_type: Any, response: Any) -> None:
    """Ends a request with its answer, or with WorkFailed if the server refused it; no harm if it has ended."""
    if future.done():
        return
    if packet_type is Type.ERROR:
        future.set_exception(WorkFailed(*response))
    else:
        future.set_result(response)


def fail(future: asyncio.Future[Any], exc: BaseException | None) -> None:
    """Ends the wait for an answer of a connection that is lost."""
    if not future.done():
        error = ConnectionError("the connection to the job server is lost")
        error.__cause__ = exc
        future.set_exception(error)
        future.exception()  # nobody need look at it


def _fit(packet_type: Any, args: tuple[Any, ...]) -> list[bytes]:
    """Arguments for the codec: those beyond the last field belong to it, missing data is empty."""
    number = _FIELDS[packet_type.value]
    values = [to_bytes(value) for value in args]
    if len(values) > number > 0:
        values = [*values[: number - 1], b"\0".join(values[number - 1 :])]
    elif len(values) == number - 1:
        values.append(b"")
    return values


def _response(packet_type: Any, packet: Packet) -> Any:
    """A packet as its named tuple; bytes of the body for those that have none."""
    args = packet.args
    kind = _TUPLES.get(packet_type)
    if kind is not None:
        return kind(*map(to_text, args))
    if packet_type is Type.WORK_FAIL:
        return WorkFail(to_text(args[0].rstrip(b"\0")))  # gearmand ends it with a NUL in place of an exception
    if packet_type is Type.STATUS_RES:
        handle, known, running, numerator, denominator = args
        return StatusRes(to_text(handle), to_bool(known), to_bool(running), to_int(numerator), to_int(denominator))
    if packet_type is Type.STATUS_RES_UNIQUE:
        unique, known, running, *numbers = args
        return StatusResUnique(to_text(unique), to_bool(known), to_bool(running), *map(to_int, numbers))
    if packet_type is Type.ERROR:
        code, text = args
        return [int(code) if code.isdigit() else to_text(code), to_text(text.rstrip(b"\0"))]
    return b"\0".join(args)
