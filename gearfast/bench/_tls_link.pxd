# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""TLS below a connection of the load generator."""


cdef class TlsLink:
    cdef object sock
    cdef object incoming
    cdef object outgoing
    cdef object take
    cdef object seal

    cdef ssize_t receive(self, int fd, char* data, size_t room) except -2
    cdef ssize_t send(self, int fd, const char* data, size_t size) except -2
