# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Bytes to packets and back, in both directions, at C speed.

The C face (`_codec.pxd`) is `decode`, which finds one frame in a buffer without copying, and the inline writers. The
Python face is `Packet`, `Decoder` and `encode`. Both read their rules from `gearfast.protocol.COMMANDS`.

A frame is refused as soon as it cannot become right any more: a false magic at its first false byte, a command number
at its eighth byte, a length at its twelfth, an argument when it outgrows its limit.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memmove

from gearfast import protocol
from gearfast.errors import ProtocolError

__all__ = ["Decoder", "Packet", "encode", "encode_into"]


cdef extern from *:
    """
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define GEARFAST_LITTLE_ENDIAN 1
    #define GEARFAST_FIRST_BYTE(marks) (__builtin_ctzll(marks) >> 3)
    #else
    #define GEARFAST_LITTLE_ENDIAN 0
    #define GEARFAST_FIRST_BYTE(marks) 0
    #endif
    #define GEARFAST_ONES 0x0101010101010101u
    #define GEARFAST_TOPS 0x8080808080808080u
    """
    const bint LITTLE_ENDIAN "GEARFAST_LITTLE_ENDIAN"
    const uint64_t ONES "GEARFAST_ONES"
    const uint64_t TOPS "GEARFAST_TOPS"
    size_t first_byte "GEARFAST_FIRST_BYTE"(uint64_t marks) noexcept nogil
    bint unlikely(bint) noexcept nogil      # Cython's own

cdef enum:
    REQUEST_WORD = 0x00524551   # the two magics as numbers
    RESPONSE_WORD = 0x00524553

ctypedef int (*Split)(const char* body, size_t size, size_t have, Frame* frame) noexcept nogil

cdef struct Rule:
    uint8_t count       # arguments, data included
    uint8_t has_data
    uint8_t from_server
    size_t most         # bytes of the longest body
    Split split         # for the bodies of commands with arguments

cdef Rule RULES[43]
cdef tuple NAMES
cdef size_t ARGUMENT_LIMIT = protocol.MAX_ARGUMENT
cdef size_t LAST_LIMIT = protocol.MAX_LAST_ARGUMENT
cdef size_t LINE_LIMIT = protocol.MAX_LINE
cdef bytes REQUEST = protocol.MAGIC_REQUEST
cdef bytes RESPONSE = protocol.MAGIC_RESPONSE


cdef void compile_rules() except *:
    global NAMES
    for spec in protocol.COMMANDS:
        RULES[<int>spec.command].count = len(spec.fields)
        RULES[<int>spec.command].has_data = spec.data is not None
        RULES[<int>spec.command].from_server = spec.magic == protocol.MAGIC_RESPONSE
        # Without data every argument has a limit, so the body has one too; what lies behind the arguments is ignored.
        most = max(len(spec.fields), 1) * (protocol.MAX_LAST_ARGUMENT + 1) if spec.data is None else 0xFFFFFFFF
        RULES[<int>spec.command].most = most
        RULES[<int>spec.command].split = split_last if spec.data is None else split_data
    NAMES = ("",) + tuple(spec.command.name for spec in protocol.COMMANDS)

compile_rules()


cdef int decode(const char* data, size_t size, size_t max_packet, Frame* frame) noexcept nogil:
    """Find the frame at the start of `data[:size]`; returns a `Found` and fills `frame`."""
    cdef Rule* rule
    cdef uint32_t magic, command
    cdef size_t body
    if unlikely(size < HEADER_BYTES):
        return decode_head(data, size, frame)
    magic = get_u32(data)
    command = get_u32(data + 4)
    if unlikely(magic != REQUEST_WORD and magic != RESPONSE_WORD or command - 1 >= COMMAND_MAX):
        return decode_head(data, size, frame)
    body = get_u32(data + 8)
    if unlikely(body > max_packet - HEADER_BYTES):
        return faulty(frame, FAULT_PACKET_SIZE)
    rule = &RULES[command]
    if unlikely(body > rule.most):
        return faulty(frame, FAULT_ARGUMENT_SIZE)
    frame.command = command
    frame.is_response = magic == RESPONSE_WORD
    frame.count = rule.count
    frame.size = HEADER_BYTES + body
    if rule.count:
        return rule.split(data + HEADER_BYTES, body, size - HEADER_BYTES, frame)
    return PACKET if size >= HEADER_BYTES + body else NEED_DATA


cdef int faulty(Frame* frame, Fault fault) noexcept nogil:
    frame.fault = fault
    return FAULTY


cdef int decode_head(const char* data, size_t size, Frame* frame) noexcept nogil:
    """As decode, of what does not begin with a whole and right header: a line, part of a header, a fault."""
    cdef Fault fault
    frame.size = HEADER_BYTES
    if size == 0:
        return NEED_DATA
    if data[0] != 0:
        return decode_line(data, size, frame)
    fault = check_head(data, size)
    frame.size = size + 1
    return faulty(frame, fault) if fault else NEED_DATA


