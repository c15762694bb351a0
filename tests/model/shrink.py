# SPDX-License-Identifier: BSD-3-Clause
"""Cuts a failing run down: steps, then packets of steps, are left out as long as it still fails; and prints it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gearfast.protocol import Command

from .frames import Fault, Frame, read
from .play import SETTINGS, Step

Fails = Callable[[list[Step]], bool]


def shrink(steps: list[Step], fails: Fails, most: int = 3000) -> list[Step]:
    """The shortest list that leaving out finds within `most` tries. `steps` must fail."""
    left = [most]

    def still(tried: list[Step]) -> bool:
        left[0] -= 1
        return left[0] >= 0 and fails(tried)

    before = None
    while before != steps and left[0] > 0:
        before = steps
        steps = leave_out(steps, still)
        steps = leave_out_packets(steps, still)
    return steps


def leave_out(steps: list[Step], fails: Fails) -> list[Step]:
    """Long stretches first, from the end; then shorter ones, down to single steps."""
    size = max(len(steps) // 2, 1)
    while True:
        at = len(steps) - size
        while at > -size:
            fewer = steps[: max(at, 0)] + steps[at + size :]
            if len(fewer) < len(steps) and fails(fewer):
                steps = fewer
            at -= size
        if size == 1:
            return steps
        size //= 2


def leave_out_packets(steps: list[Step], fails: Fails) -> list[Step]:
    """Reads of `send` steps, and packets of reads."""
    number = len(steps)
    while number:
        number -= 1
        step = steps[number]
        if step[0] != "send":
            continue
        parts = [(peer, part) for peer, data in pairs(step) for part in split(data)]
        at = len(parts) if len(parts) > 1 else 0
        while at:
            at -= 1
            fewer = parts[:at] + parts[at + 1 :]
            tried = [*steps[:number], send(fewer), *steps[number + 1 :]]
            if fewer and fails(tried):
                parts, steps = fewer, tried
    return steps


def pairs(step: Step) -> list[tuple[int, bytes]]:
    return list(zip(step[1::2], step[2::2], strict=True))


def send(parts: list[tuple[int, bytes]]) -> Step:
    """One step again; neighbours of one peer in one read."""
    reads: list[Any] = []
    for peer, data in parts:
        if reads and reads[-2] == peer:
            reads[-1] += data
        else:
            reads += [peer, data]
    return ("send", *reads)


def split(data: bytes) -> list[bytes]:
    """At the ends of frames; what is none is one piece."""
    parts = []
    at = 0
    try:
        while (found := read(data, at, 1 << 30)) is not None:
            parts.append(data[at : found[1]])
            at = found[1]
    except Fault:
        pass
    return [*parts, data[at:]] if at < len(data) else parts


def as_test(name: str, settings: dict[str, Any], steps: list[Step], wrong: str) -> str:
    """A test for tests/model/test_found.py."""
    differing = {key: value for key, value in settings.items() if value != SETTINGS[key]}
    lines = [f"def test_{name}() -> None:", f'    """{wrong.splitlines()[0][:100] if wrong else "It crashed."}"""']
    lines += [f"    settings = {differing!r}", "    steps = ["]
    for step in steps:
        if step[0] == "send":
            lines += [f"        # {peer}: {tell(data)}"[:110] for peer, data in pairs(step)]
        lines.append(f"        {shorten(step)},")
    return "\n".join([*lines, "    ]", "    replay(settings, steps)"])


def shorten(step: Step) -> str:
    """Its repr, long runs of one byte as a product."""
    words = []
    for part in step:
        text = repr(part)
        if isinstance(part, bytes) and len(part) > 200:
            for byte in (b"l", b"x", b"w", b"n"):
                longest = byte * 100
                if longest in part:
                    begin = part.index(longest)
                    end = begin + len(part[begin:]) - len(part[begin:].lstrip(byte))
                    text = f"{part[:begin]!r} + {byte!r} * {end - begin} + {part[end:]!r}"
        words.append(text)
    return f"({', '.join(words)},)" if len(words) == 1 else f"({', '.join(words)})"


def tell(data: bytes) -> str:
    """What bytes ask for, for people."""
    words = []
    for part in split(data):
        try:
            found = read(part, 0, 1 << 30)
        except Fault as fault:
            words.append(f"<bad {fault}>")
            continue
        if found is None:
            words.append(f"<{len(part)} bytes>")
        elif isinstance(found[0], Frame):
            args = " ".join(repr(arg)[1:] if len(arg) < 30 else f"<{len(arg)} bytes>" for arg in found[0].args)
            words.append(f"{Command(found[0].command).name} {args}".rstrip())
        else:
            words.append(repr(found[0])[1:])
    return "; ".join(words)
