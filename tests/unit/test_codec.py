# SPDX-License-Identifier: BSD-3-Clause
"""The codec's Python face: each decoder case whole, split at every byte, byte by byte, and with bytes behind it."""

from __future__ import annotations

import pickle
import re
import struct
from pathlib import Path

import pytest

import gearfast
from gearfast import protocol
from gearfast._codec import Decoder, Packet, encode, encode_into
from gearfast.errors import ProtocolError
from gearfast.protocol import COMMANDS, Command, CommandSpec

REQ, RES = protocol.MAGIC_REQUEST, protocol.MAGIC_RESPONSE
NAMES = [spec.command.name for spec in COMMANDS]


def packet(number: int, body: bytes = b"", magic: bytes = REQ) -> bytes:
    """Bytes of a packet, built without the codec."""
    return magic + struct.pack(">II", number, len(body)) + body


def sample(spec: CommandSpec) -> tuple[bytes, ...]:
    """Arguments for a command, all different, data with NULs."""
    args = [b"%s-%d" % (name.encode(), n) for n, name in enumerate(spec.arguments)]
    return (*args, b"\0da\0ta\0") if spec.data else tuple(args)


def feed(decoder: Decoder, *chunks: bytes) -> list[Packet | bytes]:
    got: list[Packet | bytes] = []
    for chunk in chunks:
        got += decoder.receive(chunk)
    return got


def feed_all_ways(stream: bytes, wanted: list[Packet | bytes]) -> None:
    """Whole, split at every byte, byte by byte, with a packet behind it, and with half of one behind it."""
    assert feed(Decoder(), stream) == wanted
    splits = range(len(stream) + 1) if len(stream) < 400 else [*range(40), *range(len(stream) - 40, len(stream))]
    for at in splits:
        assert feed(Decoder(), stream[:at], stream[at:]) == wanted, at
    if len(stream) < 400:
        assert feed(Decoder(), *(stream[at : at + 1] for at in range(len(stream)))) == wanted
    behind = packet(Command.ECHO_REQ, b"behind")
    assert feed(Decoder(), stream + behind) == [*wanted, Packet(Command.ECHO_REQ, [b"behind"])]
    assert feed(Decoder(), stream + b"line\n" + behind[:-1]) == [*wanted, b"line"]


def fail_all_ways(stream: bytes, before: list[Packet | bytes], offset: int | None = None) -> None:
    """The decoder gives what came before, then fails, however the stream is cut, and stays failed."""
    cuts = list(range(len(stream) + 1)) if len(stream) < 400 else [0, 1, 11, 12, 13, len(stream) - 1, len(stream)]
    for at in cuts:
        decoder, got = Decoder(), []
        with pytest.raises(ProtocolError) as caught:
            for chunk in (stream[:at], stream[at:]):
                got += decoder.receive(chunk)
            raise AssertionError(f"no failure, split at {at}: {got}")
        assert got + caught.value.packets == before, at
        assert decoder.failed
        if offset is not None:
            assert caught.value.offset == offset, at
        assert len(caught.value.head) <= 32
        for good in (packet(Command.ECHO_REQ, b"good"), b"version\n", b""):
            with pytest.raises(ProtocolError) as again:
                decoder.receive(good)
            assert again.value.packets == []


@pytest.mark.parametrize("magic", [REQ, RES])
@pytest.mark.parametrize("spec", COMMANDS, ids=NAMES)
def test_every_command(spec: CommandSpec, magic: bytes) -> None:
    args = sample(spec)
    stream = packet(spec.command, b"\0".join(args), magic)
    feed_all_ways(stream, [Packet(spec.command, args, magic)])
    (got,) = Decoder().receive(stream)
    assert isinstance(got, Packet)
    assert (got.magic, got.command, got.args, got.name) == (magic, spec.command, args, spec.command.name)
    assert got.encode() == encode(spec.command, *args, magic=magic) == stream


@pytest.mark.parametrize("spec", COMMANDS, ids=NAMES)
def test_every_command_with_empty_arguments(spec: CommandSpec) -> None:
    args = (b"",) * len(spec.fields)
    feed_all_ways(packet(spec.command, b"\0".join(args)), [Packet(spec.command, args, REQ)])


