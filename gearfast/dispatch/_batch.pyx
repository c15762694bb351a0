# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A batch as Python sees it: copies, so that any thread may read it while the dispatcher goes on."""

from typing import NamedTuple

from cpython.bytes cimport PyBytes_FromStringAndSize

from gearfast.dispatch._bytes cimport bytes_number, bytes_numbers
from gearfast.dispatch._records cimport Added, Bytes, Change
from gearfast.dispatch._records cimport Batch as BatchRecord


class Batch(NamedTuple):
    """What a store commits at once."""

    number: int
    """One more than that of the batch before."""
    records: bytes
    """Jobs that became durable, one record behind the other, for `Dispatcher.restore`."""
    first: int
    last: int
    """Numbers of the first and the last of those jobs, 0 if there are none; those of `late` aside."""
    count: int
    """How many they are, `late` aside."""
    late: tuple
    """Numbers of jobs with a record here that are older than `first`, in no order."""
    changes: tuple
    """Of jobs that are in the store: (number, losses with a worker)."""
    ended: bytes
    """Numbers of jobs in the store that have ended, 8 bytes each, in no order; some may be of no job there."""

    @property
    def is_empty(self):
        """There is nothing to be stored: only replies wait for it."""
        return not (self.records or self.changes or self.ended)


cdef bytes copy(Bytes* found):
    return PyBytes_FromStringAndSize(found.data, found.size)


cdef object make_batch(BatchRecord* record):
    cdef Added* index = <Added*>record.index.data
    cdef Change* changes = <Change*>record.changes.data
    cdef size_t count = record.index.size // sizeof(Added)
    cdef size_t i
    return Batch(
        record.number,
        copy(&record.records),
        index[0].number if count else 0,
        index[count - 1].number if count else 0,
        count,
        tuple([bytes_number(&record.late, i) for i in range(bytes_numbers(&record.late))]),
        tuple([(changes[i].number, changes[i].retries) for i in range(record.changes.size // sizeof(Change))]),
        copy(&record.done),
    )
