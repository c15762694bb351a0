# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What the reactor needs of Linux: epoll, sockets, clocks."""

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, strlen

cdef extern from "<sys/epoll.h>" nogil:
    enum:
        EPOLLIN
        EPOLLOUT
        EPOLLERR
        EPOLLHUP
        EPOLL_CTL_ADD
        EPOLL_CTL_DEL
        EPOLL_CTL_MOD
        EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        uint64_t u64
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)

cdef extern from "<sys/socket.h>" nogil:
    enum:
        AF_INET
        AF_INET6
        MSG_NOSIGNAL
        SHUT_WR
        SOCK_NONBLOCK
        SOCK_CLOEXEC
    ctypedef unsigned int socklen_t
    ctypedef unsigned short sa_family_t
    cdef struct sockaddr:
        sa_family_t sa_family
    cdef struct sockaddr_storage:
        sa_family_t ss_family
    cdef struct iovec:
        void* iov_base
        size_t iov_len
    cdef struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    ssize_t recv(int fd, void* data, size_t size, int flags)
    ssize_t send(int fd, const void* data, size_t size, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int accept4(int fd, sockaddr* address, socklen_t* size, int flags)
    int shutdown(int fd, int how)
    int setsockopt(int fd, int level, int name, const void* value, socklen_t size)
    int getsockopt(int fd, int level, int name, void* value, socklen_t* size)

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN
    cdef struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* descriptors, unsigned long count, int timeout)

cdef extern from "<sys/ioctl.h>" nogil:
    enum:
        FIONREAD                # bytes that can be read
        TIOCOUTQ                # of a socket: bytes that are not acknowledged
    int ioctl(int fd, unsigned long request, ...)

cdef extern from "<netinet/tcp.h>" nogil:
    enum:
        IPPROTO_TCP
        TCP_INFO
        TCP_QUICKACK
    cdef struct tcp_info:
        uint8_t tcpi_retransmits
        uint8_t tcpi_probes
        uint32_t tcpi_rto       # µs
        uint32_t tcpi_unacked
        uint32_t tcpi_last_data_recv    # ms ago, as the next
        uint32_t tcpi_last_ack_recv

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr
    cdef struct in6_addr:
        uint8_t s6_addr[16]
    cdef struct sockaddr_in:
        in_addr sin_addr
        uint16_t sin_port
    cdef struct sockaddr_in6:
        in6_addr sin6_addr
        uint16_t sin6_port

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t ntohs(uint16_t number)
    const char* inet_ntop(int family, const void* source, char* to, socklen_t size)

cdef extern from "<time.h>" nogil:
    enum:
        CLOCK_MONOTONIC
        CLOCK_REALTIME
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec* time)

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<fcntl.h>" nogil:
    enum:
        O_RDONLY
        O_CLOEXEC
    int open(const char* path, int flags)

cdef enum:
    ADDRESS = 64                # room for the text of an address


cdef inline int64_t clock_ns(int clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cdef inline bint is_ready(int fd) noexcept nogil:
    """Whether there is something to read or to accept."""
    cdef pollfd one
    one.fd = fd
    one.events = POLLIN
    one.revents = 0
    return poll(&one, 1, 0) > 0


cdef inline size_t write_address(const sockaddr_storage* address, char* text) noexcept nogil:
    """The peer's address as lists show it; a Unix socket's is `unix`."""
    cdef const uint8_t* six
    text[0] = 0
    if address.ss_family == AF_INET:
        inet_ntop(AF_INET, &(<const sockaddr_in*>address).sin_addr, text, ADDRESS)
    elif address.ss_family == AF_INET6:
        six = (<const sockaddr_in6*>address).sin6_addr.s6_addr
        inet_ntop(AF_INET6, six, text, ADDRESS)
    else:
        memcpy(text, b"unix", 5)
    return strlen(text)


cdef inline int read_port(const sockaddr_storage* address) noexcept nogil:
    """The peer's port, -1 if it has none."""
    if address.ss_family == AF_INET:
        return ntohs((<const sockaddr_in*>address).sin_port)
    if address.ss_family == AF_INET6:
        return ntohs((<const sockaddr_in6*>address).sin6_port)
    return -1


cdef inline int as_ms(int64_t wait) noexcept nogil:
    """ns to epoll's ms, never too early; INT64_MAX is for ever."""
    if wait == INT64_MAX:
        return -1
    return <int>min((wait + 999999) // 1000000, <int64_t>3600000)
