# SPDX-License-Identifier: BSD-3-Clause
"""What functions are allowed: `FunctionPolicy`, and `Policies`, which says which function has which.

A key's name, parser and help stand in one place, its field. A key that is not set (None) is looked for in the next
pattern that matches the function's name, the most specific first: the name itself, then patterns by the length of
what stands before their first `*` or `?`, then by their order. What no pattern sets is as without a policy.
"""

from __future__ import annotations

import dataclasses
import difflib
import fnmatch
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, cast

from gearfast.values import choice, seconds, switch

__all__ = ["FunctionPolicy", "Policies", "describe", "parse_policy"]

_PRIORITIES: Final = ("high", "normal", "low")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*(?:([smhd])|(sec|min|hour|day)))?")
_MOST: Final = 0xFFFFFFFF
_MOST_A_SECOND: Final = 1_000_000
_MOST_WEIGHT: Final = 1000


def _whole(low: int, high: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if isinstance(value, bool) or not (isinstance(value, int) or re.fullmatch(r"-?\d{1,12}", str(value))):
            raise ValueError("must be a whole number")
        number = int(cast("int | str", value))
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}")
        return number

    return parse


def _tries(value: object) -> int:
    number = _whole(-1, 32767)(value)
    if number == 0:
        raise ValueError("must be from 1 to 32767, or -1 for no limit")
    return number


def _by_priority(value: object, shape: str) -> object:
    """A table by priority of one, of a list of three, or of such a text; what is none of these as it is."""
    if isinstance(value, str) and ":" in value:
        parts = [part.split(":") for part in value.split(",")]
        if any(len(part) != 2 for part in parts):
            raise ValueError(shape)
        value = {name.strip(): number.strip() for name, number in parts}
    if isinstance(value, list | tuple) and len(value) == len(_PRIORITIES):
        value = dict(zip(_PRIORITIES, value, strict=True))
    if isinstance(value, Mapping):
        for name in value:
            if name not in _PRIORITIES:
                raise ValueError(f"has the priority {name!r}; there are high, normal and low")
    return value


def _queue(value: object) -> tuple[int, int, int]:
    """One number for each priority, or a table of them: 0 where there is none."""
    count = _whole(0, _MOST)
    found = _by_priority(value, "must be a number, or such as high:10,normal:100,low:1000")
    if not isinstance(found, Mapping):
        number = count(found)
        return number, number, number
    high, normal, low = (count(found.get(name, 0)) for name in _PRIORITIES)
    return high, normal, low


def _weights(value: object) -> str:
    """`HIGH:NORMAL:LOW`; `0` for none."""
    shape = "must be such as 8:4:1, for high, normal and low jobs, or 0 for none"
    if not isinstance(value, bool) and value in (0, "0"):
        return "0"
    if isinstance(value, str) and "," not in value:
        value = [part.strip() for part in value.split(":")]
    found = _by_priority(value, shape)
    if not isinstance(found, Mapping) or len(found) != len(_PRIORITIES):
        raise ValueError(shape)
    weight = _whole(1, _MOST_WEIGHT)
    return ":".join(str(weight(found[name])) for name in _PRIORITIES)


