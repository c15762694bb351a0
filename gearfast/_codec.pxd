# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3
"""C face of the codec: frames out of a buffer, headers into one. Nothing here allocates, and nothing needs the GIL."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    HEADER_BYTES = 12
    ARGUMENTS_MAX = 8
    COMMAND_MAX = 42

# Numbers for C's switch and tables; a test compares them with protocol.Command.
cdef enum Cmd:
    CMD_CAN_DO = 1
    CMD_CANT_DO = 2
    CMD_RESET_ABILITIES = 3
    CMD_PRE_SLEEP = 4
    CMD_NOOP = 6
    CMD_SUBMIT_JOB = 7
    CMD_JOB_CREATED = 8
    CMD_GRAB_JOB = 9
    CMD_NO_JOB = 10
    CMD_JOB_ASSIGN = 11
    CMD_WORK_STATUS = 12
    CMD_WORK_COMPLETE = 13
    CMD_WORK_FAIL = 14
    CMD_GET_STATUS = 15
    CMD_ECHO_REQ = 16
    CMD_ECHO_RES = 17
    CMD_SUBMIT_JOB_BG = 18
    CMD_ERROR = 19
    CMD_STATUS_RES = 20
    CMD_SUBMIT_JOB_HIGH = 21
    CMD_SET_CLIENT_ID = 22
    CMD_CAN_DO_TIMEOUT = 23
    CMD_ALL_YOURS = 24
    CMD_WORK_EXCEPTION = 25
    CMD_OPTION_REQ = 26
    CMD_OPTION_RES = 27
    CMD_WORK_DATA = 28
    CMD_WORK_WARNING = 29
    CMD_GRAB_JOB_UNIQ = 30
    CMD_JOB_ASSIGN_UNIQ = 31
    CMD_SUBMIT_JOB_HIGH_BG = 32
    CMD_SUBMIT_JOB_LOW = 33
    CMD_SUBMIT_JOB_LOW_BG = 34
    CMD_SUBMIT_JOB_SCHED = 35
    CMD_SUBMIT_JOB_EPOCH = 36
    CMD_SUBMIT_REDUCE_JOB = 37
    CMD_SUBMIT_REDUCE_JOB_BACKGROUND = 38
    CMD_GRAB_JOB_ALL = 39
    CMD_JOB_ASSIGN_ALL = 40
    CMD_GET_STATUS_UNIQUE = 41
    CMD_STATUS_RES_UNIQUE = 42

# What decode() found.
cdef enum Found:
    FAULTY = -1     # no Gearman; `Frame.fault` says why
    NEED_DATA = 0   # nothing whole yet; `Frame.size` is how many bytes to have before the next try
    PACKET = 1
    LINE = 2        # a text command: `args[0]` is the line

cdef enum Fault:
    FAULT_NONE = 0
    FAULT_MAGIC = 1
    FAULT_COMMAND = 2
    FAULT_TOO_FEW = 3
    FAULT_ARGUMENT_SIZE = 4
    FAULT_PACKET_SIZE = 5
    FAULT_LINE_SIZE = 6

cdef struct Field:
    const char* data
    size_t size

cdef struct Frame:
    size_t size             # bytes of the whole frame in the buffer; with NEED_DATA see there
    uint32_t command
    uint8_t is_response     # magic was RES
    uint8_t count           # of args
    uint8_t fault           # a Fault
    Field args[8]           # point into the buffer; data last

cdef int decode(const char* data, size_t size, size_t max_packet, Frame* frame) noexcept nogil


cdef inline void put_u32(char* at, uint32_t value) noexcept nogil:
    cdef uint8_t* b = <uint8_t*>at
    b[0] = <uint8_t>(value >> 24)
    b[1] = <uint8_t>(value >> 16)
    b[2] = <uint8_t>(value >> 8)
    b[3] = <uint8_t>value


cdef inline uint32_t get_u32(const char* at) noexcept nogil:
    cdef const uint8_t* b = <const uint8_t*>at
    return (<uint32_t>b[0] << 24) | (<uint32_t>b[1] << 16) | (<uint32_t>b[2] << 8) | <uint32_t>b[3]


cdef inline void put_header(char* at, bint is_response, uint32_t command, uint32_t body) noexcept nogil:
    at[0] = 0
    at[1] = c'R'
    at[2] = c'E'
    at[3] = c'S' if is_response else c'Q'
    put_u32(at + 4, command)
    put_u32(at + 8, body)


cdef class Decoder:
    cdef char* buffer
    cdef size_t held        # bytes in buffer
    cdef size_t room        # bytes allocated
    cdef size_t wanted      # no use to decode with fewer bytes than this
    cdef size_t consumed    # bytes of whole frames so far
    cdef size_t max_packet
    cdef object failure

    cdef int keep(self, const char* data, size_t size) except -1
    cdef int decode_all(self, const char* data, size_t size, list found) except -1
    cdef int retain(self, const char* data, size_t at, size_t size) except -1
    cdef int fail(self, const char* data, size_t size, int fault, list found) except -1