cdef Fault check_head(const char* data, size_t size) noexcept nogil:
    """A Fault if the first `size` bytes cannot begin a packet."""
    if size > 1 and data[1] != c'R' or size > 2 and data[2] != c'E':
        return FAULT_MAGIC
    if size > 3 and data[3] != c'Q' and data[3] != c'S':
        return FAULT_MAGIC
    if size >= 8 and (get_u32(data + 4) == 0 or get_u32(data + 4) > COMMAND_MAX):
        return FAULT_COMMAND
    return FAULT_NONE


cdef int decode_line(const char* data, size_t size, Frame* frame) noexcept nogil:
    cdef size_t window = size if size <= LINE_LIMIT + 1 else LINE_LIMIT + 1
    cdef const char* end = <const char*>memchr(data, c'\n', window)
    cdef size_t length
    if end == NULL:
        if size > LINE_LIMIT:
            return faulty(frame, FAULT_LINE_SIZE)
        frame.size = size + 1
        return NEED_DATA
    length = end - data
    frame.size = length + 1
    if length and data[length - 1] == c'\r':
        length -= 1
    frame.count = 1
    frame.args[0].data = data
    frame.args[0].size = length
    return LINE


cdef inline const char* find_nul(const char* at, const char* end) noexcept nogil:
    """memchr for a NUL that is most often near, eight bytes at a time."""
    cdef uint64_t word
    while LITTLE_ENDIAN and end - at >= 8:
        memcpy(&word, at, 8)
        word = (word - ONES) & ~word & TOPS
        if word:
            return at + first_byte(word)
        at += 8
    return <const char*>memchr(at, 0, end - at)


cdef int split_data(const char* body, size_t size, size_t have, Frame* frame) noexcept nogil:
    """Split a body of `size` bytes, of which `have` (or more) are here, into its arguments, the last being data."""
    cdef const char* at = body
    cdef const char* end = body + (size if size < have else have)
    cdef const char* nul
    cdef Field* field = frame.args
    cdef Field* last = field + (frame.count - 1)
    while field != last:
        nul = find_nul(at, end)
        if unlikely(nul == NULL or <size_t>(nul - at) > ARGUMENT_LIMIT):
            last.data = body + size     # so much as there is of the last argument: nothing
            return unfinished(end - at, size, have, frame)
        field.data = at
        field.size = nul - at
        field += 1
        at = nul + 1
    field.data = at
    field.size = body + size - at
    return PACKET if have >= size else NEED_DATA


cdef int split_last(const char* body, size_t size, size_t have, Frame* frame) noexcept nogil:
    """The same where the last argument has a limit too."""
    cdef int what = split_data(body, size, have, frame)
    if what >= 0 and size - (frame.args[frame.count - 1].data - body) > LAST_LIMIT:
        return faulty(frame, FAULT_ARGUMENT_SIZE)
    return what


cdef int unfinished(size_t room, size_t size, size_t have, Frame* frame) noexcept nogil:
    """What it means that an argument has no NUL in the `room` bytes that there are of it."""
    if room > ARGUMENT_LIMIT:
        return faulty(frame, FAULT_ARGUMENT_SIZE)
    if have >= size:
        return faulty(frame, FAULT_TOO_FEW)
    frame.size = HEADER_BYTES + have + 1
    return NEED_DATA


cdef dict FAULTS = {
    FAULT_MAGIC: "wrong magic: a packet begins with \\0REQ or \\0RES",
    FAULT_COMMAND: "unknown command number: there are 1 to 42",
    FAULT_TOO_FEW: "too few arguments for the command",
    FAULT_ARGUMENT_SIZE: "an argument is over its limit of 8191 bytes (8192 for the last one)",
    FAULT_PACKET_SIZE: "the packet is over the limit for its size",
    FAULT_LINE_SIZE: "a text line is over its limit of 8191 bytes",
}


def fault_text(int fault) -> str:
    """What a Fault of the C face means."""
    return FAULTS.get(fault, "no fault")


