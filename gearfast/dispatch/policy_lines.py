# SPDX-License-Identifier: BSD-3-Clause
"""The text command `policy`, with which an administrator sees and changes the policies of functions.

policy                                lines of PATTERN, a tab and KEY=VALUE …; then a line of a single dot
policy get FUNCTION                   one such line of what holds for it, or none; then the dot
policy set PATTERN KEY=VALUE …        OK; other keys of that pattern stay, and KEY= takes one away
policy unset PATTERN                  OK
"""

from __future__ import annotations

from typing import Protocol

from gearfast.dispatch.policy import FunctionPolicy, Policies, describe, parse_policy
from gearfast.values import read_words

__all__ = ["answer"]

_READ_ONLY = b"ERR PERMISSION_DENIED This+connection+may+not+change+anything\r\n"
_ENCODING = ("utf-8", "surrogateescape")


class Holder(Protocol):
    """What has policies: a Dispatcher."""

    policies: Policies


def answer(holder: Holder, line: bytes, read_only: bool) -> bytes:
    """Does what a line asks for that begins with the word `policy`; returns the reply."""
    words = line.decode(*_ENCODING).split()[1:]
    verb = words[0].lower() if words else ""
    try:
        if not words:
            return _table(holder.policies.rules)
        if verb == "get" and len(words) == 2:
            found = holder.policies.resolve(words[1])
            return _table([(words[1], found)] if found is not None else [])
        if verb not in ("set", "unset") or len(words) < 2 or (verb == "unset") != (len(words) == 2):
            raise ValueError("policy, policy get FUNCTION, policy set PATTERN KEY=VALUE ..., policy unset PATTERN")
        if read_only:
            return _READ_ONLY
        if verb == "set":
            policy = parse_policy(read_words(words[2:]), holder.policies.get(words[1]) or FunctionPolicy())
            changed = holder.policies.put(words[1], policy)
            holder.policies = changed if policy.items() else changed.without(words[1])
        else:
            holder.policies = _without(holder.policies, words[1])
    except ValueError as error:
        return b"ERR INVALID_ARGUMENTS %s\r\n" % str(error).replace(" ", "+").encode(*_ENCODING)
    return b"OK\r\n"


def _without(policies: Policies, pattern: str) -> Policies:
    try:
        return policies.without(pattern)
    except KeyError:
        raise ValueError(f"{pattern} has no policy") from None


def _table(rules: tuple[tuple[str, FunctionPolicy], ...] | list[tuple[str, FunctionPolicy]]) -> bytes:
    return "".join(f"{pattern}\t{describe(policy)}\n" for pattern, policy in rules).encode(*_ENCODING) + b".\n"
