# SPDX-License-Identifier: BSD-3-Clause
"""Policies as values: their keys, which pattern wins, and how they are written."""

from __future__ import annotations

from typing import Any

import pytest

from gearfast.dispatch import Dispatcher
from gearfast.dispatch.policy import KEYS, FunctionPolicy, Policies, describe, parse_policy
from gearfast.values import read_words


@pytest.mark.parametrize(
    ("key", "value", "parsed"),
    [
        ("timeout", 30, 30.0),
        ("timeout", "0.25", 0.25),
        ("tries", "-1", -1),
        ("tries", 32767, 32767),
        ("backoff", 2, 2.0),
        ("backoff_kind", "FIXED", "fixed"),
        ("backoff-max", "300", 300.0),
        ("jitter", "off", False),
        ("retry_on_fail", True, True),
        ("max_queue", 1000, (1000, 1000, 1000)),
        ("max_queue", "7", (7, 7, 7)),
        ("max_queue", "high:1,low:3", (1, 0, 3)),
        ("max_queue", {"normal": 5, "high": 2}, (2, 5, 0)),
        ("max_queue", (1, 2, 3), (1, 2, 3)),
        ("full", "drop-oldest", "drop-oldest"),
        ("concurrency", 4, 4),
        ("rate", "100/s", "100/s"),
        ("rate", "1.5 / min", "1.5/m"),
        ("rate", "2/hour", "2/h"),
        ("rate", 20, "20/s"),
        ("rate", "0/s", "0"),
        ("rate", "0.00001/s", "0.00001/s"),
        ("rate", "86400000000/d", "86400000000/d"),
        ("burst", "20", 20),
        ("weights", "8:4:1", "8:4:1"),
        ("weights", " 8 : 04 : 1 ", "8:4:1"),
        ("weights", [1000, 1, 1], "1000:1:1"),
        ("weights", {"low": 1, "high": 3, "normal": 2}, "3:2:1"),
        ("weights", "high:3,normal:2,low:1", "3:2:1"),
        ("weights", 0, "0"),
        ("weights", "0", "0"),
        ("dispatch", "round-robin", "round-robin"),
        ("dispatch", "Least-Loaded", "least-loaded"),
        ("dispatch", "any", "any"),
        ("expire", 3600, 3600.0),
    ],
)
def test_values(key: str, value: object, parsed: object) -> None:
    policy = parse_policy({key: value})
    name = key.replace("-", "_")
    assert policy.items() == [(name, parsed)]
    assert parse_policy(read_words(describe(policy).split())) == policy, "what is printed can be read"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("timeout", -1, "timeout: -1 must be from 0"),
        ("timeout", "soon", "timeout: 'soon' must be a number of seconds"),
        ("timeout", True, "number of seconds"),
        ("timeout", "nan", "must be from 0"),
        ("tries", 0, "must be from 1 to 32767, or -1 for no limit"),
        ("tries", 1.5, "whole number"),
        ("tries", "1_0", "whole number"),
        ("jitter", "perhaps", "true or false"),
        ("backoff_kind", "linear", "must be one of exponential, fixed"),
        ("max_queue", -1, "must be from 0"),
        ("max_queue", {"hihg": 1}, "has the priority 'hihg'"),
        ("max_queue", "high:1:2", "must be a number, or such as"),
        ("max_queue", [1, 2], "whole number"),
        ("full", "drop", "must be one of refuse, drop-oldest"),
        ("rate", "fast", "must be a rate such as"),
        ("rate", "5/y", "must be a rate such as"),
        ("rate", "1e9/s", "must be a rate such as"),
        ("rate", "2000000/s", "must be 0, or from"),
        ("rate", "0.00001/d", "must be 0, or from"),
        ("rate", True, "must be a rate such as"),
        ("burst", 0, "must be from 1"),
        ("weights", 5, "must be such as 8:4:1"),
        ("weights", "8:4", "must be such as 8:4:1"),
        ("weights", True, "must be such as 8:4:1"),
        ("weights", "high:3,low:1", "must be such as 8:4:1"),
        ("weights", "high:3:2,low:1", "must be such as 8:4:1"),
        ("weights", {"urgent": 3}, "has the priority 'urgent'"),
        ("weights", "8:4:0", "must be from 1 to 1000"),
        ("weights", "8:4:1001", "must be from 1 to 1000"),
        ("weights", "8:4:x", "must be a whole number"),
        ("dispatch", "fair", "must be one of any, round-robin, least-loaded"),
        ("timout", 3, "unknown key timout; did you mean timeout?"),
        ("colour", 3, "unknown key colour"),
    ],
)
def test_what_is_refused(key: str, value: object, text: str) -> None:
    with pytest.raises(ValueError, match=key) as caught:
        parse_policy({key: value})
    assert text in str(caught.value)


@pytest.mark.parametrize("word", ["timeout", "=3", ""])
def test_words_that_are_no_pairs(word: str) -> None:
    with pytest.raises(ValueError, match="is not KEY=VALUE"):
        read_words([word])


def test_each_key_says_what_it_is_and_its_default() -> None:
    for field in KEYS.values():
        assert field.metadata["help"] and field.metadata["default"]


