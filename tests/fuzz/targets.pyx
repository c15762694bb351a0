# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Fuzz targets of streams: each takes any bytes, and fails (an exception, which the harness turns into an abort) if the
codec or the dispatcher breaks a promise. `replay.py` does the same over the Python faces, without a sanitizer.

    decoder      two bytes say where to cut a stream; whole and cut must give the same frames, on both faces
    admin        two bytes say where to cut; a dispatcher with some state must answer whole and cut alike
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from gearfast._codec cimport FAULTY, LINE, PACKET, Frame, decode
from gearfast.dispatch._check cimport check_core
from gearfast.dispatch._core cimport feed
from gearfast.dispatch._dispatcher cimport Dispatcher
from gearfast.dispatch._peer cimport peer_by_id
from gearfast.dispatch._records cimport Core, Peer

from gearfast._codec import Decoder, Packet
from gearfast.errors import ProtocolError

cdef enum:
    MOST_FRAMES = 512
    LIMIT = 70000               # of a packet; above the limits of single arguments

cdef struct Seen:               # one frame: what decode() said, and a sum over its arguments
    int what
    size_t size
    unsigned sum

cdef struct Stream:
    Seen seen[MOST_FRAMES]
    int count
    int fault

cdef bytes PRELUDE = (
    Packet(1, [b"resize"]).encode() + Packet(23, [b"mail", b"5000"]).encode() + Packet(22, [b"an-id"]).encode()
    + Packet(18, [b"resize", b"u1", b"w"]).encode() + Packet(7, [b"resize", b"", b"x"]).encode()
    + Packet(18, [b"mail", b"u2", b"y"]).encode() + Packet(9, []).encode() + Packet(9, []).encode()
    + Packet(32, [b"mail", b"", b"z"]).encode()
)


# decoder

cdef unsigned digest(Frame* frame, int what) noexcept:
    """Reads every byte of every argument, so that a wrong bound shows."""
    cdef unsigned sum = frame.command * 31 + frame.is_response if what == PACKET else 7
    cdef size_t i
    cdef int arg
    for arg in range(frame.count):
        sum = sum * 33 + <unsigned>frame.args[arg].size
        for i in range(frame.args[arg].size):
            sum = sum * 33 + <uint8_t>frame.args[arg].data[i]
    return sum


cdef void decode_stream(const char* data, size_t size, size_t first, Stream* stream) noexcept:
    """As a driver does it: up to `first` bytes have come, and after each of its demands one byte more than it asked."""
    cdef Frame frame
    cdef size_t at = 0
    cdef size_t have = first
    cdef int what
    stream.count = 0
    stream.fault = 0
    while stream.count < MOST_FRAMES:
        what = decode(data + at, have - at, LIMIT, &frame)
        if what == PACKET or what == LINE:
            stream.seen[stream.count].what = what
            stream.seen[stream.count].size = frame.size
            stream.seen[stream.count].sum = digest(&frame, what)
            stream.count += 1
            at += frame.size
        elif what == FAULTY:
            stream.fault = frame.fault
            return
        elif have == size:
            return
        else:
            have = min(size, max(at + frame.size, have + 1))


cdef bint same(Seen* a, Seen* b) noexcept:
    return a.what == b.what and a.size == b.size and a.sum == b.sum


cdef int fuzz_faces(bytes data, size_t cut, Stream* stream) except -1:
    """The Python face finds the same packets, and each of them encodes to what decodes to it."""
    whole, failed = run_decoder([data])
    parts, failed_cut = run_decoder([data[:cut], data[cut:]])
    if whole != parts or failed != failed_cut:
        raise AssertionError(f"whole {whole[:3]}, cut {parts[:3]}")
    if stream.count < MOST_FRAMES and (len(whole) != stream.count or failed != (stream.fault != 0)):
        raise AssertionError(f"{len(whole)} frames on the Python face, {stream.count} on the C face")
    for packet in whole:
        if isinstance(packet, Packet) and Decoder(LIMIT).receive(packet.encode()) != [packet]:
            raise AssertionError(f"{packet!r} does not survive being encoded")
    return 0


cdef tuple run_decoder(list chunks):
    decoder = Decoder(LIMIT)
    found = []
    for chunk in chunks:
        try:
            found += decoder.receive(chunk)
        except ProtocolError as error:
            found += error.packets
    return found, decoder.failed


cdef public int fuzz_decoder(unsigned char* data, size_t size) except -1:
    cdef Stream whole
    cdef Stream cut
    cdef size_t at
    if size < 3:
        return 0
    at = min(size - 2, <size_t>(data[0] | data[1] << 8))
    data += 2
    size -= 2
    decode_stream(<char*>data, size, size, &whole)
    decode_stream(<char*>data, size, at, &cut)
    if whole.count != cut.count or whole.fault != cut.fault:
        raise AssertionError(f"whole: {whole.count} frames, fault {whole.fault}; cut: {cut.count}, {cut.fault}")
    for i in range(whole.count):
        if not same(&whole.seen[i], &cut.seen[i]):
            raise AssertionError(f"frame {i} differs between whole and cut")
    return fuzz_faces(PyBytes_FromStringAndSize(<char*>data, size), at, &whole)


# admin

cdef Dispatcher prepared(unsigned long long* ids):
    """A dispatcher with functions, a worker with running jobs, a waiting client, and a peer to be fuzzed."""
    cdef Dispatcher dispatcher = Dispatcher(handle_prefix=b"H", max_packet=LIMIT, version="1", pid=1)
    worker = dispatcher.connect("10.0.0.1", fd=5)
    dispatcher.receive(worker, PRELUDE)
    ids[0] = worker
    ids[1] = dispatcher.connect("10.0.0.2", fd=6, admin=True)
    dispatcher.tick(1, 1)
    return dispatcher


cdef int send_exact(Core* core, Peer* peer, const unsigned char* data, size_t size) except? -2:
    """From a block of exactly this size, so that no read beyond it goes unnoticed."""
    cdef char* block = <char*>malloc(size if size else 1)
    cdef int result
    memcpy(block, data, size)
    result = feed(core, peer, block, size)
    free(block)
    return result


cdef public int fuzz_admin(unsigned char* data, size_t size) except -1:
    cdef unsigned long long[2] ids
    cdef Dispatcher whole
    cdef Dispatcher cut
    cdef size_t first
    cdef size_t second
    if size < 3:
        return 0
    whole = prepared(ids)
    cut = prepared(ids)
    first = data[0] % (size - 2)
    second = min(size - 2, first + data[1])
    data += 2
    size -= 2
    send_exact(&whole.core, peer_by_id(&whole.core, ids[1]), data, size)
    send_exact(&cut.core, peer_by_id(&cut.core, ids[1]), data, first)
    send_exact(&cut.core, peer_by_id(&cut.core, ids[1]), data + first, second - first)
    send_exact(&cut.core, peer_by_id(&cut.core, ids[1]), data + second, size - second)
    check_core(&whole.core)
    for i in range(2):
        answers = whole.take_output(ids[i])
        answers_cut = cut.take_output(ids[i])
        if answers != answers_cut:
            raise AssertionError(f"whole and cut are answered differently:\n{answers}\n{answers_cut}")
        if whole.closing(ids[i]) != cut.closing(ids[i]):
            raise AssertionError("whole or cut only is closed")
    for i in range(2):
        cut.disconnect(ids[i])
    check_core(&cut.core)
    return 0
