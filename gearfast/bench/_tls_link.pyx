# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""TLS below a connection of the load generator.

It is there to load a server over TLS with the same traffic as in plain: one read and one send a turn, and what leaves
in one send is sealed together, as a client that joins its requests would have it.
"""

from cpython.buffer cimport PyBUF_READ, PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, EINTR

import ssl

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_DONTWAIT
    enum: MSG_NOSIGNAL
    ssize_t c_recv "recv"(int, void*, size_t, int)
    ssize_t c_send "send"(int, const void*, size_t, int)

cdef extern from "<errno.h>" nogil:
    int errno

cdef extern from "<poll.h>" nogil:
    enum: POLLOUT
    struct pollfd:
        int fd
        short events
    int poll(pollfd*, unsigned long, int)

cdef enum:
    CHUNK = 65536               # sealed bytes taken from a socket at a time


cdef class TlsLink:
    """A connected socket under TLS, the handshake done; whom it talks to is not looked at.

    As much of a socket as `Load` asks for when it takes the descriptor over. Raises OSError if the handshake fails.
    """

    def __init__(self, sock):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inner = context.wrap_bio(self.incoming, self.outgoing)
        self.take, self.seal = inner.read, inner.write
        while True:
            try:
                inner.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(self.outgoing.read())
                data = sock.recv(CHUNK)
                if not data:
                    raise ConnectionResetError("the server ended the TLS handshake") from None
                self.incoming.write(data)
        sock.sendall(self.outgoing.read())

    @property
    def family(self):
        return self.sock.family

    def setblocking(self, flag):
        self.sock.setblocking(flag)

    def setsockopt(self, level, name, value):
        self.sock.setsockopt(level, name, value)

    def detach(self):
        return self.sock.detach()

    def close(self):
        self.sock.close()

    cdef ssize_t receive(self, int fd, char* data, size_t room) except -2:
        """One recv: bytes put into `data`, 0 at the end, -1 if there are none yet."""
        cdef char sealed[CHUNK]
        cdef size_t got = 0
        cdef ssize_t size = c_recv(fd, sealed, min(room, <size_t>CHUNK), MSG_DONTWAIT)
        if size <= 0:
            return -1 if size < 0 and (errno == EAGAIN or errno == EINTR) else 0
        self.incoming.write(PyMemoryView_FromMemory(sealed, size, PyBUF_READ))
        while self.incoming.pending:
            try:
                size = self.take(room - got, PyMemoryView_FromMemory(data + got, room - got, PyBUF_WRITE))
            except ssl.SSLWantReadError:
                break       # the rest of a record is still on its way
            if size == 0:
                return got
            got += size
        return got if got else -1

    cdef ssize_t send(self, int fd, const char* data, size_t size) except -2:
        """All of it, waiting for room if need be: the server reads as long as its answers are taken. -1: it is gone."""
        cdef size_t at = 0
        cdef ssize_t sent
        cdef pollfd ready
        cdef bytes sealed
        cdef const char* rest
        while at < size:
            at += self.seal(PyMemoryView_FromMemory(<char*>data + at, size - at, PyBUF_READ))
        sealed = self.outgoing.read()
        rest = sealed
        at = 0
        while at < <size_t>len(sealed):
            sent = c_send(fd, rest + at, len(sealed) - at, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent >= 0:
                at += sent
            elif errno == EAGAIN or errno == EINTR:
                ready.fd = fd
                ready.events = POLLOUT
                poll(&ready, 1, 1000)
            else:
                return -1
        return size
