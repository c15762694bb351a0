# SPDX-License-Identifier: BSD-3-Clause
# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Decoding in memory, with no socket and no clock inside the loop: how fast each face of the codec is."""

from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

from gearfast._codec cimport PACKET, Frame, decode

from time import thread_time

from gearfast._codec import Decoder, encode
from gearfast.protocol import MAX_PACKET, Command

BUFFER_SIZE = 65536
"""Bytes of a buffer, the size of one read from a busy connection."""


def submissions(int payload=32):
    """As many whole SUBMIT_JOB packets with workloads of `payload` bytes as fit into 64 KiB: (bytes, how many)."""
    packet = encode(Command.SUBMIT_JOB, b"resize", b"", b"x" * payload)
    count = BUFFER_SIZE // len(packet)
    return packet * count, count


def decode_c(long buffers, int payload=32):
    """Packets a CPU second through the C face, decoding the same 64 KiB `buffers` times.

    Raises RuntimeError if a packet was not found or had other sizes than it was written with.
    """
    data, count = submissions(payload)
    cdef const char* base = data
    cdef const char* at
    cdef const char* end = base + len(data)
    cdef size_t limit = MAX_PACKET
    cdef uint64_t packets = 0
    cdef uint64_t octets = 0
    cdef long _turn
    cdef Frame frame
    before = thread_time()
    with nogil:
        for _turn in range(buffers):
            at = base
            while at < end:
                if decode(at, end - at, limit, &frame) != PACKET:
                    break
                packets += 1
                octets += frame.args[2].size
                at += frame.size
    seconds = thread_time() - before
    if packets != <uint64_t>(buffers * count) or octets != packets * payload:
        raise RuntimeError(f"{packets} packets decoded instead of {buffers * count}")
    return packets / seconds


def decode_python(long buffers, int payload=32):
    """Packets a CPU second through `Decoder.receive`, which makes a `Packet` of each. Raises RuntimeError as above."""
    data, count = submissions(payload)
    decoder = Decoder()
    receive = decoder.receive
    cdef long packets = 0
    cdef long _turn
    before = thread_time()
    for _turn in range(buffers):
        packets += len(receive(data))
    seconds = thread_time() - before
    if packets != buffers * count:
        raise RuntimeError(f"{packets} packets decoded instead of {buffers * count}")
    return packets / seconds