@pytest.mark.parametrize("spec", [s for s in COMMANDS if not s.data and s.fields], ids=lambda s: s.command.name)
def test_last_plain_argument_keeps_its_nuls(spec: CommandSpec) -> None:
    args = (*sample(spec)[:-1], b"a\0b\0")
    feed_all_ways(packet(spec.command, b"\0".join(args)), [Packet(spec.command, args, REQ)])


@pytest.mark.parametrize("spec", [s for s in COMMANDS if not s.fields], ids=lambda s: s.command.name)
def test_body_of_a_command_without_arguments_is_ignored(spec: CommandSpec) -> None:
    feed_all_ways(packet(spec.command, b"what\0ever"), [Packet(spec.command, (), REQ)])


@pytest.mark.parametrize("spec", [s for s in COMMANDS if len(s.fields) > 1], ids=lambda s: s.command.name)
def test_too_few_arguments(spec: CommandSpec) -> None:
    for count in range(len(spec.fields) - 1):
        body = b"\0".join([b"x"] * (count + 1))
        before = packet(Command.ECHO_REQ, b"1")
        fail_all_ways(before + packet(spec.command, body), [Packet(Command.ECHO_REQ, [b"1"])])


@pytest.mark.parametrize(
    "head",
    [b"\0REX", b"\0req", b"\0\0\0\0", b"\0RE\0", b"\0ESR", b"\0QER"],
)
def test_wrong_magic(head: bytes) -> None:
    fail_all_ways(head + packet(9)[4:], [], 0)
    fail_all_ways(b"version\r\n" + packet(9) + head + packet(9)[4:], [b"version", Packet(9)], 21)


@pytest.mark.parametrize("magic", [REQ, RES])
@pytest.mark.parametrize("number", [0, 43, 44, 255, 256, 0x10000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF])
def test_number_that_does_not_exist(magic: bytes, number: int) -> None:
    fail_all_ways(packet(9) + packet(number, b"", magic), [Packet(9)], 12)


@pytest.mark.parametrize("number", [1, 7])
def test_error_tells_where_and_what(number: int) -> None:
    bad = b"\0RXQ" + b"evidence" * 8
    decoder = Decoder()
    decoder.receive(packet(number, b"\0\0"))
    with pytest.raises(ProtocolError) as caught:
        decoder.receive(packet(9) + b"line\n" + bad)
    assert caught.value.offset == 14 + 12 + 5
    assert bad.startswith(caught.value.head) and caught.value.head
    assert caught.value.packets == [Packet(9), b"line"]


class TestLengths:
    def test_argument_before_a_nul(self) -> None:
        args = (b"f" * 8191, b"u" * 8191, b"data")
        feed_all_ways(packet(7, b"\0".join(args)), [Packet(7, args)])
        fail_all_ways(packet(7, b"f" * 8192 + b"\0\0"), [])
        fail_all_ways(packet(7, b"\0" + b"u" * 8192 + b"\0"), [])

    def test_last_argument_without_data(self) -> None:
        feed_all_ways(packet(1, b"f" * 8192), [Packet(1, [b"f" * 8192])])
        fail_all_ways(packet(1, b"f" * 8193), [])
        args = (b"h", b"1" * 8191, b"2" * 8192)
        feed_all_ways(packet(12, b"\0".join(args)), [Packet(12, args)])
        fail_all_ways(packet(12, b"\0".join((b"h", b"1", b"2" * 8193))), [])

    def test_data_may_be_long(self) -> None:
        data = bytes(range(256)) * 1000
        for number in (7, 13, 16):
            args = (*[b"x"] * (len(COMMANDS[number - 1].fields) - 1), data)
            stream = packet(number, b"\0".join(args))
            assert feed(Decoder(), *(stream[at : at + 4096] for at in range(0, len(stream), 4096))) == [
                Packet(number, args)
            ]

    def test_packet_over_the_limit_fails_at_its_header(self) -> None:
        decoder = Decoder(100)
        assert decoder.receive(packet(16, b"x" * 88)) == [Packet(16, [b"x" * 88])]
        with pytest.raises(ProtocolError):
            decoder.receive(packet(16, b"x" * 89)[:12])

    @pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, 0x7FFFFFFF])
    def test_default_limit_is_below_what_a_header_can_claim(self, size: int) -> None:
        for number in (7, 16, 9):
            with pytest.raises(ProtocolError):
                Decoder().receive(REQ + struct.pack(">II", number, size))

    def test_announced_data_is_not_held_before_it_comes(self) -> None:
        decoders = [Decoder() for _ in range(1000)]
        for decoder in decoders:  # 250 GB, were it believed
            assert decoder.receive(REQ + struct.pack(">II", 16, 250 << 20)) == []
            assert decoder.pending == 12


