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
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcpy, memmove

from gearfast import protocol
from gearfast.errors import ProtocolError

__all__ = ["Decoder", "Packet", "encode", "encode_into"]


cdef struct Rule:
    uint8_t count       # arguments, data included
    uint8_t has_data
    uint8_t from_server

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
    NAMES = ("",) + tuple(spec.command.name for spec in protocol.COMMANDS)

compile_rules()


cdef int decode(const char* data, size_t size, size_t max_packet, Frame* frame) noexcept nogil:
    """Find the frame at the start of `data[:size]`; returns a `Found` and fills `frame`."""
    cdef size_t body
    frame.fault = FAULT_NONE
    if size == 0:
        frame.size = HEADER_BYTES
        return NEED_DATA
    if data[0] != 0:
        return decode_line(data, size, frame)
    if size < HEADER_BYTES:
        frame.fault = check_head(data, size)
        frame.size = size + 1
        return FAULTY if frame.fault else NEED_DATA
    frame.command = get_u32(data + 4)
    if data[1] != c'R' or data[2] != c'E' or (data[3] != c'Q' and data[3] != c'S'):
        frame.fault = FAULT_MAGIC
        return FAULTY
    if frame.command == 0 or frame.command > COMMAND_MAX:
        frame.fault = FAULT_COMMAND
        return FAULTY
    frame.is_response = data[3] == c'S'
    body = get_u32(data + 8)
    if body > max_packet - HEADER_BYTES:
        frame.fault = FAULT_PACKET_SIZE
        return FAULTY
    return decode_body(data + HEADER_BYTES, body, size - HEADER_BYTES, frame)


cdef int check_head(const char* data, size_t size) noexcept nogil:
    """A Fault if the first `size` < 12 bytes cannot begin a packet."""
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
            frame.fault = FAULT_LINE_SIZE
            return FAULTY
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


cdef int decode_body(const char* body, size_t size, size_t have, Frame* frame) noexcept nogil:
    """Split a body of `size` bytes, of which `have` (or more) are here, into its arguments."""
    cdef Rule* rule = &RULES[frame.command]
    cdef const char* at = body
    cdef const char* end = body + (size if size < have else have)
    cdef const char* nul
    cdef size_t room
    cdef uint8_t i = 0
    # Without data every argument has a limit, so the body has one too; what lies behind the arguments is ignored.
    if not rule.has_data and size > (rule.count if rule.count else 1) * (LAST_LIMIT + 1):
        frame.fault = FAULT_ARGUMENT_SIZE
        return FAULTY
    frame.count = rule.count
    while i + 1 < rule.count:
        room = end - at
        nul = <const char*>memchr(at, 0, room if room <= ARGUMENT_LIMIT + 1 else ARGUMENT_LIMIT + 1)
        if nul == NULL:
            if room > ARGUMENT_LIMIT:
                frame.fault = FAULT_ARGUMENT_SIZE
                return FAULTY
            if have >= size:
                frame.fault = FAULT_TOO_FEW
                return FAULTY
            frame.size = HEADER_BYTES + have + 1
            return NEED_DATA
        frame.args[i].data = at
        frame.args[i].size = nul - at
        at = nul + 1
        i += 1
    if rule.count:
        frame.args[i].data = at
        frame.args[i].size = size - (at - body)
        if not rule.has_data and frame.args[i].size > LAST_LIMIT:
            frame.fault = FAULT_ARGUMENT_SIZE
            return FAULTY
    frame.size = HEADER_BYTES + size
    return PACKET if have >= size else NEED_DATA


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
        raise ProtocolError(text, offset=self.consumed, head=head, packets=found)