RULES = {
    "*": {"timeout": 1, "tries": 1},
    "resize*": {"timeout": 2, "concurrency": 2},
    "resize-?": {"timeout": 3},
    "re*ze": {"timeout": 4, "expire": 4},
    "resize": {"timeout": 5},
    "resize*x": {"timeout": 6},
}


@pytest.mark.parametrize(
    ("function", "keys"),
    [
        ("other", {"timeout": 1.0, "tries": 1}),
        ("resize", {"timeout": 5.0, "tries": 1, "concurrency": 2, "expire": 4.0}),
        ("resize-a", {"timeout": 3.0, "tries": 1, "concurrency": 2}),
        ("resize-ab", {"timeout": 2.0, "tries": 1, "concurrency": 2}),
        ("resize-bx", {"timeout": 2.0, "tries": 1, "concurrency": 2}),
        ("reze", {"timeout": 4.0, "tries": 1, "expire": 4.0}),
        ("resizes\nx", {"timeout": 2.0, "tries": 1, "concurrency": 2}),
        ("", {"timeout": 1.0, "tries": 1}),
    ],
)
def test_the_most_specific_pattern_that_sets_a_key_wins(function: str, keys: dict[str, Any]) -> None:
    found = Policies.parse(RULES).resolve(function)
    assert found is not None and dict(found.items()) == keys


def test_a_name_is_more_specific_than_any_pattern() -> None:
    policies = Policies.parse({"ab*": {"tries": 2}, "ab": {"tries": 1}, "a[b]": {"tries": 3}})
    assert [dict((policies.resolve(name) or FunctionPolicy()).items()) for name in ("ab", "abc", "a[b]")] == [
        {"tries": 1},
        {"tries": 2},
        {"tries": 3},
    ]


@pytest.mark.parametrize(
    ("pattern", "function", "matches"),
    [
        ("[a]*", "[a]b", True),
        ("[a]*", "ab", False),
        ("[!a]?", "bc", False),
        ("*a*", "a", True),
        ("a**", "a", True),
        ("a\\*", "a\\b", True),
        ("?", "\n", True),
        ("?", "", False),
        ("*a" * 30 + "b", "a" * 300, False),  # of which a plain regular expression would never see the end
    ],
)
def test_what_matches(pattern: str, function: str, matches: bool) -> None:
    assert (Policies.parse({pattern: {"tries": 1}}).resolve(function) is not None) is matches


def test_no_pattern_no_policy() -> None:
    assert Policies.parse({"a": {"tries": 2}}).resolve("A") is None
    assert Policies.parse({"a": {}}).resolve("a") is None
    assert not Policies() and Policies().resolve("a") is None


def test_put_and_without_make_others() -> None:
    first = Policies.parse({"a": {"tries": 2}, "b": {"tries": 3}})
    second = first.put("a", FunctionPolicy(tries=4)).put("c*", FunctionPolicy(expire=1.0))
    assert [pattern for pattern, _ in second.rules] == ["a", "b", "c*"]
    assert (second.get("a"), first.get("a"), first.get("x")) == (FunctionPolicy(tries=4), FunctionPolicy(tries=2), None)
    assert second.without("a").without("c*") == Policies.parse({"b": {"tries": 3}})
    with pytest.raises(KeyError):
        first.without("x")


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (5, "must be a table"),
        ({"a": 5}, "a: must be a table of keys"),
        ({"a": {"trise": 5}}, "a: unknown key trise; did you mean tries?"),
        ({"": {}}, "a pattern is a name"),
    ],
)
def test_tables_that_are_none(table: object, text: str) -> None:
    with pytest.raises(ValueError, match=r"table|unknown|pattern") as caught:
        Policies.parse(table)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("rate", "burst", "interval", "size"),
    [
        ("100/s", None, 10**7, 100),
        ("100/s", 20, 10**7, 20),
        ("3/s", None, 333_333_333, 3),
        ("90/m", None, 666_666_667, 2),
        ("30/m", None, 2 * 10**9, 1),
        ("0", None, 0, 1),
    ],
)
def test_rates(rate: str, burst: int | None, interval: int, size: int) -> None:
    policy = FunctionPolicy(rate=rate, burst=burst)
    assert (policy.interval_ns, policy.burst_size) == (interval, size)


@pytest.mark.parametrize(("weights", "shares"), [("8:4:1", (8, 4, 1)), ("0", (0, 0, 0)), (None, (0, 0, 0))])
def test_shares(weights: str | None, shares: tuple[int, int, int]) -> None:
    assert FunctionPolicy(weights=weights).shares == shares


def test_a_dispatcher_takes_policies_alone() -> None:
    with pytest.raises(TypeError, match="Policies"):
        Dispatcher(policies={"a": {}})  # type: ignore[arg-type]
    assert Dispatcher().policies == Policies()


def test_a_function_whose_name_looks_like_a_pattern() -> None:
    policies = Policies.parse({"a*": {"tries": 2}, "*": {"expire": 1}})
    found = policies.resolve("a*")
    assert found is not None and dict(found.items()) == {"tries": 2, "expire": 1.0}
    assert policies.get("a*") == FunctionPolicy(tries=2)
