# SPDX-License-Identifier: BSD-3-Clause
"""The codec under any bytes: it never crashes, and how a stream is cut never matters."""

from __future__ import annotations

import itertools
import struct

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gearfast import protocol
from gearfast._codec import Decoder, Packet, encode, encode_into
from gearfast.errors import ProtocolError
from gearfast.protocol import COMMANDS, CommandSpec

MAGICS = (protocol.MAGIC_REQUEST, protocol.MAGIC_RESPONSE)

plain = st.binary(max_size=40).map(lambda b: b.replace(b"\0", b"."))
lines = st.binary(max_size=40).map(lambda b: b.replace(b"\n", b".").lstrip(b"\0").rstrip(b"\r"))


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    """Any good packet."""
    spec: CommandSpec = draw(st.sampled_from(COMMANDS))
    args = [draw(plain) for _ in spec.fields[:-1]]
    if spec.fields:
        args.append(draw(st.binary(max_size=60)))
    return Packet(spec.command, args, draw(st.sampled_from(MAGICS)))


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    """Bytes that look like packets: any number, any body, a size that may lie."""
    number = draw(st.one_of(st.integers(0, 45), st.integers(0, 2**32 - 1)))
    body = draw(st.binary(max_size=30))
    size = draw(st.one_of(st.just(len(body)), st.integers(0, 40), st.integers(0, 2**32 - 1)))
    return draw(st.sampled_from((*MAGICS, b"\0RE\0"))) + struct.pack(">II", number, size) + body


streams = st.lists(st.one_of(packets().map(Packet.encode), nearly(), st.binary(max_size=30)), max_size=6).map(b"".join)
cuts = st.lists(st.integers(0, 400), max_size=8)


def run(stream: bytes, at: list[int]) -> tuple[list[Packet | bytes], int | None, bytes, int]:
    """What came out, where it failed (None: not), on what, and how much is pending."""
    decoder, got = Decoder(1 << 20), list[Packet | bytes]()
    edges = [0, *sorted(min(a, len(stream)) for a in at), len(stream)]
    for start, stop in itertools.pairwise(edges):
        try:
            got += decoder.receive(stream[start:stop])
        except ProtocolError as failure:
            assert decoder.failed
            return got + failure.packets, failure.offset, b"", 0
    assert not decoder.failed
    return got, None, b"", decoder.pending


@settings(max_examples=600)
@given(streams, cuts)
@example(b"\0REQ" + struct.pack(">II", 0x80000001, 0), [5])
@example(b"\0", [])
def test_cutting_never_matters(stream: bytes, at: list[int]) -> None:
    whole = run(stream, [])
    assert run(stream, at) == whole
    assert run(stream, list(range(len(stream)))) == whole


@settings(max_examples=300)
@given(streams, streams)
def test_bytes_behind_change_nothing_before(stream: bytes, behind: bytes) -> None:
    got, failed, _, _ = run(stream, [])
    more, failed_then, _, _ = run(stream + behind, [])
    assert more[: len(got)] == got
    if failed is not None:
        assert (more, failed_then) == (got, failed)


@settings(max_examples=300)
@given(streams)
def test_what_was_decoded_can_be_encoded(stream: bytes) -> None:
    for item in run(stream, [])[0]:
        if isinstance(item, Packet):
            assert Decoder().receive(item.encode()) == [item]


@settings(max_examples=300)
@given(st.lists(st.one_of(packets(), lines), max_size=12), cuts)
def test_round_trip(items: list[Packet | bytes], at: list[int]) -> None:
    stream = b"".join(i.encode() if isinstance(i, Packet) else i + b"\n" for i in items)
    got, failed, _, pending = run(stream, at)
    assert (got, failed, pending) == (items, None, 0)


@settings(max_examples=200)
@given(packets())
def test_all_ways_to_encode_agree(item: Packet) -> None:
    body = b"\0".join(item.args)
    wanted = item.magic + struct.pack(">II", item.command, len(body)) + body
    out = bytearray()
    encode_into(out, item.command, *item.args, magic=item.magic)
    assert item.encode() == encode(item.command, *item.args, magic=item.magic) == bytes(out) == wanted
    assert hash(Packet(item.command, item.args, item.magic)) == hash(item)


@settings(max_examples=200)
@given(st.integers(1, 42), st.lists(st.binary(max_size=20), max_size=9))
def test_encode_refuses_or_can_be_read_back(number: int, args: list[bytes]) -> None:
    try:
        stream = encode(number, *args)
    except ValueError:
        fields = COMMANDS[number - 1].fields
        assert len(args) != len(fields) or any(b"\0" in a for a in args[:-1])
        return
    assert Decoder().receive(stream) == [Packet(number, args)]
