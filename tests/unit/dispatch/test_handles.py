# SPDX-License-Identifier: BSD-3-Clause
"""Handles are `PREFIX:N` with N in decimal; what is written otherwise is no handle. Compared with a plain model."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gearfast import encode
from gearfast._codec import Decoder, Packet
from gearfast.dispatch import Dispatcher
from gearfast.dispatch._check import check
from gearfast.protocol import Command

MOST = 2**63 - 1
EDGES = sorted(
    {
        number
        for power in range(19)
        for number in (10**power - 2, 10**power - 1, 10**power, 10**power + 1, 3 * 10**power - 1)
    }
    | {9_998, 9_999, 10_001, 19_999, 20_000, 99_990_000, 12_340_000, 12_349_999, 12_350_000}
    | {63, 64, 65, 2**32 - 1, 2**32, 2**63 - 65, 2**63 - 2, MOST}
)
STARTS = [number for number in EDGES if 1 <= number <= MOST]


class Jobs:
    """A dispatcher with jobs, whose handles come from `first` on, and the same in Python."""

    def __init__(self, first: int, prefix: bytes = b"H:box") -> None:
        self.prefix = prefix
        self.server = Dispatcher(first_handle=first, handle_prefix=prefix)
        self.client = self.server.connect()
        self.next = first
        self.alive: set[int] = set()

    def ask(self, *packets: bytes) -> list[Packet | bytes]:
        self.server.receive(self.client, b"".join(packets))
        return Decoder().receive(self.server.take_output(self.client))

    def submit(self) -> None:
        (answer,) = self.ask(encode(Command.SUBMIT_JOB_BG, b"f", b"", b""))
        assert isinstance(answer, Packet)
        assert answer.args == (b"%s:%d" % (self.prefix, self.next),)
        self.alive.add(self.next)
        self.next += 1

    def model(self, handle: bytes) -> int | None:
        """The number of the job that a handle stands for, if it stands for one."""
        match = re.fullmatch(re.escape(self.prefix) + rb":([1-9][0-9]*)", handle, re.DOTALL)
        number = int(match[1]) if match else 0
        return number if number in self.alive else None

    def known(self, handle: bytes) -> bool:
        (answer,) = self.ask(encode(Command.GET_STATUS, handle))
        assert isinstance(answer, Packet)
        assert answer.args[0] == handle
        return answer.args[1] == b"1"


@pytest.mark.parametrize("first", STARTS)
def test_written_and_found_about_every_edge(first: int) -> None:
    jobs = Jobs(first)
    count = min(70, MOST - first + 20)
    for _ in range(count):
        jobs.submit()
    for number in range(max(1, first - 3), first + count + 3):
        handle = b"H:box:%d" % number
        assert jobs.known(handle) is (number in jobs.alive), handle
    assert [row["handle"] for row in jobs.server.jobs()] == [f"H:box:{number}" for number in sorted(jobs.alive)]
    check(jobs.server)


def test_one_lookup_after_another_over_the_edge_of_ten_thousand() -> None:
    """Handles of many ten thousands at once: whichever was written last, the others are written and found as well."""
    jobs = Jobs(9_990)
    for _ in range(10_030):
        jobs.submit()
    numbers = [9_990, 9_999, 10_000, 10_001, 19_999, 20_000, 20_019]
    for one, other in itertools.product(numbers, repeat=2):
        assert jobs.known(b"H:box:%d" % one)
        assert jobs.known(b"H:box:%d" % other)
        assert not jobs.known(b"H:box:%d" % (one % 9_990))
    for number in numbers:
        assert jobs.ask(b"cancel job H:box:%d\n" % number) == [b"OK"]
        assert not jobs.known(b"H:box:%d" % number)
    assert not jobs.known(b"H:box:20020")


def garbage(number: int) -> list[bytes]:
    """What looks much like the handle of this job."""
    text = b"%d" % number
    return [
        b"H:box:0" + text,
        b"H:box:+" + text,
        b"H:box:-" + text,
        b"H:box: " + text,
        b"H:box:" + text + b" ",
        b"H:box:" + text + b"\r",
        b"H:box:" + text + b"x",
        b"H:box:" + text + b"/",
        b"H:box:" + text + b":",
        b"H:box:" + text[:-1] + b":",
        b"H:box:" + text[:-1] + b"/",
        b"H:box:" + text[:-1] + b"a",
        b"H:box:" + text + b"0",
        b"H:box:" + text[:-1],
        b"H:box:" + text[1:],
        b"H:box" + text,
        b"H:box:",
        b"H:bo:" + text,
        b"h:box:" + text,
        b"H:box;" + text,
        b"xH:box:" + text,
        text,
        b":" + text,
        b"H:box:" + b"0" * 20,
        b"H:box:%x" % number,
        b"H:box:%d" % (number + 2**64),
        b"H:box:%d" % (number + 2**65),
        b"H:box:%d" % (number + 10 * 2**64),
        b"H:box:%d" % (2**64 - number),
        b"H:box:" + b"9" * 20,
        b"H:box:" + b"9" * 21,
        b"H:box:" + b"1" * 60,
        b"H:box:1e3",
        b"H:box:" + bytes(4),
        b"",
    ]


@pytest.mark.parametrize("first", [1, 7, 10, 99, 9_999, 10_000, 12_345, 10**8, 10**18, 2**63 - 3])
def test_garbage(first: int) -> None:
    jobs = Jobs(first)
    for _ in range(3):
        jobs.submit()
    for handle in garbage(first):
        assert jobs.known(handle.partition(b"\0")[0]) is (jobs.model(handle.partition(b"\0")[0]) is not None), handle
        if b" " not in handle and b"\r" not in handle and b"\0" not in handle and jobs.model(handle) is None:
            assert jobs.ask(b"cancel job " + handle + b"\n")[0].startswith(b"ERR"), handle  # type: ignore[union-attr]
    for number in jobs.alive:
        assert jobs.known(b"H:box:%d" % number)


@pytest.mark.parametrize("prefix", [b"", b"H", b"H:1", b"12", b"p" * 42, b"\xff\xfe", b":", b"H:box:1"])
def test_prefixes(prefix: bytes) -> None:
    """Those that look like a number, or like another handle, too."""
    for first in (1, 9_999, 123_456_789, MOST):
        jobs = Jobs(first, prefix)
        jobs.submit()
        jobs.submit()
        assert jobs.known(b"%s:%d" % (prefix, first))
        assert not jobs.known(b"%s%d" % (prefix, first))
        assert not jobs.known(b"x%s:%d" % (prefix, first))
        assert len(b"%s:%d" % (prefix, first)) < 64


handles = st.one_of(
    st.integers(0, 2**66).map(lambda n: b"H:box:%d" % n),
    st.sampled_from([text for first in (1, 9_999, 123_456, 2**63 - 2) for text in garbage(first)]),
    st.from_regex(rb"\AH:box:[0-9 +-]{1,22}\Z"),
    st.binary(max_size=40),
    st.tuples(st.sampled_from(["H:box:", "H:box", ":"]), st.text("0123456789", max_size=25)).map(
        lambda both: "".join(both).encode()
    ),
)
starts = st.one_of(st.sampled_from(STARTS), st.integers(1, MOST))


@given(starts, st.lists(handles, max_size=10), st.data())
@example(9_999, [b"H:box:010000", b"H:box:1000:"], None)
def test_as_the_model(first: int, asked: list[bytes], data: st.DataObject | None) -> None:
    """Jobs come and go, and any bytes are asked for, those near to a handle above all."""
    jobs = Jobs(first)
    for handle in asked:
        jobs.submit()
        if data is not None:
            number = data.draw(st.sampled_from(sorted(jobs.alive)))
            near = bytearray(b"H:box:%d" % number)
            near[data.draw(st.integers(0, len(near) - 1))] = data.draw(st.integers(1, 255))
            assert jobs.known(bytes(near)) is (jobs.model(bytes(near)) is not None)
        handle = handle.partition(b"\0")[0]
        assert jobs.known(handle) is (jobs.model(handle) is not None)
        if jobs.next % 3 == 0:
            gone = jobs.alive.pop()
            jobs.ask(b"cancel job H:box:%d\n" % gone)
            assert not jobs.known(b"H:box:%d" % gone)
    check(jobs.server)