@cython.final
@cython.freelist(256)
@cython.no_gc
cdef class Packet:
    """One binary packet: `magic`, `command` (1 to 42) and `args`, the opaque data last.

    Immutable, hashable, equal by content. `magic` None stands for the magic with which the command is normally sent.
    Raises ValueError if the packet could not be encoded.
    """

    cdef readonly bytes magic
    cdef readonly int command
    cdef readonly tuple args

    def __init__(self, int command, args=(), magic=None):
        self.command = command
        self.args = tuple(arg if PyBytes_CheckExact(arg) else bytes(arg) for arg in args)
        self.magic = choose_magic(command, magic)
        measure(command, self.args)

    @property
    def name(self):
        """The command's name, as `SUBMIT_JOB`."""
        return NAMES[self.command]

    def encode(self):
        """The packet as bytes."""
        return build(self.command, self.args, self.magic)

    def __eq__(self, other):
        if not isinstance(other, Packet):
            return NotImplemented
        cdef Packet that = other
        return self.command == that.command and self.args == that.args and self.magic == that.magic

    def __hash__(self):
        return hash((self.magic, self.command, self.args))

    def __repr__(self):
        return f"<Packet {self.magic[1:].decode()} {NAMES[self.command]} {', '.join(map(repr, self.args))}>"

    def __reduce__(self):
        return Packet, (self.command, self.args, self.magic)


cdef bytes choose_magic(int command, object magic):
    if command < 1 or command > COMMAND_MAX:
        raise ValueError(f"command {command} does not exist: there are 1 to {COMMAND_MAX}")
    if magic is None:
        return RESPONSE if RULES[command].from_server else REQUEST
    if magic == REQUEST:
        return REQUEST
    if magic == RESPONSE:
        return RESPONSE
    raise ValueError(f"magic {magic!r} does not exist: there are {REQUEST!r} and {RESPONSE!r}")


cdef size_t measure(int command, tuple args) except 0:
    """Bytes of the whole packet; refuses what does not fit the command. All of `args` are bytes."""
    cdef Rule* rule = &RULES[command]
    cdef Py_ssize_t i, n = PyTuple_GET_SIZE(args), total = HEADER_BYTES
    cdef Py_ssize_t size
    cdef bytes arg
    if n != rule.count:
        fields = protocol.COMMANDS[command - 1].fields
        raise ValueError(f"{NAMES[command]} takes {rule.count} arguments {fields}, got {n}")
    for i in range(n):
        arg = <bytes>PyTuple_GET_ITEM(args, i)
        size = PyBytes_GET_SIZE(arg)
        total += size
        if i + 1 < n:
            total += 1
            if <size_t>size > ARGUMENT_LIMIT or memchr(PyBytes_AS_STRING(arg), 0, size) != NULL:
                raise argument_error(command, i, size)
        elif not rule.has_data and <size_t>size > LAST_LIMIT:
            raise argument_error(command, i, size)
    if total - HEADER_BYTES > 0xFFFFFFFF:
        raise ValueError(f"{NAMES[command]}: a body of {total - HEADER_BYTES} bytes is over the protocol's 4 GiB")
    return total


cdef object argument_error(int command, Py_ssize_t index, Py_ssize_t size):
    field = protocol.COMMANDS[command - 1].fields[index]
    limit = LAST_LIMIT if index + 1 == RULES[command].count else ARGUMENT_LIMIT
    if <size_t>size > limit:
        return ValueError(f"{NAMES[command]}: {field} has {size} bytes, the limit is {limit}")
    return ValueError(f"{NAMES[command]}: {field} holds a NUL, which ends an argument")


cdef void write_packet(char* out, int command, tuple args, bytes magic, size_t total) noexcept:
    cdef Py_ssize_t i, size, n = PyTuple_GET_SIZE(args)
    cdef bytes arg
    put_header(out, magic is RESPONSE, command, <uint32_t>(total - HEADER_BYTES))
    out += HEADER_BYTES
    for i in range(n):
        arg = <bytes>PyTuple_GET_ITEM(args, i)
        size = PyBytes_GET_SIZE(arg)
        memcpy(out, PyBytes_AS_STRING(arg), size)
        out += size
        if i + 1 < n:
            out[0] = 0
            out += 1


cdef bytes build(int command, tuple args, bytes magic):
    cdef size_t total = measure(command, args)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, total)
    write_packet(PyBytes_AS_STRING(out), command, args, magic, total)
    return out


cdef tuple as_bytes(tuple args):
    cdef Py_ssize_t i
    for i in range(PyTuple_GET_SIZE(args)):
        if not PyBytes_CheckExact(<object>PyTuple_GET_ITEM(args, i)):
            return tuple([to_bytes(arg) for arg in args])
    return args


cdef bytes to_bytes(object arg):
    if isinstance(arg, (bytes, bytearray, memoryview)):
        return bytes(arg)
    raise TypeError(f"an argument must be bytes, bytearray or memoryview, not {type(arg).__name__}")


def encode(int command, *args, magic=None):
    """One packet as bytes.

    `args`: all arguments in the order of `protocol.COMMANDS`, the opaque data last; bytes, bytearray or memoryview.
    Raises ValueError for a wrong number of arguments, a NUL in one that ends in a NUL, or one over its limit.
    """
    return build(command, as_bytes(args), choose_magic(command, magic))