class TestLines:
    @pytest.mark.parametrize(
        ("stream", "wanted"),
        [
            (b"version\n", b"version"),
            (b"version\r\n", b"version"),
            (b"\n", b""),
            (b"\r\n", b""),
            (b" status \n", b" status "),
            (b"a\rb\n", b"a\rb"),
            (b"a\r\r\n", b"a\r"),
            (b"a\0b\n", b"a\0b"),
            (b"\xff\xfe\n", b"\xff\xfe"),
            (b"x" * 8191 + b"\n", b"x" * 8191),
        ],
    )
    def test_text(self, stream: bytes, wanted: bytes) -> None:
        feed_all_ways(stream, [wanted])

    def test_mixed_with_packets(self) -> None:
        stream = b"one\n" + packet(9) + b"two\r\n\n" + packet(16, b"three\n") + b"four\n"
        feed_all_ways(stream, [b"one", Packet(9), b"two", b"", Packet(16, [b"three\n"]), b"four"])

    def test_too_long(self) -> None:
        fail_all_ways(b"x" * 8192 + b"\n", [])

    def test_without_an_end(self) -> None:
        decoder = Decoder()
        with pytest.raises(ProtocolError):
            for _ in range(100):
                assert decoder.receive(b"x" * 100) == []

    def test_many_in_one_read(self) -> None:
        assert Decoder().receive(b"a\n" * 5000) == [b"a"] * 5000


class TestState:
    def test_pending(self) -> None:
        decoder = Decoder()
        assert (decoder.pending, decoder.failed) == (0, False)
        stream = packet(16, b"x" * 50)
        for at in range(len(stream) - 1):
            assert decoder.receive(stream[at : at + 1]) == []
            assert decoder.pending == at + 1
        assert decoder.receive(stream[-1:] + b"ab") == [Packet(16, [b"x" * 50])]
        assert decoder.pending == 2

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_takes_any_bytes(self, kind: type) -> None:
        assert Decoder().receive(kind(packet(16, b"x"))) == [Packet(16, [b"x"])]
        assert Decoder().receive(memoryview(b"zz" + packet(9))[2:]) == [Packet(9)]
        assert encode(Command.ECHO_REQ, kind(b"x")) == packet(16, b"x")

    def test_keeps_no_reference_to_what_it_was_fed(self) -> None:
        buffer = bytearray(packet(16, b"abcdef") + b"li")
        decoder = Decoder()
        (got,) = decoder.receive(buffer)
        buffer[:] = bytes(len(buffer))
        assert got == Packet(16, [b"abcdef"])
        assert decoder.receive(b"ne\n") == [b"line"]
        buffer.clear()

    @pytest.mark.parametrize("bad", ["text", 7, None])
    def test_refuses_what_is_no_bytes(self, bad: object) -> None:
        decoder = Decoder()
        with pytest.raises((TypeError, ValueError)):
            decoder.receive(bad)  # type: ignore[arg-type]
        assert decoder.receive(packet(9)) == [Packet(9)]


class TestPacket:
    def test_is_a_value(self) -> None:
        a, b = Packet(16, [b"x"]), Packet(Command.ECHO_REQ, (bytearray(b"x"),), REQ)
        assert a == b and hash(a) == hash(b)
        assert {a, b} == {a}
        assert a != Packet(16, [b"y"]) and a != Packet(17, [b"x"]) and a != Packet(16, [b"x"], RES)
        assert a != b"x" and a != 16

    def test_cannot_be_changed(self) -> None:
        for name in ("magic", "command", "args", "name", "other"):
            with pytest.raises((AttributeError, TypeError)):
                setattr(Packet(9), name, 1)

    def test_cannot_be_subclassed(self) -> None:
        for cls in (Packet, Decoder):
            with pytest.raises(TypeError):
                type("Sub", (cls,), {})

    def test_shows_itself(self) -> None:
        text = repr(Packet(7, [b"f", b"u", b"data"]))
        assert "SUBMIT_JOB" in text and "data" in text

    @pytest.mark.parametrize("spec", COMMANDS, ids=NAMES)
    def test_default_magic_is_the_usual_one(self, spec: CommandSpec) -> None:
        assert Packet(spec.command, sample(spec)).magic == spec.magic
        assert encode(spec.command, *sample(spec))[:4] == spec.magic

    def test_survives_pickling_or_refuses_it(self) -> None:
        a = Packet(7, [b"f", b"", b"\0"])
        try:
            copy = pickle.loads(pickle.dumps(a))
        except TypeError:
            return
        assert copy == a


