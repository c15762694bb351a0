# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A batch as Python sees it: copies, so that any thread may read it while the dispatcher goes on."""

from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from gearfast.dispatch._record cimport RECORD_CLAIM, Record, has_ended, record_read
from gearfast.dispatch._records cimport Added, Bytes, Change, Freed
from gearfast.dispatch._records cimport Batch as BatchRecord


class Batch(NamedTuple):
    """What a store commits at once.

    `number`: one more than that of the batch before. `records`: jobs that became durable, one record behind the other,
    for `Dispatcher.restore`. `first`, `last`: numbers of the first and the last of them, and `jobs`, how many they are,
    those of `late` aside; 0 if there are none. `late`: numbers of further ones, which are older than `first`, in no
    order. `changes`: of jobs that are in the store, (number, losses with a worker); the last one of a job counts.
    `ended`: numbers of jobs in the store, or of `late`, that have ended, 8 bytes each, in no order; some may be of no
    job there. `replaced`: the same of jobs whose earlier records do not hold any more, rising: the newer one is in
    `late`. Where servers share the store: `claims`, of jobs of `records` that claim their unique, and `freed`, of those
    whose claim ends, (number, function, unique) each; `asked`: uniques of which is to be told whether the store knows
    them.
    """

    number: int
    records: bytes
    first: int
    last: int
    jobs: int
    late: tuple
    changes: tuple
    ended: bytes
    replaced: bytes = b""
    claims: tuple = ()
    freed: tuple = ()
    asked: tuple = ()

    @property
    def is_empty(self):
        """There is nothing to be stored or asked: only replies wait for it."""
        return self.only_asks and not self.asked

    @property
    def only_asks(self):
        """There is nothing to be stored."""
        return not (self.records or self.changes or self.ended or self.replaced or self.freed)


cdef bytes copy(Bytes* found):
    return PyBytes_FromStringAndSize(found.data, found.size)


cdef object make_batch(BatchRecord* record):
    cdef Added* index = <Added*>record.index.data
    cdef Added* late = <Added*>record.late.data
    cdef Change* changes = <Change*>record.changes.data
    cdef size_t count = record.index.size // sizeof(Added)
    cdef size_t i
    return Batch(
        record.number,
        copy(&record.records),
        index[0].number if count else 0,
        index[count - 1].number if count else 0,
        count,
        tuple([late[i].number for i in range(record.late.size // sizeof(Added))]),
        tuple([(changes[i].number, changes[i].losses) for i in range(record.changes.size // sizeof(Change))]),
        copy(&record.done),
        copy(&record.replaced),
        claims_of(record) if record.claims else (),
        freed_of(&record.freed) if record.freed.size else (),
        asked_of(&record.asked) if record.asked.size else (),
    )


cdef tuple claims_of(BatchRecord* batch):
    cdef list found = []
    cdef size_t at = 0
    cdef Record record
    while at < batch.records.size:
        at += record_read(batch.records.data + at, batch.records.size - at, &record)
        if record.head.flags & RECORD_CLAIM:
            found.append((record.head.number, record.function[:record.head.function],
                          record.unique[:record.head.unique]))
    return tuple(found)


cdef tuple freed_of(Bytes* freed):
    cdef list found = []
    cdef size_t at = 0
    cdef Freed head
    cdef const char* text
    while at < freed.size:
        memcpy(&head, freed.data + at, sizeof(Freed))
        text = freed.data + at + sizeof(Freed)
        found.append((head.number, text[:head.function], text[head.function:head.function + head.unique]))
        at += sizeof(Freed) + head.function + head.unique
    return tuple(found)


cdef tuple asked_of(Bytes* asked):
    cdef list found = []
    cdef size_t at = 0
    cdef size_t size
    while at < asked.size:
        size = <unsigned char>asked.data[at]
        found.append(asked.data[at + 1:at + 1 + size])
        at += 1 + size
    return tuple(found)


def chosen(bytes records not None, bytes numbers not None):
    """Those of `records` whose numbers are in `numbers` (8 bytes each, rising).

    Returns them, and the numbers of the others that are not there. Raises ValueError at the first record that is none.
    """
    cdef const char* data = records
    cdef size_t size = len(records)
    cdef const uint64_t* wanted = <const uint64_t*><const char*>numbers
    cdef size_t count = <size_t>len(numbers) // sizeof(uint64_t)
    cdef size_t at = 0
    cdef size_t step
    cdef bytes found = PyBytes_FromStringAndSize(NULL, size)
    cdef char* to = PyBytes_AS_STRING(found)
    cdef size_t kept = 0
    cdef set there = set()
    cdef Record record
    while at < size:
        step = record_read(data + at, size - at, &record)
        if step == 0:
            raise ValueError(f"a record that is not whole, at byte {at}")
        if has_ended(wanted, count, record.head.number):
            memcpy(to + kept, data + at, step)
            kept += step
            there.add(record.head.number)
        at += step
    return found[:kept], b"".join(
        [number.to_bytes(8, "little") for number in [wanted[i] for i in range(count)] if number not in there])


def survivors(bytes records not None, bytes ended not None, late=frozenset()):
    """Those of `records` whose numbers are not in `ended` (8 bytes each, rising), to be written anew.

    Returns (records, first, last, count), the last three as in `Batch`, without the jobs whose numbers are in `late`.
    Raises ValueError at the first record that is none.
    """
    cdef const char* data = records
    cdef size_t size = len(records)
    cdef const uint64_t* gone = <const uint64_t*><const char*>ended
    cdef size_t gone_count = <size_t>len(ended) // sizeof(uint64_t)
    cdef bytes found = PyBytes_FromStringAndSize(NULL, size)
    cdef char* to = PyBytes_AS_STRING(found)
    cdef size_t at = 0
    cdef size_t kept = 0
    cdef size_t count = 0
    cdef size_t step
    cdef uint64_t number
    cdef uint64_t first = 0
    cdef uint64_t last = 0
    cdef Record record
    while at < size:
        step = record_read(data + at, size - at, &record)
        if step == 0:
            raise ValueError(f"a record that is not whole, at byte {at}")
        number = record.head.number
        if not has_ended(gone, gone_count, number):
            memcpy(to + kept, data + at, step)
            kept += step
            if not late or number not in late:
                first = number if first == 0 else min(first, number)
                last = max(last, number)
                count += 1
        at += step
    return found[:kept], first, last, count
