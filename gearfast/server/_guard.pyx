# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Watches over the sockets of peers: who does not answer any more, who never said anything, and how often to say so.

Nothing here walks all connections. Who was sent to has a bit that is looked at about once a second until all is
acknowledged; who has come and said nothing yet stands in a queue by age.
"""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc

from gearfast.dispatch._notices cimport LEVEL_WARNING, note
from gearfast.dispatch._peer cimport peer_by_id
from gearfast.dispatch._records cimport Core, Peer
from gearfast.server._linux cimport FIONREAD, ioctl
from gearfast.server._liveness cimport ANSWER_ALL, ANSWER_DEAD, live_init, live_look, live_room

cdef extern from *:
    int __builtin_ctzll(unsigned long long bits) nogil

cdef enum:
    SLICE = 256                 # connections that are looked at in one go

cdef int64_t SECOND = 1000000000
cdef int64_t MOMENT = SECOND // 100     # between two slices of a round
cdef int64_t BURST_PAUSE = 10 * SECOND  # between two lines of one kind


cdef class Guard:
    """The base of `Sockets`, which knows how to close.

    `dead_peer_limit`: seconds within which a peer is given up that does not answer any more though something is under
    way to it, 0 never. `silent_limit`: seconds that a connection may stay without having sent a byte; 0: until its
    place is needed.
    """

    def __dealloc__(self):
        free(self.live.sent)
        free(self.live.doubted)
        free(self.newcomers)

    cdef int guard(self, Core* core, double dead_peer_limit, double silent_limit) except -1:
        self.core = core
        self.silent_time = <int64_t>(min(silent_limit, 1e9) * 1e9)
        live_init(&self.live, min(dead_peer_limit, 1e6))
        self.newcomer_room = 1024
        self.newcomers = <uint64_t*>malloc(self.newcomer_room * sizeof(uint64_t))
        if self.newcomers == NULL:
            raise MemoryError
        return 0

    cdef int64_t guard_wait(self) noexcept nogil:
        """ns until `guard_sweep` has something to do at the latest."""
        cdef int64_t wait = INT64_MAX
        if self.live.under_way:
            wait = MOMENT
        elif self.live.any and self.live.period:
            wait = max(self.live.begun + self.live.period - self.core.now, <int64_t>0)
        if self.silent_time and self.newcomer_count or self.burst_count:
            wait = min(wait, SECOND)
        return wait

    cdef void guard_sweep(self) noexcept nogil:
        cdef int kind
        if self.live.under_way or self.live.any and self.live.period \
                and self.core.now - self.live.begun >= self.live.period:
            self.sweep_unanswered()
        if self.silent_time and self.newcomer_count and self.core.now - self.silent_swept >= SECOND:
            self.silent_swept = self.core.now
            self.sweep_silent()
        if self.burst_count:
            for kind in range(BURSTS):
                if self.bursts[kind].count and self.core.now - self.bursts[kind].logged >= BURST_PAUSE:
                    self.log_burst(kind, b"")

    # Who does not answer

    cdef void sweep_unanswered(self) noexcept nogil:
        """The next slice of those that were sent to; a new round once all of them had their turn."""
        cdef uint64_t bits
        cdef int looks = 0
        cdef int bit
        if not self.live.under_way:
            self.live.under_way = True
            self.live.any = False       # until somebody is sent to, or still waits for an answer
            self.live.begun = self.core.now
            self.live.word = 0
        while self.live.word < self.live.room >> 6:
            bits = self.live.sent[self.live.word]
            while bits:
                bit = __builtin_ctzll(bits)
                bits &= bits - 1
                looks += 1
                self.look_at(<uint32_t>(self.live.word << 6) + bit)
            self.live.word += 1
            if looks >= SLICE:
                return
        self.live.under_way = False

    cdef void look_at(self, uint32_t slot) noexcept nogil:
        cdef Peer* peer = self.core.slots[slot].peer if slot < self.core.slot_count else NULL
        cdef int answer = ANSWER_ALL
        if peer != NULL and peer.interest & OWNED:
            answer = live_look(peer.fd, self.live.silence, self.live.grace, <uint32_t>(self.core.now // 1000000),
                               &self.live.doubted[slot])
        if answer == ANSWER_DEAD:
            self.cut(peer, b"it does not answer")
            answer = ANSWER_ALL
        if answer == ANSWER_ALL:
            self.live.doubted[slot] = 0
            self.live.sent[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
        else:
            self.live.any = True

    # Who says nothing

    cdef int add_newcomer(self, Peer* peer) noexcept nogil:
        """A connection that has not said anything yet; 0, or -1 without memory."""
        if live_room(&self.live, peer.id) < 0:
            return -1
        if self.newcomer_count == self.newcomer_room:
            self.compact_newcomers()
            if self.newcomer_count == self.newcomer_room:
                return -1
        self.newcomers[(self.newcomer_first + self.newcomer_count) & (self.newcomer_room - 1)] = peer.id
        self.newcomer_count += 1
        peer.stalled = self.core.now
        return 0

    cdef void compact_newcomers(self) noexcept nogil:
        """Keep those that are still silent, in a ring of at least twice their number."""
        cdef size_t count = 0
        cdef size_t room = 1024
        cdef size_t i, mask = self.newcomer_room - 1
        cdef uint64_t* kept
        cdef Peer* peer
        for i in range(self.newcomer_count):
            peer = peer_by_id(self.core, self.newcomers[(self.newcomer_first + i) & mask])
            if peer != NULL and peer.interest & SILENT:
                # Never ahead of the place that is read from.
                self.newcomers[(self.newcomer_first + count) & mask] = peer.id
                count += 1
        self.newcomer_count = count
        while room < 2 * count:
            room *= 2
        if room == self.newcomer_room:
            return
        kept = <uint64_t*>malloc(room * sizeof(uint64_t))
        if kept == NULL:
            return
        for i in range(count):
            kept[i] = self.newcomers[(self.newcomer_first + i) & mask]
        free(self.newcomers)
        self.newcomers = kept
        self.newcomer_room = room
        self.newcomer_first = 0

    cdef Peer* oldest_silent(self) noexcept nogil:
        """The connection that has been silent for longest, which stays first in the queue; NULL if there is none."""
        cdef Peer* peer
        cdef int unread
        while self.newcomer_count:
            peer = peer_by_id(self.core, self.newcomers[self.newcomer_first])
            if peer != NULL and peer.interest & SILENT:
                unread = 0
                if ioctl(peer.fd, FIONREAD, &unread) < 0 or unread == 0:
                    return peer
                # What it said has arrived, and is about to be read.
            self.newcomer_first = (self.newcomer_first + 1) & (self.newcomer_room - 1)
            self.newcomer_count -= 1
        return NULL

    cdef void sweep_silent(self) noexcept nogil:
        cdef Peer* peer
        while True:
            peer = self.oldest_silent()
            if peer == NULL or self.core.now - peer.stalled < self.silent_time:
                return
            self.burst(BURST_SILENT, peer.address)
            self.drop(peer)

    cdef bint make_place(self) noexcept nogil:
        """Close the connection that has been silent for longest; False if there is none."""
        cdef Peer* peer = self.oldest_silent()
        if peer == NULL:
            return False
        self.burst(BURST_SILENT, peer.address)
        self.drop(peer)
        return True

    # What there is too much of for a line each

    cdef void burst(self, int kind, const char* address) noexcept nogil:
        """Log the first of its kind at once, and the number of those that follow every ten seconds."""
        self.bursts[kind].count += 1
        self.burst_count += 1
        if self.bursts[kind].logged == 0 or self.core.now - self.bursts[kind].logged >= BURST_PAUSE:
            self.log_burst(kind, address)

    cdef void log_burst(self, int kind, const char* address) noexcept nogil:
        cdef char line[190]
        cdef int size
        cdef uint64_t count = self.bursts[kind].count
        cdef const char* what = b"too many connections: closing a new one"
        if kind == BURST_DESCRIPTORS:
            what = b"out of file descriptors: no new connections for a while"
        elif kind == BURST_SILENT:
            what = b"closing a connection that never said anything"
        if address[0]:
            size = snprintf(line, sizeof(line), "%s (%.64s)", what, address)
        elif count > 1:
            size = snprintf(line, sizeof(line), "%s (%zu times in 10 seconds)", what, <size_t>count)
        else:
            size = snprintf(line, sizeof(line), "%s", what)
        note(self.core, LEVEL_WARNING, line, <size_t>size)
        self.burst_count -= count
        self.bursts[kind].count = 0
        self.bursts[kind].logged = self.core.now

    # Known further up

    cdef void cut(self, Peer* peer, const char* why) noexcept nogil:
        """Close a connection with a line in the log."""
        pass

    cdef void drop(self, Peer* peer) noexcept nogil:
        """Close a connection."""
        pass
