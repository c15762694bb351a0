# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""The sockets of a dispatcher's peers in one epoll."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from gearfast.dispatch._dispatcher cimport Dispatcher
from gearfast.dispatch._records cimport Peer
from gearfast.server._guard cimport Guard
from gearfast.server._linux cimport sockaddr_storage

cdef enum:
    LINGERS = 1024              # connections that are being closed
    SETTLED = LINGERS           # in a mark of KIND_CLOSED: another thread tells that a batch is settled
    SECURE = 1 << 25            # in Peer.interest, with OWNED: with TLS, see _tls.pyx

# What the mark of something in the epoll is about, in its two highest bits.
cdef enum Kind:
    KIND_PEER = 0
    KIND_LISTENER = 1
    KIND_FOREIGN = 2            # a descriptor of asyncio's
    KIND_CLOSED = 3             # a connection that is being closed

cdef struct Listener:
    int fd
    int admin
    uint8_t paused
    uint8_t secure

cdef struct Linger:
    int fd                      # -1: free
    int64_t until


cdef inline uint64_t make_mark(Kind kind, int number) noexcept nogil:
    return (<uint64_t>kind << 62) | <uint32_t>number


cdef class Sockets(Guard):
    cdef readonly Dispatcher dispatcher
    cdef dict sockets
    cdef int epoll
    cdef int spare                  # a descriptor to give up when there are no more
    cdef size_t max_unsent
    cdef int64_t stall_time
    cdef size_t max_connections     # 0: no limit
    cdef char* shared
    cdef Listener* listeners
    cdef int listener_count
    cdef Linger lingers[LINGERS]
    cdef int linger_count
    cdef int linger_next
    cdef size_t blocked             # peers whose socket takes no more for now
    cdef int64_t swept
    cdef int64_t accept_again       # when accepting goes on after the descriptors ran out, or 0
    cdef uint64_t waits
    cdef uint64_t receives
    cdef uint64_t sends

    cdef void handle_peer(self, Peer* peer, uint32_t events) noexcept nogil
    cdef void receive(self, Peer* peer) noexcept nogil
    cdef void flush_dirty(self) noexcept nogil
    cdef void await_restore(self, Peer* peer, uint32_t events) noexcept nogil
    cdef bint send_output(self, Peer* peer) noexcept nogil
    cdef bint send_some(self, Peer* peer) noexcept nogil
    cdef void await_commit(self, Peer* peer, ssize_t sent) noexcept nogil
    cdef bint settle_output(self, Peer* peer, size_t size, ssize_t sent) noexcept nogil
    cdef void watch(self, Peer* peer, uint32_t mask) noexcept nogil
    cdef void leave(self, Peer* peer) noexcept nogil
    cdef void linger(self, Peer* peer) noexcept nogil
    cdef void linger_on(self, int fd) noexcept nogil
    cdef void drain(self, int slot) noexcept nogil
    cdef void end_linger(self, int slot) noexcept nogil
    cdef void housekeeping(self) noexcept nogil
    cdef void sweep_blocked(self) noexcept nogil
    cdef void accept_all(self, int slot) noexcept nogil
    cdef void adopt(self, int fd, const sockaddr_storage* address, int admin) noexcept nogil
    cdef void out_of_descriptors(self, int slot) noexcept nogil
    cdef void pause_listeners(self, bint paused) noexcept nogil
    cdef void close_all(self, bint tell_epoll) noexcept

    # What `Secure` does for connections with TLS
    cdef void adopt_secure(self, int fd, const sockaddr_storage* address, int slot) noexcept nogil
    cdef void wake_secure(self, uint64_t mark, uint32_t events) noexcept nogil
    cdef void touch_secure(self, Peer* peer) noexcept nogil
    cdef void seal_touched(self) noexcept nogil
    cdef bint send_secure(self, Peer* peer) noexcept nogil
    cdef void forget_secure(self, Peer* peer) noexcept nogil

    cdef int control(self, int op, int fd, uint32_t mask, uint64_t mark) except -1
