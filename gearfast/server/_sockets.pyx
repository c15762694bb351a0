# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The sockets of a dispatcher's peers: accepting, receiving, sending, closing; all of it without the GIL.

A peer is read once a tick and sent to once a tick. One whose socket is full keeps its output here; when that is over
`high_water` it is not read from either, so that its requests wait in the kernel.
"""

import os

cimport cython
from libc.errno cimport EAGAIN, ECONNABORTED, EINTR, EMFILE, ENFILE, ETIMEDOUT, errno as c_errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from gearfast._codec cimport Field
from gearfast.dispatch._buffer cimport buffer_drop
from gearfast.dispatch._core cimport feed, feed_commit, feed_space, join, part
from gearfast.dispatch._dispatcher cimport Dispatcher
from gearfast.dispatch._holds cimport peer_sendable
from gearfast.dispatch._life cimport leave as leave_jobs
from gearfast.dispatch._notices cimport LEVEL_WARNING, note
from gearfast.dispatch._output cimport output_drop, output_pieces
from gearfast.dispatch._peer cimport (
    dirty_fetch,
    peer_by_id,
    peer_is_behind,
    peer_next_dirty,
    peer_relieve,
    peer_unsent,
)
from gearfast.dispatch._records cimport (
    PEER_CLOSING,
    PEER_FULL,
    PEER_HOLDING,
    PEER_OVERFLOW,
    PEER_PENDING,
    Peer,
)
from gearfast.server._linux cimport (
    ADDRESS,
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLL_CTL_MOD,
    EPOLLERR,
    EPOLLHUP,
    EPOLLIN,
    EPOLLOUT,
    IPPROTO_TCP,
    MSG_NOSIGNAL,
    O_CLOEXEC,
    O_RDONLY,
    SHUT_WR,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    TCP_QUICKACK,
    accept4,
    close,
    epoll_create1,
    epoll_ctl,
    epoll_event,
    iovec,
    is_ready,
    msghdr,
    open,
    recv,
    send,
    sendmsg,
    setsockopt,
    shutdown,
    sockaddr,
    sockaddr_storage,
    socklen_t,
    write_address,
)
from gearfast.server._guard cimport BURST_DESCRIPTORS, BURST_FULL, OWNED, SILENT
from gearfast.server._liveness cimport live_mark
from gearfast.server._sockets cimport KIND_CLOSED, KIND_LISTENER, LINGERS, SECURE, Listener, make_mark

cdef enum:
    SHARED = 131072             # bytes of the buffer that all peers receive into
    PIECES = 64                 # of output that are sent at a time
    ACCEPTS = 64                # new connections a tick and listener

cdef int ONE = 1
cdef int64_t SECOND = 1000000000
cdef int64_t LINGER_TIME = 2 * SECOND
cdef int64_t ACCEPT_PAUSE = SECOND // 10


cdef ssize_t send_pieces(Peer* peer, size_t most) noexcept nogil:
    """One send of output that lies in several places, of `most` bytes at most; as `send`."""
    cdef Field pieces[PIECES]
    cdef iovec vector[PIECES]
    cdef msghdr message
    cdef size_t count = output_pieces(peer, pieces, PIECES)
    cdef size_t i
    for i in range(count):
        vector[i].iov_base = <void*>pieces[i].data
        vector[i].iov_len = min(pieces[i].size, most)
        most -= vector[i].iov_len
    memset(&message, 0, sizeof(message))
    message.msg_iov = vector
    message.msg_iovlen = count
    return sendmsg(peer.fd, &message, MSG_NOSIGNAL)


cdef class Sockets:
    """The sockets of a dispatcher's peers; what it needs of a loop is in `_reactor.pyx`.

    `high_water`: bytes of unsent output beyond which a peer is not read from; `max_unsent`: beyond which it is cut;
    `stall_time`: seconds without progress after which a peer that is over `high_water`, or is to be closed, is cut;
    `max_connections`: further ones are closed at once; 0 for no limit. `dead_peer_limit`, `silent_limit`: see `Guard`.
    Raises OSError if there is no epoll to be had.
    """

    def __cinit__(self, Dispatcher dispatcher not None, *, size_t high_water=1 << 20, size_t max_unsent=256 << 20,
                  double stall_time=30.0, size_t max_connections=0, double dead_peer_limit=10.0,
                  double silent_limit=0.0):
        cdef int i
        self.epoll = -1
        self.spare = -1
        self.dispatcher = dispatcher
        self.guard(&dispatcher.core, dead_peer_limit, silent_limit)
        self.sockets = {}
        self.core.high_water = high_water
        self.max_unsent = max_unsent
        self.stall_time = <int64_t>(stall_time * 1e9)
        self.max_connections = max_connections
        for i in range(LINGERS):
            self.lingers[i].fd = -1
        self.shared = <char*>malloc(SHARED)
        if self.shared == NULL:
            raise MemoryError
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            raise OSError(c_errno, os.strerror(c_errno))
        self.spare = open(b"/dev/null", O_RDONLY | O_CLOEXEC)

    def __dealloc__(self):
        self.close_all(False)
        free(self.shared)
        free(self.listeners)

    # What a driver is told

    def add_listener(self, sock, *, admin=None):
        """Accept the connections of a bound, listening socket. `admin`: see Dispatcher.connect. Keeps the socket."""
        cdef int fd = sock.fileno()
        cdef Listener* listeners
        cdef int slot = 0
        sock.setblocking(False)
        while slot < self.listener_count and self.listeners[slot].fd >= 0:
            slot += 1
        if slot == self.listener_count:
            listeners = <Listener*>realloc(self.listeners, (self.listener_count + 1) * sizeof(Listener))
            if listeners == NULL:
                raise MemoryError
            self.listeners = listeners
            self.listener_count += 1
        self.listeners[slot].fd = fd
        self.listeners[slot].paused = False
        self.listeners[slot].secure = False
        self.listeners[slot].admin = -1 if admin is None else bool(admin)
        try:
            self.control(EPOLL_CTL_ADD, fd, EPOLLIN, make_mark(KIND_LISTENER, slot))
        except OSError:
            self.listeners[slot].fd = -1
            raise
        self.sockets[fd] = sock

    def remove_listener(self, sock):
        """Accept no more on this socket."""
        cdef int fd = sock.fileno()
        cdef int slot
        for slot in range(self.listener_count):
            if self.listeners[slot].fd == fd:
                self.listeners[slot].fd = -1
                if not self.listeners[slot].paused:
                    self.control(EPOLL_CTL_DEL, fd, 0, 0)
                del self.sockets[fd]
                return
        raise KeyError(f"{sock!r} is not listened on")

    def close_peer(self, peer):
        """Send what can be sent at once and close a connection. KeyError if there is no such peer."""
        cdef Peer* found = peer_by_id(self.core, peer)
        if found == NULL:
            raise KeyError(f"there is no peer {peer}")
        if found.interest & OWNED:
            self.send_output(found)
            found = peer_by_id(self.core, peer)
            if found != NULL:
                self.drop(found)

    @property
    def peer_count(self):
        """Connections."""
        return self.core.peer_count

    @property
    def system_calls(self):
        """How often the kernel was asked: (waits, receives, sends)."""
        return self.waits, self.receives, self.sends

    cdef int control(self, int op, int fd, uint32_t mask, uint64_t mark) except -1:
        cdef epoll_event event
        memset(&event, 0, sizeof(event))
        event.events = mask
        event.data.u64 = mark
        if self.epoll < 0:
            raise ValueError("the reactor is closed")
        if epoll_ctl(self.epoll, op, fd, &event) < 0:
            raise OSError(c_errno, os.strerror(c_errno))
        return 0

    # Input and output

    @cython.final
    cdef void handle_peer(self, Peer* peer, uint32_t events) noexcept nogil:
        if peer.interest & SILENT and events & EPOLLIN:
            peer.interest &= ~<uint32_t>SILENT
        if peer.interest & SECURE:
            self.wake_secure(peer.id, events)
            return
        if events & EPOLLOUT and peer.interest & EPOLLOUT and not self.send_output(peer):
            return
        if not events & (EPOLLIN | EPOLLERR | EPOLLHUP):
            return
        if not peer.flags & (PEER_PENDING | PEER_FULL):
            self.receive(peer)
        elif self.core.restoring:
            self.await_restore(peer, events)

    @cython.final
    cdef void await_restore(self, Peer* peer, uint32_t events) noexcept nogil:
        """Its frames wait for jobs to come back: until then only its end is of interest."""
        if peer.flags & PEER_PENDING:
            return
        if events & (EPOLLERR | EPOLLHUP):
            self.drop(peer)
        elif peer.interest & EPOLLIN:
            self.watch(peer, peer.interest & EPOLLOUT)

    @cython.final
    cdef void receive(self, Peer* peer) noexcept nogil:
        """Large frames into blobs of their own, as many as the shared buffer would hold; all else into that."""
        cdef size_t room = 0
        cdef ssize_t size
        cdef size_t total = 0
        cdef char* at
        cdef bint slow
        while True:
            slow = peer.large != NULL
            at = feed_space(self.core, peer, &room) if peer.expected else NULL
            self.receives += 1
            if at == NULL:
                room = SHARED
                size = recv(peer.fd, self.shared, SHARED, 0)
                if size <= 0:
                    break
                feed(self.core, peer, self.shared, size)
                total = SHARED
            else:
                size = recv(peer.fd, at, room, 0)
                if size <= 0:
                    break
                feed_commit(self.core, peer, size)
                total += size
            if peer.whole or slow:
                # A sender with a small socket buffer (libgearman's is 32 KiB) waits for each acknowledgement, which
                # the kernel would delay by 40 ms. On a Unix socket the call does nothing.
                setsockopt(peer.fd, IPPROTO_TCP, TCP_QUICKACK, &ONE, sizeof(ONE))
            if <size_t>size < room or total >= SHARED or peer.flags & (PEER_CLOSING | PEER_FULL | PEER_PENDING):
                return
        if size == 0 and peer_unsent(peer) and not peer.flags & PEER_CLOSING:
            # It may have closed only its sending side: answers that are ready still go out, but its jobs are others'.
            if at != NULL:
                feed_commit(self.core, peer, 0)
            leave_jobs(self.core, peer)
            peer.flags |= PEER_CLOSING
            self.send_output(peer)
        elif size < 0 and c_errno == ETIMEDOUT:
            self.cut(peer, "it does not answer")
        elif size == 0 or c_errno != EAGAIN and c_errno != EINTR:
            self.drop(peer)
        elif at != NULL:
            feed_commit(self.core, peer, 0)

    @cython.final
    cdef void flush_dirty(self) noexcept nogil:
        """Send once to every peer that was touched."""
        cdef Peer* peer
        cdef bint secure = False
        while True:
            peer = peer_next_dirty(self.core)
            if peer == NULL:
                break
            dirty_fetch(self.core)
            if not peer.interest & OWNED:
                continue        # it has no socket here
            if peer.flags & PEER_OVERFLOW:
                self.drop(peer)
            elif not peer.interest & EPOLLOUT:
                if peer.interest & SECURE:
                    self.touch_secure(peer)
                    secure = True
                else:
                    self.send_output(peer)
            elif peer_unsent(peer) > self.max_unsent:
                self.cut(peer, "more output than it takes")
            elif peer_unsent(peer) > self.core.high_water:
                self.watch(peer, EPOLLOUT)
        if secure:
            self.seal_touched()

    @cython.final
    cdef bint send_output(self, Peer* peer) noexcept nogil:
        """Send what the socket takes; False if the peer is gone by that."""
        cdef size_t size = peer_unsent(peer)
        cdef ssize_t sent = 0
        if peer.interest & SECURE:
            return self.send_secure(peer)
        if peer.flags & PEER_HOLDING:
            return self.send_some(peer)
        if size:
            self.sends += 1
            if peer.parts == NULL:
                sent = send(peer.fd, peer.out.data + peer.out.begin, size, MSG_NOSIGNAL)
            else:
                sent = send_pieces(peer, size)
            if sent < 0:
                if c_errno != EAGAIN and c_errno != EINTR:
                    self.drop(peer)
                    return False
                sent = 0
            if peer.parts == NULL:
                buffer_drop(&self.core.pool, &peer.out, sent)
            else:
                output_drop(self.core, peer, sent)
            peer_relieve(self.core, peer)
            size -= sent
            if size == 0 and peer.interest & (EPOLLIN | EPOLLOUT) == EPOLLIN and not peer.flags & PEER_CLOSING:
                live_mark(&self.live, peer.id)      # the usual end of settle_output
                return True
        return self.settle_output(peer, size, sent)

    @cython.final
    cdef bint send_some(self, Peer* peer) noexcept nogil:
        """As send_output, up to what waits for a commit."""
        cdef size_t size = peer_sendable(peer)
        cdef ssize_t sent = 0
        if size:
            self.sends += 1
            sent = send_pieces(peer, size)
            if sent < 0:
                if c_errno != EAGAIN and c_errno != EINTR:
                    self.drop(peer)
                    return False
                sent = 0
            output_drop(self.core, peer, sent)
            peer_relieve(self.core, peer)
        if size > <size_t>sent:
            return self.settle_output(peer, size - sent, sent)
        self.await_commit(peer, sent)
        return True

    @cython.final
    cdef void await_commit(self, Peer* peer, ssize_t sent) noexcept nogil:
        """What is left is not for the socket yet. One that has ended, or is behind, is not read from meanwhile."""
        self.blocked -= peer.interest & EPOLLOUT != 0
        if sent:
            live_mark(&self.live, peer.id)
        self.watch(peer, 0 if peer.flags & PEER_CLOSING or peer_is_behind(self.core, peer) else EPOLLIN)

    @cython.final
    cdef bint settle_output(self, Peer* peer, size_t size, ssize_t sent) noexcept nogil:
        """After `sent` bytes have left and `size` have not: what that means for a peer. False if it is gone by that."""
        if sent or size:
            live_mark(&self.live, peer.id)
        if size == 0:
            if peer.interest & (EPOLLIN | EPOLLOUT) != EPOLLIN:
                self.blocked -= peer.interest & EPOLLOUT != 0
                self.watch(peer, EPOLLIN)
            if peer.flags & PEER_CLOSING:
                self.linger(peer)
                return False
            return True
        if size > self.max_unsent:
            self.cut(peer, "more output than it takes")
            return False
        if not peer.interest & EPOLLOUT:
            self.blocked += 1
            peer.stalled = self.core.now
        if sent:
            peer.stalled = self.core.now
        # Who does not read its answers is not read from: so its requests wait in the kernel, not here.
        self.watch(peer, EPOLLOUT if size > self.core.high_water or peer.flags & PEER_CLOSING else EPOLLIN | EPOLLOUT)
        return True

    @cython.final
    cdef void watch(self, Peer* peer, uint32_t mask) noexcept nogil:
        cdef epoll_event event
        mask |= peer.interest & (OWNED | SECURE)
        if peer.interest == mask:
            return
        event.events = mask & ~<uint32_t>(OWNED | SECURE)
        event.data.u64 = peer.id
        epoll_ctl(self.epoll, EPOLL_CTL_MOD, peer.fd, &event)
        peer.interest = mask

    # Closing

    @cython.final
    cdef void cut(self, Peer* peer, const char* why) noexcept nogil:
        cdef char line[190]
        note(self.core, LEVEL_WARNING, line, <size_t>snprintf(
            line, sizeof(line), "closing connection %.64s: %s (%zu bytes unsent)",
            peer.address, why, peer_unsent(peer)))
        self.drop(peer)

    @cython.final
    cdef void drop(self, Peer* peer) noexcept nogil:
        """Close a connection at once."""
        cdef int fd = peer.fd
        if peer.interest & EPOLLOUT:
            self.blocked -= 1
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, NULL)
        self.leave(peer)
        close(fd)

    @cython.final
    cdef void leave(self, Peer* peer) noexcept nogil:
        if peer.interest & SECURE:
            self.forget_secure(peer)
        part(self.core, peer)

    @cython.final
    cdef void linger(self, Peer* peer) noexcept nogil:
        """Close a connection whose input is not all read; at once, the kernel would drop what is on its way to it."""
        cdef int fd = peer.fd
        self.leave(peer)
        self.linger_on(fd)

    cdef void linger_on(self, int fd) noexcept nogil:
        cdef int slot = self.linger_next
        cdef epoll_event event
        if self.lingers[slot].fd >= 0:
            epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, NULL)
            close(fd)
            return
        self.linger_next = (slot + 1) % LINGERS
        shutdown(fd, SHUT_WR)
        event.events = EPOLLIN
        event.data.u64 = make_mark(KIND_CLOSED, slot)
        epoll_ctl(self.epoll, EPOLL_CTL_MOD, fd, &event)
        self.lingers[slot].fd = fd
        self.lingers[slot].until = self.core.now + LINGER_TIME
        self.linger_count += 1

    cdef void drain(self, int slot) noexcept nogil:
        """Throw away what still comes on a connection that is being closed, until its end."""
        cdef ssize_t size
        if self.lingers[slot].fd < 0:
            return
        size = recv(self.lingers[slot].fd, self.shared, SHARED, 0)
        if size == 0 or size < 0 and c_errno != EAGAIN and c_errno != EINTR:
            self.end_linger(slot)

    cdef void end_linger(self, int slot) noexcept nogil:
        epoll_ctl(self.epoll, EPOLL_CTL_DEL, self.lingers[slot].fd, NULL)
        close(self.lingers[slot].fd)
        self.lingers[slot].fd = -1
        self.linger_count -= 1

    @cython.final
    cdef void housekeeping(self) noexcept nogil:
        """Once a second, if there is anything: peers that take no output, connections that never end."""
        cdef size_t i
        if self.accept_again and self.core.now >= self.accept_again:
            self.accept_again = 0
            if self.spare < 0:
                self.spare = open(b"/dev/null", O_RDONLY | O_CLOEXEC)
            self.pause_listeners(False)
        self.guard_sweep()
        if self.core.now - self.swept < SECOND or not (self.blocked or self.linger_count):
            return
        self.swept = self.core.now
        if self.linger_count:
            for i in range(LINGERS):
                if self.lingers[i].fd >= 0 and self.lingers[i].until <= self.core.now:
                    self.end_linger(<int>i)
        if self.blocked:
            self.sweep_blocked()

    @cython.final
    cdef void sweep_blocked(self) noexcept nogil:
        cdef size_t i
        cdef Peer* peer
        for i in range(self.core.slot_count):
            peer = self.core.slots[i].peer
            if peer == NULL or not peer.interest & OWNED or not peer.interest & EPOLLOUT:
                continue
            if self.core.now - peer.stalled < self.stall_time:
                continue
            if not peer.interest & EPOLLIN or peer.flags & PEER_CLOSING:
                self.cut(peer, "it takes no output")

    cdef void close_all(self, bint tell_epoll) noexcept:
        """Close every descriptor that is the reactor's."""
        cdef size_t i
        cdef Peer* peer
        cdef int fd
        if self.core == NULL or self.epoll < 0:
            return      # not even begun, or closed before
        for i in range(self.core.slot_count):
            peer = self.core.slots[i].peer
            if peer == NULL or not peer.interest & OWNED:
                continue
            fd = peer.fd
            if tell_epoll:
                epoll_ctl(self.epoll, EPOLL_CTL_DEL, fd, NULL)
            self.leave(peer)
            close(fd)
        for i in range(LINGERS):
            if self.lingers[i].fd >= 0:
                close(self.lingers[i].fd)
                self.lingers[i].fd = -1
        self.linger_count = 0
        self.blocked = 0
        if self.spare >= 0:
            close(self.spare)
        close(self.epoll)
        self.spare = -1
        self.epoll = -1

    # Accepting

    cdef void accept_all(self, int slot) noexcept nogil:
        cdef sockaddr_storage address
        cdef socklen_t size
        cdef int fd, _
        if self.listeners[slot].fd < 0:
            return
        for _ in range(ACCEPTS):
            size = sizeof(address)
            address.ss_family = 0
            fd = accept4(self.listeners[slot].fd, <sockaddr*>&address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC)
            if fd >= 0 and self.listeners[slot].secure:
                self.adopt_secure(fd, &address, slot)
            elif fd >= 0:
                self.adopt(fd, &address, self.listeners[slot].admin)
            elif c_errno == EMFILE or c_errno == ENFILE:
                # The kernel looks for a descriptor first: with the last one taken, nobody need be waiting for another.
                if is_ready(self.listeners[slot].fd):
                    self.out_of_descriptors(slot)
                return
            elif c_errno != EINTR and c_errno != ECONNABORTED:
                return

    cdef void adopt(self, int fd, const sockaddr_storage* address, int admin) noexcept nogil:
        cdef char text[ADDRESS]
        cdef epoll_event event
        cdef Peer* peer
        cdef size_t size = write_address(address, text)
        if self.max_connections and self.core.peer_count >= self.max_connections and not self.make_place():
            self.burst(BURST_FULL, text)
            close(fd)
            return
        peer = join(self.core, fd, text, size, admin)
        if peer == NULL:
            close(fd)
            return
        event.events = EPOLLIN
        event.data.u64 = peer.id
        if self.add_newcomer(peer) < 0 or epoll_ctl(self.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            part(self.core, peer)
            close(fd)
            return
        peer.interest = OWNED | SILENT | EPOLLIN

    cdef void out_of_descriptors(self, int slot) noexcept nogil:
        """Turn one connection away by means of the spare descriptor, so that it learns of it; then wait a little.

        If there is a connection that has never said anything, that one goes instead.
        """
        cdef int fd
        if self.make_place():
            return
        if self.spare >= 0:
            close(self.spare)
            fd = accept4(self.listeners[slot].fd, NULL, NULL, SOCK_CLOEXEC)
            if fd >= 0:
                close(fd)
            self.spare = open(b"/dev/null", O_RDONLY | O_CLOEXEC)
        self.burst(BURST_DESCRIPTORS, b"")
        self.accept_again = self.core.now + ACCEPT_PAUSE
        self.pause_listeners(True)

    cdef void pause_listeners(self, bint paused) noexcept nogil:
        cdef epoll_event event
        cdef int slot
        for slot in range(self.listener_count):
            if self.listeners[slot].fd < 0 or self.listeners[slot].paused == paused:
                continue
            self.listeners[slot].paused = paused
            event.events = EPOLLIN
            event.data.u64 = make_mark(KIND_LISTENER, slot)
            epoll_ctl(self.epoll, EPOLL_CTL_DEL if paused else EPOLL_CTL_ADD, self.listeners[slot].fd, &event)

    # Connections with TLS are not served by this class

    cdef void adopt_secure(self, int fd, const sockaddr_storage* address, int slot) noexcept nogil:
        close(fd)

    cdef void wake_secure(self, uint64_t mark, uint32_t events) noexcept nogil:
        pass

    cdef void touch_secure(self, Peer* peer) noexcept nogil:
        pass

    cdef void seal_touched(self) noexcept nogil:
        pass

    cdef bint send_secure(self, Peer* peer) noexcept nogil:
        return True

    cdef void forget_secure(self, Peer* peer) noexcept nogil:
        pass
