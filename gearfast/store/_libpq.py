# SPDX-License-Identifier: BSD-3-Clause
"""A connection to PostgreSQL: psycopg's libpq, binary both ways, with a time limit that a server that hangs meets too.

psycopg's own cursors wait for an answer for ever, and copy an array item by item.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

__all__ = ["DatabaseError", "Link", "array_of_bytes", "array_of_ints", "int8"]

RATE: Final = 10e6
"""Bytes that even a slow server takes in a second: a large write may take that much longer."""
_BYTEA: Final = 17
_INT8: Final = 20


class DatabaseError(Exception):
    """What the server, or the way to it, had to say. `state`: the SQLSTATE, or empty."""

    def __init__(self, text: str, state: str = "") -> None:
        super().__init__(text)
        self.state = state


def int8(number: int) -> bytes:
    """A bigint."""
    return struct.pack(">q", number)


def array_of_ints(numbers: Sequence[int]) -> bytes | None:
    """A bigint[]; None, which is NULL, if there are none."""
    count = len(numbers)
    if not count:
        return None
    fields: list[int] = [8] * (2 * count)
    fields[1::2] = numbers
    return struct.pack(">iiIii" + "iq" * count, 1, 0, _INT8, count, 1, *fields)


def array_of_bytes(values: Sequence[bytes]) -> bytes | None:
    """A bytea[]; None, which is NULL, if there are none."""
    if not values:
        return None
    parts = [struct.pack(">iiIii", 1, 0, _BYTEA, len(values), 1)]
    for value in values:
        parts += (len(value).to_bytes(4, "big"), value)
    return b"".join(parts)


def _clean(message: str) -> str:
    return " ".join(message.split())


class Link:
    """The constructor connects. Raises DatabaseError, from every method."""

    def __init__(self, url: str, timeout: float, settings: dict[str, str]) -> None:
        import psycopg
        from psycopg import pq

        self._pq = pq
        self._timeout = timeout
        try:
            url = psycopg.conninfo.make_conninfo(url, connect_timeout=max(2, math.ceil(timeout)), **settings)
            self._connection = psycopg.connect(url, autocommit=True)
        except psycopg.Error as error:
            raise DatabaseError(_clean(str(error))) from None
        self._error = psycopg.Error
        self._libpq = self._connection.pgconn
        # select() knows no descriptor above 1,023, and a job server has many.
        self._selector = getattr(selectors, "PollSelector", selectors.SelectSelector)()
        self._selector.register(self._libpq.socket, selectors.EVENT_READ)

    def ask(self, sql: str, *values: bytes | None) -> list[list[bytes]]:
        """Rows of a statement, their values in binary form; a NULL is empty."""
        with self._told():
            self._libpq.send_query_params(sql.encode(), values, param_formats=[1] * len(values), result_format=1)
            result = self._finish()
            if result is None:
                return []
            columns = range(result.nfields)
            return [[result.get_value(row, column) or b"" for column in columns] for row in range(result.ntuples)]

    def run(self, sql: str, size: int = 0) -> None:
        """Statements without values. `size`: bytes that the server has to write for them."""
        with self._told():
            self._libpq.send_query(sql.encode())
            self._finish(size)

    def prepare(self, name: str, sql: str) -> None:
        """So that `call` may be used."""
        with self._told():
            self._libpq.send_prepare(name.encode(), sql.encode())
            self._finish()

    def call(self, name: str, values: Sequence[bytes | None]) -> None:
        """A prepared statement."""
        with self._told():
            self._libpq.send_query_prepared(name.encode(), values, param_formats=[1] * len(values), result_format=1)
            self._finish(sum(len(value) for value in values if value))

    def copy_in(self, sql: str, pieces: Iterable[bytes], size: int) -> None:
        """COPY … FROM STDIN of so many bytes.

        What is large had better not be one value: libpq moves all that is left of it with each piece that is sent.
        """
        deadline = time.monotonic() + self.seconds(size)
        with self._told():
            self._libpq.send_query(sql.encode())
            self._flush(deadline, self.seconds(size))
            while self._libpq.is_busy():
                self._wait(deadline, self.seconds(size))
            result = self._libpq.get_result()
            if result is not None and result.status == self._pq.ExecStatus.COPY_IN:
                for piece in pieces:
                    self._libpq.put_copy_data(piece)
                    self._flush(deadline, self.seconds(size))
                self._libpq.put_copy_end()
                result = None
            self._finish(size, result)

    def seconds(self, size: int) -> float:
        """That the server may take for so many bytes."""
        return self._timeout + size / RATE

    def close(self) -> None:
        """Never raises."""
        self._selector.close()
        self._connection.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            raise DatabaseError(_clean(str(error))) from None

    def _flush(self, deadline: float, seconds: float) -> None:
        """Sends what is to be sent."""
        libpq = self._libpq
        if libpq.flush():
            self._selector.modify(libpq.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while libpq.flush():
                self._wait(deadline, seconds)
            self._selector.modify(libpq.socket, selectors.EVENT_READ)

    def _finish(self, size: int = 0, result: PGresult | None = None) -> PGresult | None:
        """Sends what is to be sent and takes all results; the last one. `result`: one that was taken already."""
        libpq = self._libpq
        seconds = self.seconds(size)
        deadline = time.monotonic() + seconds
        self._flush(deadline, seconds)
        last = failed = None
        while True:
            while libpq.is_busy():
                self._wait(deadline, seconds)
            result = result or libpq.get_result()
            if result is None:
                break
            last = result
            if result.status == self._pq.ExecStatus.FATAL_ERROR:
                failed = result
            result = None
        if failed is not None:
            field = self._pq.DiagnosticField
            text = failed.error_field(field.MESSAGE_PRIMARY) or failed.error_message
            raise DatabaseError(
                _clean(text.decode("utf-8", "replace")), (failed.error_field(field.SQLSTATE) or b"").decode()
            )
        return last

    def _wait(self, deadline: float, seconds: float) -> None:
        events = self._selector.select(max(0.0, deadline - time.monotonic()))
        if not events:
            self._connection.close()
            raise DatabaseError(f"no answer within {seconds:g} s")
        if any(event & selectors.EVENT_READ for _, event in events):
            self._libpq.consume_input()
