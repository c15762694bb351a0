# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""What clients and workers share in C: connections, the numbers of commands, and the loop's face."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef extern from "<arpa/inet.h>" nogil:
    uint32_t htonl(uint32_t)
    uint32_t ntohl(uint32_t)


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    enum: EPOLLIN
    enum: EPOLLOUT
    enum: EPOLL_CTL_ADD
    enum: EPOLL_CTL_MOD
    int epoll_create1(int)
    int epoll_ctl(int, int, int, epoll_event*)
    int epoll_wait(int, epoll_event*, int, int)


cdef enum Command:
    CAN_DO = 1
    PRE_SLEEP = 4
    NOOP = 6
    SUBMIT_JOB = 7
    JOB_CREATED = 8
    NO_JOB = 10
    JOB_ASSIGN = 11
    WORK_COMPLETE = 13
    ECHO_REQ = 16
    ECHO_RES = 17
    SUBMIT_JOB_BG = 18
    ERROR = 19
    OPTION_REQ = 26
    OPTION_RES = 27
    JOB_ASSIGN_UNIQ = 31
    JOB_ASSIGN_ALL = 40


cdef enum:
    TURN = 256                    # ready sockets a turn
    HEADER = 12
    FIRST_ROOM = 16384            # bytes of a connection's receive buffer, at first
    TAG = 12                      # bytes at the head of a workload that name its connection, slot and sequence
    CONTROL = 0x7fffffff          # epoll data of the descriptor that carries the parent's orders
    TIMER = 0x7ffffffe            # epoll data of the pacing timer
    STALL = 30000                 # milliseconds without any event in a run that count as a stall


cdef struct Conn:
    int fd
    bint blocked                  # waits for room in the socket: the last send fell short
    bint fresh                    # connected anew within this turn
    uint32_t number
    char* kept                    # received bytes
    size_t held                   # how many of them
    size_t kept_room
    char* out                     # bytes to send
    size_t filled
    size_t sent
    size_t out_room
    # client
    uint32_t sequence
    uint32_t spare_count
    uint32_t* spare               # free slots of the window, a stack
    uint32_t* slot_sequence
    int64_t* slot_time            # when the slot's job was sent in ns, 0: the slot is free
    uint32_t oldest               # not by tag: the next answer is for this submission
    # worker
    uint32_t grabs                # GRAB_JOBs without an answer
    bint asleep
    bint woken                    # had its NOOP while paused
    bint credits                  # the server holds GRAB_JOBs
    bint fenced


cdef inline void put_u32(char* at, uint32_t value) noexcept nogil:
    value = htonl(value)
    memcpy(at, &value, 4)


cdef inline uint32_t get_u32(const char* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return ntohl(value)


cdef int64_t now_ns() noexcept nogil


cdef class Load:
    cdef Conn* conns
    cdef int count
    cdef int poller
    cdef int control
    cdef list links               # a TlsLink for each connection, or None: they are plain
    cdef bint called              # the control descriptor is readable
    cdef bint ticked              # the pacing timer fired
    cdef int64_t now
    cdef char problem[256]        # what broke the run, in words
    cdef epoll_event events[TURN]

    cdef void _fail(self, const char* text) noexcept nogil
    cdef void _watch(self, Conn* c) noexcept nogil
    cdef char* _room(self, Conn* c, uint32_t magic, uint32_t command, size_t size) noexcept nogil
    cdef void _request(self, Conn* c, uint32_t command) noexcept nogil
    cdef void _flush(self, Conn* c) noexcept nogil
    cdef ssize_t _take(self, Conn* c, char* data, size_t room) noexcept nogil
    cdef ssize_t _give(self, Conn* c, const char* data, size_t size) noexcept nogil
    cdef void _receive(self, Conn* c) noexcept nogil
    cdef void _packet(self, Conn* c, uint32_t command, const char* body, size_t size) noexcept nogil
    cdef void _error(self, const char* body, size_t size) noexcept nogil
    cdef int _turn(self, int timeout=*) noexcept nogil