class TestEncode:
    @pytest.mark.parametrize("spec", COMMANDS, ids=NAMES)
    def test_wrong_number_of_arguments(self, spec: CommandSpec) -> None:
        args = sample(spec)
        for wrong in ((*args, b"x"), args[:-1]):
            if wrong != args:
                with pytest.raises(ValueError):
                    encode(spec.command, *wrong)
                with pytest.raises(ValueError):
                    Packet(spec.command, wrong).encode()

    @pytest.mark.parametrize("spec", [s for s in COMMANDS if len(s.fields) > 1], ids=lambda s: s.command.name)
    def test_nul_before_the_last(self, spec: CommandSpec) -> None:
        for at in range(len(spec.fields) - 1):
            args = list(sample(spec))
            args[at] = b"a\0b"
            with pytest.raises(ValueError):
                encode(spec.command, *args)

    @pytest.mark.parametrize("number", [0, 43, -1, 1 << 31, 1 << 40])
    def test_no_such_command(self, number: int) -> None:
        with pytest.raises((ValueError, OverflowError)):
            encode(number)

    @pytest.mark.parametrize("magic", [b"", b"\0REX", b"\0REQ\0"])
    def test_no_such_magic(self, magic: bytes) -> None:
        with pytest.raises(ValueError):
            encode(9, magic=magic)

    def test_what_a_decoder_would_refuse(self) -> None:
        assert encode(1, b"f" * 8192) == packet(1, b"f" * 8192)
        assert encode(7, b"f" * 8191, b"", b"") == packet(7, b"f" * 8191 + b"\0\0")
        for args in ((7, b"f" * 8192, b"", b""), (1, b"f" * 8193), (12, b"h", b"1", b"2" * 8193)):
            with pytest.raises(ValueError):
                encode(*args)

    def test_into_a_buffer(self) -> None:
        out = bytearray(b"before")
        encode_into(out, Command.SUBMIT_JOB, b"f", b"u", b"data")
        encode_into(out, Command.NOOP, magic=REQ)
        assert out == b"before" + packet(7, b"f\0u\0data") + packet(6)
        for bad in ((7, b"f"), (7, b"a\0b", b"", b"")):
            with pytest.raises(ValueError):
                encode_into(out, *bad)
        assert out == b"before" + packet(7, b"f\0u\0data") + packet(6), "a refused packet leaves nothing behind"

    def test_text_is_no_argument(self) -> None:
        with pytest.raises(TypeError):
            encode(16, "text")  # type: ignore[arg-type]


def test_tables_of_the_codec_are_those_of_the_protocol() -> None:
    """Names, numbers and argument counts of the compiled tables, seen from outside."""
    for spec in COMMANDS:
        args = sample(spec)
        assert Packet(spec.command, args).name == spec.command.name
        (got,) = Decoder().receive(packet(spec.command, b"\0".join(args), spec.magic))
        assert got == Packet(spec.command, args)
        extra = b"" if not spec.fields else b"\0more"  # data and last arguments take it, nothing else exists
        (got,) = Decoder().receive(packet(spec.command, b"\0".join(args) + extra, spec.magic))
        assert isinstance(got, Packet)
        assert b"".join(got.args).endswith(b"more") is bool(spec.fields)


def test_numbers_of_the_c_face_are_those_of_the_protocol() -> None:
    declared = Path(gearfast.__file__).with_name("_codec.pxd").read_text(encoding="utf-8")
    numbers = {name: int(value) for name, value in re.findall(r"^    CMD_(\w+) = (\d+)$", declared, re.MULTILINE)}
    assert numbers == {c.name: c.value for c in Command if c is not Command.UNUSED}
    sizes = dict(re.findall(r"^    (\w+) = (\d+)$", declared, re.MULTILINE))
    assert int(sizes["HEADER_BYTES"]) == protocol.HEADER_SIZE
    assert int(sizes["ARGUMENTS_MAX"]) == protocol.MAX_ARGUMENTS
    assert int(sizes["COMMAND_MAX"]) == max(Command)
