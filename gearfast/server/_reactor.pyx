# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The job server's sockets on Linux: one epoll, which is also the selector of the server's asyncio loop.

`select` waits, reads every ready socket, dispatches, and then sends once to each peer that was touched (a tick), tick
after tick, without the GIL. It returns to Python only when Python has something to do: a descriptor of asyncio's own,
a timer, a log line. What is in the epoll is told by the two highest bits of its
64-bit mark: a peer, a listener, a descriptor of asyncio's, or a connection that is being closed, with one mark set
aside for the thread that commits: it tells that a batch is settled by means of an eventfd.
"""

import os
import selectors
import threading
from collections.abc import Mapping

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t

from gearfast.dispatch._absent cimport absence_waits
from gearfast.dispatch._core cimport begin_tick, end_tick, is_idle, time_left
from gearfast.dispatch._journal cimport journal_waits
from gearfast.dispatch._peer cimport AHEAD, peer_by_id, peer_fetch, peer_fetch_more
from gearfast.dispatch._records cimport Peer
from gearfast.dispatch._settle cimport journal_settle
from gearfast.server._greetings cimport AGE, GREETING
from gearfast.server._linux cimport (
    CLOCK_MONOTONIC,
    CLOCK_REALTIME,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLIN,
    EPOLLOUT,
    as_ms,
    clock_ns,
    epoll_event,
    epoll_wait,
)
from gearfast.server._sockets cimport KIND_CLOSED, KIND_FOREIGN, KIND_LISTENER, KIND_PEER, SETTLED, make_mark
from gearfast.server._tls cimport EVENTS, SecureSockets

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void* data, size_t size)

cdef int64_t SECOND = 1000000000
cdef int64_t PAUSE = SECOND // 200          # between two looks at what need not be seen to in each tick
cdef int64_t NOTICE_PAUSE = SECOND // 10    # log lines are fetched at most ten times a second

cdef struct Ready:
    int fd
    uint32_t events


class KeyMap(Mapping):
    """A selector's keys; asyncio looks them up by sockets too."""

    def __init__(self, keys):
        self._keys = keys

    def __len__(self):
        return len(self._keys)

    def __iter__(self):
        return iter(self._keys)

    def __getitem__(self, fileobj):
        return self._keys[as_fd(fileobj)]