def _rate(value: object) -> str:
    """`N/s`, with m, h or d for minutes, hours and days; `0` for no limit."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("must be a rate such as 100/s, 30/m, 5/h or 1/d")
    match = _RATE.fullmatch(str(value).strip().lower())
    if match is None:
        raise ValueError("must be a rate such as 100/s, 30/m, 5/h or 1/d")
    number, unit = float(match[1]), (match[2] or match[3] or "s")[0]
    if number == 0:
        return "0"
    if not 1e-6 <= number / _UNITS[unit] <= _MOST_A_SECOND:
        raise ValueError(f"must be 0, or from 1 in a million seconds to {_MOST_A_SECOND}/s")
    return f"{Decimal(f'{number:.12g}'):f}/{unit}"  # never 1e-05, which is no rate


def _key(parse: Callable[[object], object], help_text: str, default: str) -> Any:
    return dataclasses.field(default=None, metadata={"parse": parse, "help": help_text, "default": default})


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionPolicy:
    """What one function, or those of one pattern, are allowed. None: not set here. Times in seconds, 0 for no limit.

    Values given to the constructor are taken as they are; `parse_policy` parses and checks them.
    """

    timeout: float | None = _key(
        seconds, "how long a worker may have a job before it is lost to it, below 1 allowed; 0: no limit", "0"
    )
    tries: int | None = _key(
        _tries, "how often a job is given out, the first time included; -1: no limit", "the server's job_retries"
    )
    backoff: float | None = _key(seconds, "how long a job waits for its second try; 0: not at all", "0")
    backoff_kind: str | None = _key(
        choice("exponential", "fixed"),
        "exponential: twice as long before each further try; fixed: the same",
        "exponential",
    )
    backoff_max: float | None = _key(seconds, "the longest wait before a try; 0: no limit", "300")
    jitter: bool | None = _key(
        switch, "waits are random, between half of that time and all of it", "true if exponential, else false"
    )
    retry_on_fail: bool | None = _key(
        switch, "a job that its worker ends with WORK_FAIL or WORK_EXCEPTION is tried again too", "false"
    )
    max_queue: tuple[int, int, int] | None = _key(
        _queue, "most queued jobs of each priority: one number, or a table of high, normal, low; 0: no limit", "0"
    )
    full: str | None = _key(
        choice("refuse", "drop-oldest"),
        "what a job meets whose queue is full: it is refused, or the oldest fails",
        "refuse",
    )
    concurrency: int | None = _key(_whole(0, _MOST), "most jobs that run at once, over all workers; 0: no limit", "0")
    rate: str | None = _key(_rate, "most jobs that are given out in a time: 100/s, 30/m, 5/h, 1/d; 0: no limit", "0")
    burst: int | None = _key(
        _whole(1, 1_000_000),
        "jobs that may be given out at once when there were none for a while",
        "those of a second, 1 at least",
    )
    weights: str | None = _key(
        _weights,
        "shares of high, normal and low jobs where several of them wait, such as 8:4:1; 0: strictly by priority",
        "0",
    )
    dispatch: str | None = _key(
        choice("any", "round-robin", "least-loaded"),
        "of several waiting workers a job goes to whoever is first (any), who has waited longest, or has least to do",
        "any",
    )
    expire: float | None = _key(seconds, "how long a job may be in its queue before it fails; 0: for ever", "0")
    keep_failed: int | None = _key(
        _whole(0, _MOST), "most jobs that are kept when they have failed for good, as dead letters; 0: none", "0"
    )
    keep_failed_for: float | None = _key(seconds, "how long such a job is kept; 0: for ever", "0")
    keep_results: int | None = _key(
        _whole(0, _MOST), "most results of background jobs that are kept for who asks for them later; 0: none", "0"
    )
    keep_results_for: float | None = _key(seconds, "how long a result is kept; 0: for ever", "0")
    keep_results_size: int | None = _key(
        _whole(0, _MOST), "bytes of the largest result that is kept, of a larger one only its size; 0: no limit", "0"
    )

    @property
    def rate_a_second(self) -> float:
        """Jobs that `rate` allows in a second; 0: no limit."""
        if self.rate is None or self.rate == "0":
            return 0.0
        number, _, unit = self.rate.partition("/")
        return float(number) / _UNITS[unit]

    @property
    def interval_ns(self) -> int:
        """Nanoseconds between two jobs at `rate`; 0: no limit."""
        if self.rate is None or self.rate == "0":
            return 0
        number, _, unit = self.rate.partition("/")
        return max(round(_UNITS[unit] * 1e9 / float(number)), 1)

    @property
    def burst_size(self) -> int:
        """`burst`, or its default."""
        return max(math.ceil(self.rate_a_second), 1) if self.burst is None else self.burst

    @property
    def shares(self) -> tuple[int, int, int]:
        """`weights` of high, normal and low; zeros for none."""
        if self.weights is None or self.weights == "0":
            return 0, 0, 0
        high, normal, low = map(int, self.weights.split(":"))
        return high, normal, low

    @property
    def has_jitter(self) -> bool:
        """`jitter`, or its default."""
        return self.backoff_kind != "fixed" if self.jitter is None else self.jitter

    def items(self) -> list[tuple[str, Any]]:
        """The keys that are set, with their values, in the order of the fields."""
        return [(name, value) for name in KEYS if (value := getattr(self, name)) is not None]

    def over(self, other: FunctionPolicy) -> FunctionPolicy:
        """These keys, and those of `other` that are not set here."""
        return dataclasses.replace(other, **dict(self.items()))


KEYS: Final = {each.name: each for each in dataclasses.fields(FunctionPolicy)}
"""The keys of a policy by name; `metadata` has `parse`, `help` and `default` (a text)."""


def parse_policy(values: Mapping[str, object], base: FunctionPolicy | None = None) -> FunctionPolicy:
    """Parses and checks `values`, key to value; a key of `base` stays unless it is among them, and "" takes it away.

    Raises ValueError, whose text names the key.
    """
    found = dict(base.items()) if base is not None else {}
    for key, value in values.items():
        name = key.replace("-", "_")
        key_field = KEYS.get(name)
        if key_field is None:
            near = difflib.get_close_matches(name, KEYS, 1, 0.6)
            raise ValueError(f"unknown key {key}" + (f"; did you mean {near[0]}?" if near else ""))
        if value == "" and base is not None:
            found.pop(name, None)
            continue
        try:
            found[name] = key_field.metadata["parse"](value)
        except ValueError as error:
            raise ValueError(f"{name}: {value!r} {error}") from None
    return FunctionPolicy(**found)


def describe(policy: FunctionPolicy) -> str:
    """`key=value` with spaces between, as the text command `policy` prints and takes them."""
    return " ".join(f"{name}={_shown(value)}" for name, value in policy.items())


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        if len(set(value)) == 1:
            return str(value[0])
        return ",".join(f"{name}:{number}" for name, number in zip(_PRIORITIES, value, strict=True))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _matcher(pattern: str) -> re.Pattern[str]:
    """fnmatch's own, since a plain `.*` for each star takes for ever where many stars do not match a long name."""
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


