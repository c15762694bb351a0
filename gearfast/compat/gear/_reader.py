# SPDX-License-Identifier: BSD-3-Clause
"""Bytes of one connection to packets and text, for gear's classes.

`gearfast._codec.Decoder` splits the bodies of packets and refuses packet types that the protocol does not have. gear
hands bodies over whole, and programs built on it send types of their own, so it needs a reader of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearfast.compat.gear._errors import InvalidDataError
from gearfast.compat.gear._packet import HEADER, AdminRequest, Packet
from gearfast.protocol import HEADER_SIZE, MAGIC_REQUEST, MAGIC_RESPONSE, MAX_LINE, MAX_PACKET

if TYPE_CHECKING:
    from gearfast.compat.gear._connection import Connection

_MAGICS = (MAGIC_REQUEST, MAGIC_RESPONSE)


class Reader:
    """What has arrived on a connection since it was opened; a new connection gets a new one.

    Bytes are copied once when they complete a packet, however many pieces it came in.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._data = b""
        self._at = 0  # up to here _data has been given out
        self._partial = bytearray()  # an unfinished packet or text; _data is then used up
        self._wanted = 1  # no use to look with fewer bytes than this

    @property
    def rest(self) -> bytes:
        """What has not been given out."""
        return self._data[self._at :] + bytes(self._partial)

    def __len__(self) -> int:
        return len(self._data) - self._at + len(self._partial)

    def feed(self, segment: bytes) -> None:
        """Takes what was received."""
        partial = self._partial
        if self._at < len(self._data):
            partial += self._data[self._at :]
            self._at = len(self._data)
        if partial:
            partial += segment
            if len(partial) < self._wanted:
                return
            segment = bytes(partial)
            self._partial = bytearray()
        self._data = segment
        self._at = 0
        self._wanted = 1

    def next(self) -> Packet | AdminRequest | None:
        """The next packet, or the request of the text protocol that is complete now; None if more bytes are needed.

        Raises InvalidDataError for what is neither, and for text that nobody asked for.
        """
        data, at = self._data, self._at
        have = len(data) - at
        if have < self._wanted:
            return None
        if data[at]:
            return self._text(data[at:] if at else data)
        if have < HEADER_SIZE:
            self._more(HEADER_SIZE)
            return None
        code, ptype, size = HEADER.unpack_from(data, at)
        if code not in _MAGICS or size > MAX_PACKET:
            raise InvalidDataError(f"no packet begins like this: {data[at : at + HEADER_SIZE]!r}")
        if have < HEADER_SIZE + size:
            self._more(HEADER_SIZE + size)
            return None
        start = at + HEADER_SIZE
        self._at = start + size
        return Packet(code, ptype, data[start : self._at], self.connection)

    def _more(self, wanted: int) -> None:
        self._wanted = wanted
        self._partial += self._data[self._at :]
        self._at = len(self._data)

    def _text(self, data: bytes) -> AdminRequest | None:
        request = self.connection._getAdminRequest()
        complete, rest = request.isComplete(data)
        if complete:
            self._data, self._at = rest, 0
            return request
        self.connection._putAdminRequest(request)
        if len(data) > self.connection.text_limit:
            raise InvalidDataError(f"{len(data)} bytes of text without an end")
        self._more(len(data) + 1)
        return None


LINE_LIMIT = MAX_LINE + 1
REPLY_LIMIT = MAX_PACKET