cdef class Reactor(SecureSockets):
    """An epoll for a dispatcher's connections that asyncio can use as its selector; settings as in `Sockets`.

    `on_work()` is called when the dispatcher has notices, `on_batch()` when its journal has a batch that can be taken,
    `on_idle()` once, when no job is left, after which it is None.
    All calls, `select` included, belong to one thread.
    """

    cdef public object on_work
    cdef public object on_batch
    cdef object idle_callback
    cdef dict keys
    cdef epoll_event events[EVENTS]
    cdef Ready ready[EVENTS]
    cdef int ready_count
    cdef int64_t noticed
    cdef int64_t wall_again         # when the wall clock is read again
    cdef int64_t wall_ahead         # of the monotonic clock
    cdef int64_t chores_again       # when housekeeping is done again, if nothing waits for it before
    cdef uint8_t watch_idle
    cdef readonly int told
    """The eventfd of `settle`, or -1."""
    cdef uint8_t outcome            # what it is about: 1 stored, 2 not stored
    cdef unsigned long thread
    cdef object __weakref__

    def __cinit__(self, *args, **settings):
        self.keys = {}
        self.told = -1
        self.set_time()

    # As a selector

    def fileno(self):
        """The epoll's descriptor, to be watched by another loop."""
        return self.epoll

    def register(self, fileobj, events, data=None):
        """Watch a descriptor of asyncio's; returns its SelectorKey."""
        cdef int fd = as_fd(fileobj)
        if fd in self.keys:
            raise KeyError(f"{fileobj!r} is registered already")
        self.control(EPOLL_CTL_ADD, fd, as_mask(events), make_mark(KIND_FOREIGN, fd))
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self.keys[fd] = key
        return key

    def unregister(self, fileobj):
        """Watch it no more; returns the SelectorKey it had."""
        cdef int fd = as_fd(fileobj)
        key = self.keys.pop(fd)
        try:
            self.control(EPOLL_CTL_DEL, fd, 0, 0)
        except OSError:
            pass    # it was closed before
        return key

    def modify(self, fileobj, events, data=None):
        """Watch for other events; returns the new SelectorKey."""
        cdef int fd = as_fd(fileobj)
        if fd not in self.keys:
            raise KeyError(f"{fileobj!r} is not registered")
        if self.keys[fd].events != events:
            self.control(EPOLL_CTL_MOD, fd, as_mask(events), make_mark(KIND_FOREIGN, fd))
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self.keys[fd] = key
        return key

    def get_key(self, fileobj):
        """The SelectorKey of a descriptor; KeyError if it is not watched."""
        return self.keys[as_fd(fileobj)]

    def get_map(self):
        """All SelectorKeys, found by descriptor or by an object that has one."""
        return KeyMap(self.keys)

    def select(self, timeout=None):
        """Run the server until asyncio has work or `timeout` (s) is over; returns [(SelectorKey, events)]."""
        cdef int64_t limit
        if timeout is None:
            limit = INT64_MAX
        elif timeout <= 0:
            limit = 0
        else:
            limit = <int64_t>min(timeout * 1e9, 1e18)
        self.check_thread()
        with nogil:
            self.turn(limit)
        return self.hand_over()

    def run_once(self):
        """For another loop: do what is ready; returns ns until the next call is due at the latest, -1 if never."""
        cdef int64_t wait
        self.check_thread()
        with nogil:
            self.turn(0)
        self.hand_over()
        with nogil:
            wait = self.time_to_wait(INT64_MAX)
        return -1 if wait == INT64_MAX else wait

    def close(self):
        """Close all connections and the epoll. Listening sockets stay open: they are their owner's."""
        self.close_all(True)
        self.stop_settling()
        self.keys.clear()
        self.sockets.clear()

    def settle(self, stored):
        """From any thread: as Dispatcher.settle, by the thread that runs the reactor, which may be waiting."""
        if self.told >= 0:
            self.outcome = 1 if stored else 2
            os.eventfd_write(self.told, 1)

    def abandon(self):
        """In a forked child: forget everything. The descriptors are left to the caller, and the dispatcher's records
        as they are: the fork may have met the server's thread in the middle of changing them."""
        self.epoll = self.told = -1
        self.core.abandoned = True

    # The server's own

    def start_settling(self):
        """Make `settle` possible. Raises OSError without a descriptor for it."""
        self.told = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.control(EPOLL_CTL_ADD, self.told, EPOLLIN, make_mark(KIND_CLOSED, SETTLED))

    def stop_settling(self):
        """Let go of the descriptor. No thread may be about to call `settle`."""
        told, self.told = self.told, -1
        if told >= 0:
            os.close(told)

    cdef void take_outcome(self) noexcept nogil:
        cdef uint64_t count
        if self.told >= 0 and read(self.told, &count, sizeof(count)) == sizeof(count) and self.outcome:
            journal_settle(self.core, self.outcome == 1)
            self.outcome = 0

    @property
    def on_idle(self):
        return self.idle_callback

    @on_idle.setter
    def on_idle(self, callback):
        self.idle_callback = callback
        self.watch_idle = callback is not None

    cdef int check_thread(self) except -1:
        cdef unsigned long thread = threading.get_ident()
        if self.epoll < 0:
            raise ValueError("the reactor is closed")
        if self.thread == 0:
            self.thread = thread
        elif self.thread != thread:
            raise RuntimeError("a reactor belongs to the thread that ran it first")
        return 0

    cdef list hand_over(self):
        """With the GIL: what the tick left for Python."""
        cdef list found = []
        cdef size_t i
        cdef uint32_t events
        if self.interruption is not None:
            error, self.interruption = self.interruption, None
            raise error
        for i in range(<size_t>self.ready_count):
            key = self.keys.get(self.ready[i].fd)
            if key is None:
                continue
            events = 0
            if self.ready[i].events & ~<uint32_t>EPOLLIN:
                events |= selectors.EVENT_WRITE
            if self.ready[i].events & ~<uint32_t>EPOLLOUT:
                events |= selectors.EVENT_READ
            if events & key.events:
                found.append((key, events & key.events))
        self.ready_count = 0
        if self.on_work is not None and self.notices_wait():
            self.noticed = self.core.now
            self.on_work()
        if self.on_batch is not None and (journal_waits(self.core) or absence_waits(self.core)):
            self.on_batch()
        if self.watch_idle and is_idle(self.core):
            callback = self.idle_callback
            self.on_idle = None
            callback()
        return found

    # The tick; all of it without the GIL

    cdef void set_time(self) noexcept nogil:
        """The wall clock is read while jobs wait for their time, else now and then: it costs as much as the other."""
        cdef int64_t now = clock_ns(CLOCK_MONOTONIC)
        if self.core.schedule.count or now >= self.wall_again:
            self.wall_again = now + PAUSE
            self.wall_ahead = clock_ns(CLOCK_REALTIME) - now
        begin_tick(self.core, now, now + self.wall_ahead)

    cdef bint notices_wait(self) noexcept nogil:
        return self.core.shutdown or self.core.notice_count and self.core.now - self.noticed >= NOTICE_PAUSE

    cdef bint python_wanted(self) noexcept nogil:
        return (
            self.ready_count or self.interruption is not None or self.notices_wait() or journal_waits(self.core)
            or absence_waits(self.core)
            or self.watch_idle and is_idle(self.core)
        )

    cdef int64_t time_to_wait(self, int64_t limit) noexcept nogil:
        """ns until the next thing that is due, at most `limit`."""
        cdef int64_t wait = time_left(self.core)
        if wait >= 0:
            # Something is due some day: if by the wall clock, that may be set while this waits.
            limit = min(limit, wait, SECOND)
        limit = min(limit, self.guard_wait())
        if self.core.notice_count:
            limit = min(limit, max(self.noticed + NOTICE_PAUSE - self.core.now, <int64_t>0))
        if self.blocked or self.linger_count:
            limit = min(limit, SECOND)
        if self.accept_again:
            limit = min(limit, max(self.accept_again - self.core.now, <int64_t>0))
        if self.chains[<int>AGE].count:
            limit = self.greeting_left(limit)
        return max(limit, <int64_t>0)

    cdef void turn(self, int64_t limit) noexcept nogil:
        """Ticks until Python is wanted or `limit` ns are over; at least one."""
        cdef int64_t begun = clock_ns(CLOCK_MONOTONIC)
        cdef int64_t left = limit
        cdef int64_t wait
        cdef int count
        while True:
            if self.core.dirty_count:
                self.flush_dirty()
            wait = 0 if self.python_wanted() else self.time_to_wait(left)
            count = epoll_wait(self.epoll, self.events, EVENTS, as_ms(wait))
            self.waits += 1
            self.set_time()
            if count < 0:
                return      # a signal: Python's handlers want to run
            self.handle_events(count)
            if self.woken_count or self.chains[<int>AGE].count and self.greeting_left(INT64_MAX) <= 0:
                self.turn_secure()
            end_tick(self.core)
            self.flush_dirty()
            if count == 0 or self.live.under_way or self.core.now >= self.chores_again:
                self.chores_again = self.core.now + PAUSE
                self.housekeeping()
            left = limit - (self.core.now - begun)
            if self.python_wanted() or left <= 0:
                return

    cdef inline void look_ahead(self, epoll_event* events) noexcept nogil:
        """Of many peers few are in the cache: fetch the next ones' records while this one is dealt with."""
        if events[1].data.u64 >> 62 == KIND_PEER:
            peer_fetch(self.core, events[1].data.u64)
        if events[0].data.u64 >> 62 == KIND_PEER:
            peer_fetch_more(self.core, events[0].data.u64)

    cdef void handle_events(self, int count) noexcept nogil:
        cdef int i, kind
        cdef uint64_t mark
        cdef Peer* peer
        for i in range(count):
            mark = self.events[i].data.u64
            kind = mark >> 62
            if i < count - AHEAD:
                self.look_ahead(&self.events[i + 1])
            if kind == KIND_PEER:
                peer = peer_by_id(self.core, mark)
                if peer != NULL:
                    self.handle_peer(peer, self.events[i].events)
            elif kind == KIND_LISTENER:
                self.accept_all(<int><uint32_t>mark)
            elif kind == KIND_FOREIGN:
                self.ready[self.ready_count].fd = <int><uint32_t>mark
                self.ready[self.ready_count].events = self.events[i].events
                self.ready_count += 1
            elif mark == make_mark(KIND_CLOSED, SETTLED):
                self.take_outcome()
            elif mark & GREETING:
                self.wake_secure(mark, self.events[i].events)
            else:
                self.drain(<int><uint32_t>mark)


cdef int as_fd(fileobj) except -1:
    cdef int fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
    if fd < 0:
        raise ValueError(f"invalid file descriptor: {fd}")
    return fd


cdef uint32_t as_mask(events) except? 0:
    if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
        raise ValueError(f"invalid events: {events!r}")
    return (EPOLLIN if events & selectors.EVENT_READ else 0) | (EPOLLOUT if events & selectors.EVENT_WRITE else 0)