def _is_glob(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _prefix(pattern: str) -> int:
    """Letters before the first `*` or `?`."""
    return len(re.split(r"[*?]", pattern, maxsplit=1)[0])


@dataclass(frozen=True, slots=True)
class Policies:
    """Patterns with their policies, in the order in which they were given. None of them changes; `put` makes others."""

    rules: tuple[tuple[str, FunctionPolicy], ...] = ()
    _names: dict[str, FunctionPolicy] = field(init=False, repr=False, compare=False)
    _globs: list[tuple[re.Pattern[str], FunctionPolicy]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        globs = sorted((rule for rule in self.rules if _is_glob(rule[0])), key=lambda rule: -_prefix(rule[0]))
        object.__setattr__(self, "_names", dict(self.rules))
        object.__setattr__(self, "_globs", [(_matcher(pattern), policy) for pattern, policy in globs])

    @classmethod
    def parse(cls, table: object) -> Policies:
        """From a table of pattern to a table of keys. Raises ValueError, whose text names the pattern."""
        if isinstance(table, Policies):
            return table
        if not isinstance(table, Mapping):
            raise ValueError("must be a table of functions or patterns, each a table of keys")
        rules = []
        for pattern, values in table.items():
            if not isinstance(values, Mapping):
                raise ValueError(f"{pattern}: must be a table of keys")
            try:
                rules.append((_checked(pattern), parse_policy(values)))
            except ValueError as error:
                raise ValueError(f"{pattern}: {error}") from None
        return cls(tuple(rules))

    def __bool__(self) -> bool:
        return bool(self.rules)

    def get(self, pattern: str) -> FunctionPolicy | None:
        """The policy of exactly this pattern."""
        return self._names.get(pattern)

    def put(self, pattern: str, policy: FunctionPolicy) -> Policies:
        """With this policy for the pattern: in place of the one that it had, else as the last."""
        rules = dict(self.rules)
        rules[_checked(pattern)] = policy
        return Policies(tuple(rules.items()))

    def without(self, pattern: str) -> Policies:
        """Without this pattern. Raises KeyError if it has no policy."""
        rules = dict(self.rules)
        del rules[pattern]
        return Policies(tuple(rules.items()))

    def resolve(self, function: str) -> FunctionPolicy | None:
        """What holds for the function of this name; None if no pattern matches, or none sets a key."""
        found = None if _is_glob(function) else self._names.get(function)
        for matcher, policy in self._globs:
            if matcher.fullmatch(function):
                found = policy if found is None else found.over(policy)
        return found if found is not None and found.items() else None


def _checked(pattern: str) -> str:
    if not pattern or "\0" in pattern:
        raise ValueError("a pattern is a name, with * for any letters and ? for one")
    return pattern
