# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from gearfast.errors import UsageError
from gearfast.session.routing import Router, ServerAddress, parse_server, parse_servers, retry_delay


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h", [("h", 4730, "", False)]),
        ("h:1", [("h", 1, "", False)]),
        ("gearman://h", [("h", 4730, "", False)]),
        ("gearman://h1:4731,h2", [("h1", 4731, "", False), ("h2", 4730, "", False)]),
        ("gearmans://h1,h2:7", [("h1", 4730, "", True), ("h2", 7, "", True)]),
        ("gearmans://h1,gearman://h2", [("h1", 4730, "", True), ("h2", 4730, "", False)]),
        ("GEARMAN://h/", [("h", 4730, "", False)]),
        ("[::1]:7", [("::1", 7, "", False)]),
        ("[::1]", [("::1", 4730, "", False)]),
        ("::1", [("::1", 4730, "", False)]),
        ("unix:///run/g%20f.sock", [("", 0, "/run/g f.sock", False)]),
        ("/run/gearman.sock", [("", 0, "/run/gearman.sock", False)]),
        (" h1 , h2 ,", [("h1", 4730, "", False), ("h2", 4730, "", False)]),
        ("h,h:4730", [("h", 4730, "", False)]),
        ("memory://a", [("", 0, "", False, "a")]),
        ("memory://a,b", [("", 0, "", False, "a"), ("", 0, "", False, "b")]),
    ],
)
def test_addresses(text: str, expected: list[tuple[Any, ...]]) -> None:
    assert parse_servers(text) == tuple(ServerAddress(*row) for row in expected)


def test_several_texts() -> None:
    assert [server.label for server in parse_servers(["a", "gearman://b:1,c", "[::2]"])] == [
        "a:4730",
        "b:1",
        "c:4730",
        "[::2]:4730",
    ]
    assert parse_server("unix:///x").label == "unix:/x"
    assert parse_server("memory://x").label == "memory:x"


@pytest.mark.parametrize(
    "bad",
    [
        "",
        ",",
        [],
        "http://h",
        "h:0",
        "h:65536",
        "h:x",
        "[::1",
        "[::1]7",
        ":4730",
        "unix://x",
        "gearman://a/b",
        "u@h",
        "a b",
    ],
)
def test_what_is_no_address(bad: str) -> None:
    with pytest.raises(UsageError):
        parse_servers(bad)


def test_what_is_no_text() -> None:
    with pytest.raises(UsageError, match="named by text"):
        parse_servers([("h", 4730)])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="one server"):
        parse_server("a,b")


def test_delays_double_up_to_half_a_minute() -> None:
    assert [retry_delay(n, 0.999999) for n in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.4], rel=1e-3)
    assert retry_delay(100, 0.0) == 15.0
    assert retry_delay(100, 0.999999) == pytest.approx(30.0)


def test_a_unique_belongs_to_the_same_server_however_the_list_is_ordered() -> None:
    names = ["a:1", "b:1", "c:1", "d:1"]
    one, two = Router(parse_servers(names)), Router(parse_servers(names[::-1]))
    owners = Counter()
    for number in range(2000):
        unique = b"photo-%d" % number
        first = one.servers[one.rank(unique)[0]]
        assert first == two.servers[two.rank(unique)[0]]
        owners[first.label] += 1
    assert set(owners) == set(names)
    assert min(owners.values()) > 400


def test_a_lost_server_moves_only_its_own_uniques() -> None:
    all_four, three = Router(parse_servers("a,b,c,d")), Router(parse_servers("a,b,c"))
    for number in range(500):
        unique = b"%d" % number
        owner = all_four.servers[all_four.rank(unique)[0]]
        if owner.host != "d":
            assert three.servers[three.rank(unique)[0]] == owner


def test_servers_that_are_away_come_last_until_they_are_due() -> None:
    router = Router(parse_servers("a,b,c"))
    ranked = router.rank(b"u")
    first = ranked[0]
    due = router.down(first, 100.0, 0.5, "refused")
    assert due == pytest.approx(100.075)
    assert router.order(b"u", 100.0) == [*ranked[1:], first]
    assert router.order(b"u", 101.0) == ranked
    assert router.reasons[first] == "refused"
    again = router.down(first, 101.0, 0.5, "refused")
    assert again == pytest.approx(101.15)
    router.up(first)
    assert router.order(b"u", 101.0) == ranked
    assert router.failures == [0, 0, 0]


def test_one_server_needs_no_choice() -> None:
    assert Router(parse_servers("a")).order(b"u", 0.0) == [0]


def test_the_case_of_a_host_name_does_not_count() -> None:
    """Clients that spell it differently agree on the server of a unique."""
    assert parse_servers("Q1.Example,gearman://q1.example:4730") == parse_servers("q1.example")
    assert parse_servers("[FE80::1%Eth0]:4730")[0].host == "fe80::1%Eth0"
    spelled = [Router(parse_servers(text)) for text in ("Q1.example,q2.EXAMPLE", "q1.example,q2.example")]
    assert len({tuple(tuple(router.rank(b"%d" % n)) for n in range(100)) for router in spelled}) == 1