def encode_into(bytearray out not None, int command, *args, magic=None):
    """Append one packet to `out`; as `encode`."""
    cdef bytes chosen = choose_magic(command, magic)
    cdef tuple exact = as_bytes(args)
    cdef size_t total = measure(command, exact)
    cdef Py_ssize_t at = len(out)
    out += PyBytes_FromStringAndSize(NULL, total)
    write_packet((<char*>out) + at, command, exact, chosen, total)


cdef Packet make_packet(const Frame* frame):
    cdef Packet packet = Packet.__new__(Packet)
    cdef tuple args = PyTuple_New(frame.count)
    cdef Py_ssize_t i
    cdef object arg
    for i in range(frame.count):
        arg = PyBytes_FromStringAndSize(frame.args[i].data, frame.args[i].size)
        Py_INCREF(arg)
        PyTuple_SET_ITEM(args, i, arg)
    packet.command = frame.command
    packet.args = args
    packet.magic = RESPONSE if frame.is_response else REQUEST
    return packet


@cython.final
cdef class Decoder:
    """Any Gearman stream, in either direction, cut anywhere, to packets and text lines.

    `max_packet`: largest packet in bytes, header included. Memory grows with the bytes that arrived, never with a
    length that was only announced.
    """

    def __cinit__(self, size_t max_packet=protocol.MAX_PACKET):
        if max_packet < HEADER_BYTES:
            raise ValueError(f"max_packet must be at least {HEADER_BYTES} bytes, not {max_packet}")
        self.max_packet = max_packet

    def __dealloc__(self):
        PyMem_Free(self.buffer)

    @property
    def pending(self):
        """Bytes of an unfinished packet or line that are held."""
        return self.held

    @property
    def failed(self):
        """The stream was no Gearman; the decoder takes nothing any more."""
        return self.failure is not None

    def receive(self, data):
        """Take bytes; returns the packets (`Packet`) and text lines (`bytes`, without line end) that they complete.

        Raises ProtocolError at the first byte that is no Gearman, with what came before it in its `packets`; and
        again, without packets, at every later call.
        """
        cdef Py_buffer view
        cdef list found = []
        if self.failure is not None:
            raise ProtocolError(str(self.failure), offset=self.failure.offset, head=self.failure.head)
        if PyBytes_CheckExact(data) and self.held == 0:
            self.decode_all(PyBytes_AS_STRING(<bytes>data), PyBytes_GET_SIZE(<bytes>data), found)
            return found
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if self.held == 0:
                self.decode_all(<const char*>view.buf, view.len, found)
            else:
                self.keep(<const char*>view.buf, view.len)
                if self.held >= self.wanted:
                    self.decode_all(self.buffer, self.held, found)
        finally:
            PyBuffer_Release(&view)
        return found

    cdef int keep(self, const char* data, size_t size) except -1:
        """Append to the buffer; `data` may not lie in it."""
        cdef size_t room = self.room
        cdef char* larger
        if self.held + size > room:
            room = max(self.held + size, min(2 * room, self.wanted))
            larger = <char*>PyMem_Realloc(self.buffer, room)
            if larger == NULL:
                raise MemoryError
            self.buffer = larger
            self.room = room
        memcpy(self.buffer + self.held, data, size)
        self.held += size
        return 0

    cdef int decode_all(self, const char* data, size_t size, list found) except -1:
        cdef Frame frame
        cdef size_t at = 0
        cdef int what
        while True:
            what = decode(data + at, size - at, self.max_packet, &frame)
            if what == PACKET:
                found.append(make_packet(&frame))
            elif what == LINE:
                found.append(PyBytes_FromStringAndSize(frame.args[0].data, frame.args[0].size))
            else:
                break
            at += frame.size
        self.consumed += at
        if what == FAULTY:
            self.fail(data + at, size - at, frame.fault, found)
        self.wanted = frame.size
        self.retain(data, at, size)
        return 0

    cdef int retain(self, const char* data, size_t at, size_t size) except -1:
        """Hold `data[at:size]` for later."""
        if at == size:
            self.held = 0
            if self.room > 65536:
                PyMem_Free(self.buffer)
                self.buffer = NULL
                self.room = 0
        elif data != self.buffer:
            self.held = 0
            self.keep(data + at, size - at)
        elif at:
            memmove(self.buffer, self.buffer + at, size - at)
            self.held = size - at
        return 0

    cdef int fail(self, const char* data, size_t size, int fault, list found) except -1:
        head = PyBytes_FromStringAndSize(data, size if size < 32 else 32)
        text = f"{FAULTS[fault]}; at byte {self.consumed}: {head!r}"
        self.failure = ProtocolError(text, offset=self.consumed, head=head)
        self.held = 0
        raise ProtocolError(text, offset=self.consumed, head=head, left=size, packets=found)
