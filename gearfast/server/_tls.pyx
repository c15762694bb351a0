# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Connections with TLS in the epoll of the others, on the standard library's `ssl`.

They are received from and sent to like plain ones, once a tick; between the socket and the dispatcher each has an
`ssl.SSLObject` over two memory BIOs. The GIL is taken once a tick for all of them. Records go into `ssl` one by one and
whole, so that it never has to say that it wants more, which it says by an exception; output goes in by as few calls as
there are records in it.

Until its handshake is done a connection is a greeting, not a peer: a few bytes of C, and an SSLObject only from its
first byte on (see `_greetings.pyx`). How many handshakes are under way at once is bounded; further ones wait in the
kernel, unless one has taken long: it has to give way.
"""

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, EINTR, ETIMEDOUT, errno as c_errno
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, strlen

import ssl

from gearfast.dispatch._core cimport draw_output, feed, feed_commit, feed_space, join, part
from gearfast.dispatch._holds cimport peer_sendable
from gearfast.dispatch._peer cimport peer_by_id, peer_mark_dirty, peer_unsent
from gearfast.dispatch._records cimport PEER_CLOSING, PEER_FULL, PEER_HOLDING, PEER_PENDING, Peer
from gearfast.server._greetings cimport AGE, GREETING, STARTED, WAITING, Greeting, Greetings
from gearfast.server._guard cimport BURST_FULL, OWNED, SILENT
from gearfast.server._linux cimport (
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    IPPROTO_TCP,
    MSG_NOSIGNAL,
    TCP_QUICKACK,
    close,
    epoll_ctl,
    epoll_event,
    recv,
    send,
    setsockopt,
)
from gearfast.server._sockets cimport KIND_PEER, SECURE
from gearfast.server._tls cimport GATHERED, Session

from gearfast.server.log import logger

cdef enum:
    RECORD = 16384              # most plain bytes of a record
    MOST = 5 + RECORD + 2048    # most bytes of a record, however it is sealed
    CHUNK = 131072              # bytes of the buffer that all peers receive into
    SMALL = 1024                # bytes
    PLAIN = 65536               # plain bytes that are handed to the dispatcher at a time
    SEALED = 4 * MOST           # bytes sent at a time
    SENDS = 16                  # of those, for one connection a tick
    DEAD = -2
    STEPS = 16                  # of handshakes a tick: one takes the better part of a millisecond

cdef int ONE = 1


cdef inline size_t record_size(const uint8_t* data, size_t size) noexcept nogil:
    """Bytes of the record at `data`, 0 if it is not all there. What is no record counts as one, for OpenSSL to judge.
    """
    cdef size_t whole
    if size and (data[0] < 20 or data[0] > 23 or size > 1 and data[1] != 3):
        return size
    if size < 5:
        return 0
    whole = 5 + (<size_t>data[3] << 8 | data[4])
    if whole > MOST:
        return size
    return whole if whole <= size else 0


cdef inline object wrapped(const char* data, size_t size):
    """Bytes as an argument for ssl: of few of them a copy costs less than a view."""
    if size <= SMALL:
        return PyBytes_FromStringAndSize(data, size)
    return PyMemoryView_FromMemory(<char*>data, size, PyBUF_READ)


cdef class Session:
    """TLS of one connection: an SSLObject between two memory BIOs, and what is not whole or not sent yet."""

    def __cinit__(self, context):
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.inner = context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.fill, self.fetch = self.incoming.write, self.outgoing.read
        # The methods of an SSLObject only hand on to those of the same name below; a frame of Python for each record
        # would be a twentieth of its cost.
        below = getattr(self.inner, "_sslobj", self.inner)
        self.open, self.seal = below.read, below.write

    def __dealloc__(self):
        free(self.tail)
        free(self.rest)

    cdef int keep_tail(self, const char* data, size_t size) except -1:
        """Keep the begin of a record until the rest has come; 0 bytes forget it."""
        cdef char* tail = NULL
        if size:
            tail = <char*>malloc(size)
            if tail == NULL:
                raise MemoryError
            memcpy(tail, data, size)
        free(self.tail)
        self.tail = tail
        self.tail_size = size
        return 0

    cdef int keep_rest(self, const char* data, size_t sent, size_t size) except -1:
        """Of `size` sealed bytes `sent` were sent; they are `rest` itself, or new ones if there is none."""
        if self.rest != NULL:
            self.rest_at += sent
            if sent == size:
                free(self.rest)
                self.rest = NULL
                self.rest_at = self.rest_size = 0
        elif sent < size:
            self.rest = <char*>malloc(size - sent)
            if self.rest == NULL:
                raise MemoryError
            memcpy(self.rest, data + sent, size - sent)
            self.rest_size = size - sent
        return 0

    cdef int say_end(self) except -1:
        """Seal the end of TLS, once."""
        if not self.ended:
            self.ended = True
            try:
                self.inner.unwrap()
            except ssl.SSLError:
                pass        # the other side has not said it yet, or TLS has failed before
        return 0


cdef class SecureSockets(Greetings):
    """Sockets some of which speak TLS."""

    def __cinit__(self, *args, **settings):
        self.sessions = []
        self.contexts = {}

    def __dealloc__(self):
        self.close_all(False)
        free(self.touched)
        free(self.plain)
        free(self.sealed)

    def add_secure_listener(self, sock, *, context, double handshake_limit, int most_handshakes=1024, admin=None):
        """As `add_listener`, for TLS. `context()` gives the SSLContext of a new connection; `handshake_limit`: seconds
        from accepting it to the end of its handshake, 0 for no limit; `most_handshakes`: under way at once."""
        cdef int slot
        if self.plain == NULL:
            self.plain = <char*>malloc(PLAIN)
            self.sealed = <char*>malloc(SEALED)
        if self.plain == NULL or self.sealed == NULL:
            raise MemoryError
        self.most = SEALED
        self.window = PyMemoryView_FromMemory(self.plain, PLAIN, PyBUF_WRITE)
        self.most_handshakes = max(most_handshakes, 1)
        self.handshake_limit = <int64_t>(handshake_limit * 1e9)
        self.add_listener(sock, admin=admin)
        for slot in range(self.listener_count):
            if self.listeners[slot].fd == sock.fileno():
                self.listeners[slot].secure = True
                self.contexts[slot] = context

    def remove_listener(self, sock):
        """Accept no more on this socket; handshakes that are under way end."""
        cdef int fd = sock.fileno()
        cdef int slot
        cdef int found = -1
        for slot in range(self.listener_count):
            if self.listeners[slot].fd == fd and self.listeners[slot].secure:
                found = slot
        Greetings.remove_listener(self, sock)
        if found >= 0:
            del self.contexts[found]
            self.end_greetings(found)

    def close_peer(self, peer):
        """Send what can be sent at once and close a connection. KeyError if there is no such peer."""
        cdef Peer* found = peer_by_id(self.core, peer)
        if found != NULL and found.interest & SECURE:
            self.finish(found)
        else:
            Greetings.close_peer(self, peer)

    @property
    def sealed_bytes(self):
        """Bytes that are sealed and not sent; `unsent` of the dispatcher's peers does not count them."""
        cdef size_t size = 0
        for session in self.sessions:
            if session is not None:
                size += (<Session>session).rest_size - (<Session>session).rest_at
        return size

    # The tick

    cdef void wake_secure(self, uint64_t mark, uint32_t events) noexcept nogil:
        self.woken[self.woken_count].mark = mark
        self.woken[self.woken_count].events = events
        self.woken_count += 1

    cdef void turn_secure(self) noexcept nogil:
        """All that is ready, with the GIL taken once; sending to those that are touched is part of it."""
        cdef int i
        cdef int steps = 0
        with gil:
            self.receive_woken()
            for i in range(self.woken_count):
                # Those beyond the bound stay ready: the kernel tells of them again, and of these behind them.
                if self.woken[i].mark >> 62 != KIND_PEER and steps < STEPS:
                    steps += 1
                    self.greet(<int><uint32_t>self.woken[i].mark & ~GREETING)
            self.woken_count = 0
            self.expire()
            self.flush_dirty()

    cdef void receive_woken(self) noexcept:
        """First receive from those that are ready, then open what has come: the work of the kernel and that of OpenSSL
        each are long ways through code, which a cache holds better one after the other."""
        cdef int i
        cdef Peer* peer
        cdef uint32_t events
        cdef ssize_t end
        for i in range(self.woken_count):
            events = self.woken[i].events
            if self.woken[i].mark >> 62 != KIND_PEER:
                continue
            peer = peer_by_id(self.core, self.woken[i].mark)
            if peer == NULL or events & EPOLLOUT and peer.interest & EPOLLOUT and not self.send_held(peer):
                continue
            if not events & (EPOLLIN | EPOLLERR | EPOLLHUP):
                continue
            if peer.flags & (PEER_PENDING | PEER_FULL):
                if self.core.restoring:
                    self.await_restore(peer, events)
                continue
            if CHUNK - self.gathered_end < 2 * MOST or self.gathered_count == GATHERED:
                self.open_gathered()
            end = self.gather(<Session>self.sessions[<uint32_t>peer.id], peer.fd, self.gathered_end)
            if end == DEAD:
                self.cut(peer, "it does not answer")
            if end < 0:
                continue
            self.gathered[self.gathered_count].id = peer.id
            self.gathered[self.gathered_count].at = self.gathered_end
            self.gathered[self.gathered_count].end = end
            self.gathered_count += 1
            self.gathered_end = max(<size_t>end, self.gathered_end)
        self.open_gathered()

    cdef void open_gathered(self) noexcept:
        cdef int i
        cdef Peer* peer
        for i in range(self.gathered_count):
            peer = peer_by_id(self.core, self.gathered[i].id)
            if peer != NULL:
                self.receive_secure(peer, self.gathered[i].at, self.gathered[i].end)
        self.gathered_count = 0
        self.gathered_end = 0

    cdef void touch_secure(self, Peer* peer) noexcept nogil:
        cdef uint64_t* touched
        if self.touched_count == self.touched_room:
            touched = <uint64_t*>realloc(self.touched, (2 * self.touched_room + 64) * sizeof(uint64_t))
            if touched == NULL:
                self.send_secure(peer)
                return
            self.touched = touched
            self.touched_room = 2 * self.touched_room + 64
        self.touched[self.touched_count] = peer.id
        self.touched_count += 1

    cdef void seal_touched(self) noexcept nogil:
        cdef size_t i
        cdef Peer* peer
        if not self.touched_count:
            return
        with gil:
            for i in range(self.touched_count):
                peer = peer_by_id(self.core, self.touched[i])
                if peer != NULL:
                    self.send_held(peer)
            self.touched_count = 0

    # Connections

    cdef ssize_t gather(self, Session session, int fd, size_t at) noexcept:
        """One recv into `shared` at `at`, behind the begin of a record that was kept.

        Where it ends; 0 if the connection does, -1 if nothing is new, DEAD if the other side does not answer.
        """
        cdef size_t held = session.tail_size
        cdef ssize_t size
        self.receives += 1
        if held:
            memcpy(self.shared + at, session.tail, held)
        size = recv(fd, self.shared + at + held, CHUNK - at - held, 0)
        if size > 0:
            return at + held + size
        if size < 0 and c_errno == ETIMEDOUT:
            return DEAD
        return -1 if size < 0 and (c_errno == EAGAIN or c_errno == EINTR) else 0

    cdef void receive_secure(self, Peer* peer, size_t at, size_t end) noexcept:
        """What has come from a peer lies in `shared` from `at` to `end`, which is 0 if it has ended."""
        cdef uint64_t id = peer.id
        cdef Session session = <Session>self.sessions[<uint32_t>id]
        try:
            if end == 0 or not peer.flags & PEER_CLOSING and not self.open_records(peer, session, at, end):
                # It may have closed only its sending side: answers that are ready still go out.
                self.finish(peer)
        except BaseException as error:
            self.fail(id, error)

    cdef bint open_records(self, Peer* peer, Session session, size_t at, size_t size) except -1:
        """Open the records in `shared` from `at` to `size`, hand on what was in them, keep what is not whole yet.

        False: the other side has said its end.
        """
        cdef size_t got = 0
        cdef size_t room = 0
        cdef size_t whole
        cdef ssize_t opened = 1
        cdef char* large
        cdef bint hurry = False
        while opened and not peer.flags & PEER_CLOSING:
            whole = record_size(<const uint8_t*>self.shared + at, size - at)
            if whole == 0:
                break
            session.fill(wrapped(self.shared + at, whole))
            at += whole
            large = feed_space(self.core, peer, &room) if got == 0 else NULL
            if large != NULL and room < RECORD:
                feed_commit(self.core, peer, 0)     # what is left of a record would stay in `ssl`
                large = NULL
            view = self.window
            if large != NULL:
                view = PyMemoryView_FromMemory(large, room, PyBUF_WRITE)
            elif got:
                view = PyMemoryView_FromMemory(self.plain + got, PLAIN - got, PyBUF_WRITE)
            opened = self.open_one(peer, session, view)
            if large != NULL:
                feed_commit(self.core, peer, max(opened, <ssize_t>0))
                hurry = True
                continue
            if opened <= 0:
                continue
            got += opened
            if PLAIN - got < RECORD:
                feed(self.core, peer, self.plain, got)
                got = 0
        if got:
            feed(self.core, peer, self.plain, got)
        if hurry:
            setsockopt(peer.fd, IPPROTO_TCP, TCP_QUICKACK, &ONE, sizeof(ONE))
        if not opened or peer.flags & PEER_CLOSING:
            at = size           # nobody wants the rest
        if size > at or session.tail_size:
            session.keep_tail(self.shared + at, size - at)
        return opened != 0

    cdef ssize_t open_one(self, Peer* peer, Session session, object view) except -2:
        """Open one record; bytes that were in it, 0 if it is the end, -1 if it has no data."""
        try:
            return session.open(RECORD, view)
        except ssl.SSLWantReadError:
            peer_mark_dirty(self.core, peer)        # it may want an answer
            return -1

    cdef void finish(self, Peer* peer) noexcept:
        """Send what can be sent at once and the end of TLS, and close."""
        cdef uint64_t id = peer.id
        try:
            if self.send_sealed(peer, True):
                self.drop(peer)
        except BaseException as error:
            self.fail(id, error)

    cdef void fail(self, uint64_t id, object why) noexcept:
        """TLS of a connection has failed: the other side gets its alert, if there is one."""
        self.keep_interruption(why)
        cdef Peer* peer = peer_by_id(self.core, id)
        cdef Session session
        cdef int fd
        if peer == NULL:
            return
        session = <Session>self.sessions[<uint32_t>id]
        fd = peer.fd
        logger.info("closing connection %s: TLS failed: %s", peer.address.decode("utf-8", "replace"), why)
        data = session.outgoing.read()
        if session.rest == NULL and data:
            send(fd, <const char*>(<bytes>data), len(data), MSG_NOSIGNAL)
        if peer.interest & EPOLLOUT:
            self.blocked -= 1
        self.linger(peer)

    cdef void keep_interruption(self, object error) noexcept:
        """A signal's handler may raise while `ssl` runs; where `select` hands over, it is raised again."""
        if not isinstance(error, Exception):
            self.interruption = error

    cdef bint send_secure(self, Peer* peer) noexcept nogil:
        with gil:
            return self.send_held(peer)

    cdef bint send_held(self, Peer* peer) noexcept:
        cdef uint64_t id = peer.id
        try:
            return self.send_sealed(peer, False)
        except BaseException as error:
            self.fail(id, error)
        return False

    cdef bint send_sealed(self, Peer* peer, bint ending) except -1:
        """Seal the output and send what the socket takes; False if the peer is gone by that."""
        cdef Session session = <Session>self.sessions[<uint32_t>peer.id]
        cdef size_t total = 0
        cdef size_t size
        cdef ssize_t sent
        cdef const char* data
        cdef int _
        ending = ending or peer.flags & PEER_CLOSING
        for _ in range(SENDS):
            if session.rest != NULL:
                data, size = session.rest + session.rest_at, session.rest_size - session.rest_at
            else:
                data, size = self.sealed, self.seal(session, peer, ending)
                if size == 0:
                    break
            self.sends += 1
            sent = send(peer.fd, data, size, MSG_NOSIGNAL)
            if sent < 0:
                if c_errno != EAGAIN and c_errno != EINTR:
                    self.drop(peer)
                    return False
                sent = 0
            total += sent
            session.keep_rest(data, sent, size)
            if session.rest != NULL or peer_unsent(peer) == 0 and not session.more:
                break
        size = peer_sendable(peer) + session.rest_size - session.rest_at
        if size == 0 and peer.flags & PEER_HOLDING:
            self.await_commit(peer, total)
            return True
        return self.settle_output(peer, size, total)

    cdef size_t seal(self, Session session, Peer* peer, bint ending) except? 0:
        """Seal the next output into `sealed`, and the end behind the last of it if that is wanted; bytes sealed."""
        cdef size_t got = 0
        cdef size_t at, size
        cdef bytes data
        while SEALED - got >= MOST:
            size = draw_output(self.core, peer, self.plain, RECORD)
            at = 0
            while at < size:
                at += session.seal(wrapped(self.plain + at, size - at))
            if ending and peer_unsent(peer) == 0:
                session.say_end()
            data = session.fetch(SEALED - got if got else self.most)
            memcpy(self.sealed + got, <const char*>data, len(data))
            got += len(data)
            session.more = got == SEALED
            if size < RECORD:
                break
        return got

    cdef void forget_secure(self, Peer* peer) noexcept nogil:
        with gil:
            if self.sessions is not None:
                self.sessions[<uint32_t>peer.id] = None

    # Handshakes

    cdef void expire(self) noexcept:
        cdef int oldest
        while self.chains[<int>AGE].count and self.greeting_left(INT64_MAX) <= 0:
            oldest = self.chains[<int>AGE].first
            if self.handshake_limit and self.core.now - self.greetings[oldest].accepted >= self.handshake_limit:
                self.refuse(oldest, f"it took longer than {self.handshake_limit / 1e9:g} s")
            else:
                self.refuse(self.chains[<int>STARTED].first, "others wait, and it has taken the longest")

    cdef void greet(self, int slot) noexcept:
        """Something has come from a connection whose handshake is not done."""
        if self.greetings[slot].fd < 0:
            return
        if self.greetings[slot].chain == WAITING:
            # It is not watched: this is its end.
            self.refuse(slot, "the connection is closed")
            return
        try:
            if self.greetings[slot].chain == STARTED or self.begin(slot):
                self.step(slot)
        except BaseException as error:
            # It need not be of TLS: whatever it is, it is of this connection alone.
            self.keep_interruption(error)
            if self.greetings[slot].fd >= 0:
                self.refuse(slot, error)

    cdef bint begin(self, int slot) except -1:
        """Start the handshake, if there are not too many of them."""
        cdef Greeting* greeting = &self.greetings[slot]
        if self.chains[<int>STARTED].count >= self.most_handshakes:
            self.watch_greeting(slot, 0)
            self.add_to(WAITING, slot)
            return False
        self.starting[slot] = Session(self.contexts[greeting.listener]())
        greeting.begun = self.core.now
        self.add_to(STARTED, slot)
        return True

    cdef int step(self, int slot) except -1:
        """Take what has come, record by record; what is behind the last of the handshake is data already."""
        cdef Session session = <Session>self.starting[slot]
        cdef ssize_t size = self.gather(session, self.greetings[slot].fd, 0)
        cdef size_t at = 0
        cdef size_t whole
        if size == -1:
            self.send_greeting(slot, session)
            return 0
        if size <= 0:
            self.refuse(slot, "the connection is closed")
            return 0
        while True:
            whole = record_size(<const uint8_t*>self.shared + at, size - at)
            if whole == 0:
                break
            session.fill(wrapped(self.shared + at, whole))
            at += whole
            try:
                session.inner.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                if 20 <= <uint8_t>self.shared[0] <= 23:
                    raise
                self.refuse(slot, f"what came is not TLS, but maybe from a client without it: {error}")
                return 0
            return self.welcome(slot, session, at, size)
        session.keep_tail(self.shared + at, size - at)
        self.send_greeting(slot, session)
        return 0

    cdef void send_greeting(self, int slot, Session session) except *:
        """Send what the handshake has to say."""
        cdef int fd = self.greetings[slot].fd
        cdef bytes sealed
        cdef const char* data
        cdef size_t size
        cdef ssize_t sent
        while session.rest != NULL or session.outgoing.pending:
            if session.rest != NULL:
                data, size = session.rest + session.rest_at, session.rest_size - session.rest_at
            else:
                sealed = session.fetch()
                data, size = sealed, len(sealed)
            sent = send(fd, data, size, MSG_NOSIGNAL)
            if sent < 0 and c_errno != EAGAIN and c_errno != EINTR:
                raise ConnectionError("the connection is closed")
            session.keep_rest(data, max(sent, <ssize_t>0), size)
            if session.rest != NULL:
                break
        if self.greetings[slot].blocked != (session.rest != NULL):
            self.greetings[slot].blocked = session.rest != NULL
            self.watch_greeting(slot, EPOLLIN | EPOLLOUT if session.rest != NULL else EPOLLIN)

    cdef int welcome(self, int slot, Session session, size_t at, size_t size) except -1:
        """The handshake is done: from now on it is a peer. `shared` has its data from `at` to `size`."""
        cdef Greeting* greeting = &self.greetings[slot]
        cdef epoll_event event
        cdef uint32_t place
        cdef uint64_t id
        cdef Peer* peer = NULL
        if not self.max_connections or self.core.peer_count < self.max_connections or self.make_place():
            peer = join(self.core, greeting.fd, greeting.address, strlen(greeting.address),
                        self.listeners[greeting.listener].admin)
        if peer == NULL:
            self.burst(BURST_FULL, greeting.address)
            self.refuse(slot, "there are too many connections")
            return 0
        if self.add_newcomer(peer) < 0:
            part(self.core, peer)
            self.refuse(slot, "there is no memory")
            return 0
        self.free_greeting(slot)
        del self.starting[slot]
        id = peer.id
        place = <uint32_t>id
        peer.interest = OWNED | SECURE | EPOLLIN | (SILENT if at == size else 0)
        event.events = EPOLLIN
        event.data.u64 = id
        epoll_ctl(self.epoll, EPOLL_CTL_MOD, peer.fd, &event)
        if place >= <size_t>len(self.sessions):
            self.sessions.extend([None] * (place + 1 - len(self.sessions)))
        self.sessions[place] = session
        peer_mark_dirty(self.core, peer)    # the end of the handshake is still to be sent
        try:
            if not self.open_records(peer, session, at, size):
                self.finish(peer)
        except BaseException as error:
            self.fail(id, error)
        return 0

    cdef void refuse(self, int slot, object why) noexcept:
        """A handshake has failed; the other side gets its alert, if there is one."""
        cdef int fd = self.greetings[slot].fd
        cdef bytes data
        cdef Session session = self.starting.pop(slot, None)
        logger.info("TLS handshake with %s failed: %s", self.label(slot), why)
        self.free_greeting(slot)
        if session is None:
            epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, NULL)
            close(fd)
            return
        data = session.outgoing.read()
        if session.rest == NULL and data:
            send(fd, <const char*>data, len(data), MSG_NOSIGNAL)
        self.linger_on(fd)
