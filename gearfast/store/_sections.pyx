# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Which jobs lie in which section of a store, and what may go.

Sections are kept in the order of their ids, which is that of their jobs' numbers too, so a job's section is found by
halving. Numbers that lie outside (`late`) are in a table. Servers that share a store have ranges of ids and numbers of
their own (`RANGE_BITS` of store/base.py); sections of two ranges are never made one, as some of a third server's may
come between them.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

from cpython.bytes cimport PyBytes_FromStringAndSize

from gearfast.store.base import SectionDamaged

cdef uint64_t MOVED = <uint64_t>1 << 63   # of a number that has ended here: it was late here, and is in a newer section

cdef enum:
    YOUNG = 8                   # of the newest sections, which are not written anew
    LOOKS = 1024                # at sections, in one go
    FEW = 16                    # small neighbours that are let be
    RANGE_BITS = 42             # as store/base.py has it
    SLACK = 8388608             # bytes of ended jobs that are no trouble

cdef struct Place:
    int64_t id
    uint64_t first
    uint64_t last               # first - 1: it has late jobs only
    uint64_t size               # bytes of records
    uint32_t count              # jobs, late ones included
    uint32_t ended_count
    uint32_t ended_room
    uint32_t touched            # by the call at hand
    uint64_t* ended


cdef size_t moved_away(info) except? 0:
    """Of its jobs that are in newer sections, those that it does not count as late any more: a store may have a late
    number once."""
    cdef bytes packed = info.ended
    cdef const uint64_t* ended = <const uint64_t*><const char*>packed
    cdef size_t i
    cdef size_t count = 0
    for i in range(<size_t>len(packed) // sizeof(uint64_t)):
        if ended[i] & MOVED and (ended[i] & ~MOVED) not in info.late:
            count += 1
    return count


cdef bint is_possible(info) except -1:
    """Whether what a store says of a section can be so: what a disk has spoilt may be anything."""
    cdef bint known = all([isinstance(each, int) for each in (info.first, info.last, info.count, info.size)])
    if not known or not 0 <= info.count < 1 << 32 or info.size <= 0:
        return False
    if info.count and not 0 < info.first <= info.first + info.count - 1 <= info.last < 1 << 63:
        return False
    jobs = info.count + len(info.late) + moved_away(info)
    return jobs > 0 and len(info.ended) // 8 <= jobs


cdef bytes packed(list numbers):
    return b"".join([number.to_bytes(8, "little") for number in numbers])


cdef class Sections:
    """What lies where. Not for several threads at once."""

    cdef Place* places
    cdef size_t begin           # sections go at the front, mostly
    cdef size_t end_
    cdef size_t room
    cdef dict late              # number -> id
    cdef dict late_numbers      # id -> numbers; one that was written anew since is another section's
    cdef readonly size_t live
    """Jobs that have not ended."""
    cdef readonly size_t jobs
    """Jobs in all sections, ended ones included."""
    cdef readonly size_t size
    """Bytes of records in all sections."""
    cdef readonly size_t live_size
    """Of them, about as many are of jobs that have not ended."""
    cdef size_t cursor          # where `pick` goes on

    def __cinit__(self):
        self.late = {}
        self.late_numbers = {}

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.begin, self.end_):
            free(self.places[i].ended)
        free(self.places)

    def __len__(self):
        return self.end_ - self.begin

    cdef Place* by_id(self, int64_t id) noexcept:
        """The section of this id, or NULL."""
        cdef size_t at = self.place_of(id)
        return &self.places[at] if at < self.end_ and self.places[at].id == id else NULL

    cdef Place* by_number(self, uint64_t number) except? NULL:
        """The section of this job, or NULL."""
        cdef size_t low = self.begin
        cdef size_t high = self.end_
        cdef size_t middle
        if self.late:
            id = self.late.get(number)
            if id is not None:
                return self.by_id(id)
        while low < high:
            middle = (low + high) // 2
            if self.places[middle].first <= number:
                low = middle + 1
            else:
                high = middle
        if low == self.begin or self.places[low - 1].last < number:
            return NULL
        return &self.places[low - 1]

    cdef int make_room(self) except -1:
        cdef size_t count = self.end_ - self.begin
        cdef Place* places
        if self.end_ < self.room:
            return 0
        if self.begin > self.room // 2:
            memmove(self.places, self.places + self.begin, count * sizeof(Place))
            self.begin = 0
            self.end_ = count
            return 0
        places = <Place*>realloc(self.places, max(2 * self.room, <size_t>64) * sizeof(Place))
        if places == NULL:
            raise MemoryError
        self.places = places
        self.room = max(2 * self.room, <size_t>64)
        return 0

    def add(self, info):
        """A section. Sections are in the order of their ids and of their jobs' numbers: raises ValueError otherwise.

        Raises SectionDamaged if there can be no such section.
        """
        cdef size_t at
        cdef Place* place
        if not is_possible(info):
            raise SectionDamaged(f"section {info.id} is damaged", info.id)
        self.make_room()
        at = self.end_
        if at > self.begin and self.places[at - 1].id >= <int64_t>info.id:
            at = self.place_of(info.id)
            if self.places[at].id == <int64_t>info.id:
                raise ValueError(f"section {info.id} is there already")
        if info.count and (at > self.begin and self.places[at - 1].last >= <uint64_t>info.first
                           or self.next_first(at) <= <uint64_t>info.last):
            raise ValueError(f"section {info.id} is not in the order of its jobs' numbers")
        place = &self.places[at]
        memmove(place + 1, place, (self.end_ - at) * sizeof(Place))
        place.ended = NULL
        place.ended_count = place.ended_room = place.touched = 0
        self.end_ += 1
        self.fill(place, info)
        # Those behind it that have late jobs only have no numbers of their own, but their place among the others.
        while at + 1 < self.end_ and self.places[at + 1].first == self.places[at + 1].last + 1:
            at += 1
            self.places[at].last = self.places[at - 1].last
            self.places[at].first = self.places[at].last + 1

    cdef size_t place_of(self, int64_t id) noexcept:
        """Where the section of this id is, or would be."""
        cdef size_t low = self.begin
        cdef size_t high = self.end_
        cdef size_t middle
        while low < high:
            middle = (low + high) // 2
            if self.places[middle].id < id:
                low = middle + 1
            else:
                high = middle
        return low

    cdef uint64_t next_first(self, size_t at) noexcept:
        """The first number of a job of its own that a section from there on has; the largest number if none has."""
        while at < self.end_:
            if self.places[at].first <= self.places[at].last:
                return self.places[at].first
            at += 1
        return <uint64_t>-1

    cdef int fill(self, Place* place, info) except -1:
        """What a section says of itself, in its place."""
        place.id = info.id
        place.size = info.size
        place.count = info.count + len(info.late) + moved_away(info)
        if info.count:
            place.first, place.last = info.first, info.last
        else:
            place.last = (place - 1).last if place > &self.places[self.begin] else 0
            place.first = place.last + 1
        if info.late:
            self.late_numbers[info.id] = info.late
            for number in info.late:
                self.late[number] = info.id
        self.jobs += place.count
        self.live += place.count
        self.size += place.size
        self.live_size += place.size // place.count * place.count
        self.note_all(place, info.ended)
        return 0

    cdef int forget(self, Place* place) except -1:
        """The opposite of `fill`."""
        cdef int64_t id = place.id
        self.jobs -= place.count
        self.live -= place.count - place.ended_count
        self.size -= place.size
        self.live_size -= self.live_of(place)
        for number in self.late_numbers.pop(id, ()):
            if self.late.get(number) == id:
                del self.late[number]
        return 0

    cdef int note_all(self, Place* place, bytes numbers) except -1:
        cdef const uint64_t* list = <const uint64_t*><const char*>numbers
        cdef size_t i
        for i in range(<size_t>len(numbers) // sizeof(uint64_t)):
            self.note(place, list[i])
        return 0

    cdef int note(self, Place* place, uint64_t number) except -1:
        """One of its jobs has ended."""
        cdef uint64_t* ended
        cdef uint32_t room
        if place.ended_count == place.ended_room:
            room = max(2 * place.ended_room, <uint32_t>8)
            ended = <uint64_t*>realloc(place.ended, room * sizeof(uint64_t))
            if ended == NULL:
                raise MemoryError
            place.ended = ended
            place.ended_room = room
        place.ended[place.ended_count] = number
        place.ended_count += 1
        self.live -= 1
        self.live_size -= place.size // place.count
        return 0

    def end(self, bytes numbers not None, bint moved=False):
        """Jobs have ended. Returns, of the sections that are touched, those that are still wanted with all the numbers
        that have ended there ({id: bytes}), and those that are not: [(id, first, last)], which are forgotten.

        `moved`: they are in the section that is added next.
        """
        cdef const uint64_t* list = <const uint64_t*><const char*>numbers
        cdef Place* place
        cdef set touched = set()
        cdef size_t i
        for i in range(<size_t>len(numbers) // sizeof(uint64_t)):
            place = self.by_number(list[i])
            if place != NULL:
                self.note(place, list[i] | MOVED if moved and list[i] in self.late else list[i])
                if not place.touched:
                    place.touched = 1
                    touched.add(place.id)
        ended = {}
        gone = []
        for id in touched:
            place = self.by_id(id)
            place.touched = 0
            if place.ended_count < place.count:
                ended[id] = PyBytes_FromStringAndSize(<char*>place.ended, place.ended_count * sizeof(uint64_t))
            else:
                gone.append((id, place.first, place.last))
                self.remove(place)
        return ended, gone

    cdef int remove(self, Place* place) except -1:
        cdef size_t i = place - self.places
        self.forget(place)
        free(place.ended)
        if i == self.begin:
            self.begin += 1
        else:
            memmove(place, place + 1, (self.end_ - i - 1) * sizeof(Place))
            self.end_ -= 1
        return 0

    cdef size_t live_of(self, Place* place) noexcept:
        """Bytes of those of its jobs that have not ended, about."""
        return place.size // place.count * (place.count - place.ended_count)

    def pick(self, size_t limit):
        """Neighbours that had better be one section, as ids, at most `limit` bytes of live jobs together; [] if none.

        Either many small ones, or some of which much has ended while that is true of all of them together. Looks at a
        part of them at a time; the newest are left alone, as most of them go by themselves.
        """
        cdef size_t stop = self.end_ - min(self.end_ - self.begin, <size_t>YOUNG)
        cdef bint untidy = self.size > 2 * self.live_size + SLACK
        cdef size_t at = max(self.cursor, self.begin)
        cdef size_t end = min(stop, at + LOOKS)
        cdef size_t first = at
        cdef size_t bytes = 0
        cdef size_t live
        cdef Place* place
        if at >= stop:
            self.cursor = 0
            return []
        while at < end:
            place = &self.places[at]
            live = self.live_of(place)
            if place.id >> RANGE_BITS != self.places[first].id >> RANGE_BITS:
                if self.worth(first, at, untidy):
                    break
                first = at
                bytes = 0
            if live > limit // 4 and not (untidy and 2 * place.ended_count >= place.count):
                if self.worth(first, at, untidy):
                    break
                first = at + 1
                bytes = 0
            elif bytes + live > limit:
                break
            else:
                bytes += live
            at += 1
        # Begun anew at the end, however few came since: else sections that come one by one would never be looked at
        # together.
        self.cursor = at if at < stop else 0
        return [self.places[i].id for i in range(first, at)] if self.worth(first, at, untidy) else []

    cdef bint worth(self, size_t first, size_t end, bint untidy) noexcept:
        """Whether these are worth to be written anew as one."""
        cdef size_t i
        cdef size_t all = 0
        cdef size_t live = 0
        for i in range(first, end):
            all += self.places[i].size
            live += self.live_of(&self.places[i])
        return end - first >= FEW or end > first and untidy and all >= 2 * live

    @property
    def all_seen(self):
        """The next `pick` begins at the oldest."""
        return self.cursor == 0

    def replace(self, ids, info):
        """One section, of the id of the last of them, in place of neighbours; None: nothing of them is live."""
        cdef Place* place
        cdef Place* last = self.by_id(ids[len(ids) - 1])
        cdef size_t i
        if last == NULL:
            raise KeyError(ids[len(ids) - 1])
        if info is None:
            for id in ids:
                self.remove(self.by_id(id))
            return
        for id in ids[:len(ids) - 1]:
            self.remove(self.by_id(id))
        place = self.by_id(info.id)
        i = place - self.places
        self.forget(place)
        place.ended_count = 0
        self.fill(place, info)
        if i > self.begin:
            place.first = max(place.first, self.places[i - 1].last + 1)

    def leave(self, id):
        """A section is not to be touched any more: what becomes of its jobs is noted nowhere."""
        late = self.late_of(id)
        self.remove(self.by_id(id))
        for number in late:
            self.late[number] = id      # else one that was written anew would be looked for where it was before

    def ended_of(self, id):
        """Numbers of the jobs of a section that have ended, rising, 8 bytes each, without any marks."""
        cdef Place* place = self.by_id(id)
        if place == NULL:
            raise KeyError(id)
        return packed(sorted([place.ended[i] & ~MOVED for i in range(place.ended_count)]))

    def where(self, bytes numbers not None):
        """In which sections these jobs are, by id: ({id: numbers}, and numbers that are in none), all 8 bytes each."""
        cdef const uint64_t* list = <const uint64_t*><const char*>numbers
        cdef Place* place
        cdef size_t i
        found = {}
        missing = []
        for i in range(<size_t>len(numbers) // sizeof(uint64_t)):
            place = self.by_number(list[i])
            if place == NULL:
                missing.append(list[i])
            else:
                found.setdefault(place.id, []).append(list[i])
        return {id: packed(mine) for id, mine in sorted(found.items())}, packed(missing)

    def has(self, id):
        """Whether there is a section of this id."""
        return self.by_id(id) != NULL

    def size_of(self, id):
        """Bytes of its records."""
        cdef Place* place = self.by_id(id)
        if place == NULL:
            raise KeyError(id)
        return place.size

    def ids(self):
        """All sections in their order."""
        return [self.places[i].id for i in range(self.begin, self.end_)]

    def late_of(self, id):
        """Numbers of the jobs of a section that lie outside of its range, ended ones included.

        One that was written anew since is only among those of the newer section.
        """
        return tuple([number for number in self.late_numbers.get(id, ()) if self.late.get(number) == id])

    @property
    def has_late(self):
        """Whether any job lies outside of its section's range."""
        return bool(self.late)
