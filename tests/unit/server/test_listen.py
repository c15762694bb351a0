# SPDX-License-Identifier: BSD-3-Clause
"""Addresses and listening sockets."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from gearfast.server.config import ConfigError, ServerConfig
from gearfast.server.listen import Endpoint, bind, bind_all, endpoints, keepalive, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

unix_only = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
CONFIG = ServerConfig()


@pytest.fixture
def short_path() -> Iterator[str]:
    """A path for a Unix socket; pytest's own folders may be too long for one."""
    with tempfile.TemporaryDirectory(prefix="gf") as folder:
        yield os.path.join(folder, "s")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", Endpoint("127.0.0.1", 1)),
        ("127.0.0.1:4731", Endpoint("127.0.0.1", 4731)),
        ("localhost:0", Endpoint("localhost", 0)),
        (":5", Endpoint("*", 5)),
        ("*", Endpoint("*", 1)),
        ("::1", Endpoint("::1", 1)),
        ("[::1]", Endpoint("::1", 1)),
        ("[::1]:5", Endpoint("::1", 5)),
        ("gearman://h", Endpoint("h", 1)),
        ("gearman://h:5/", Endpoint("h", 5)),
        ("gearmans://[::1]:5", Endpoint("::1", 5, "", True)),
        ("unix:///run/g.sock", Endpoint("", 0, "/run/g.sock")),
        ("unix:///run/a%20b", Endpoint("", 0, "/run/a b")),
        ("/run/g.sock", Endpoint("", 0, "/run/g.sock")),
    ],
)
def test_parse(text: str, expected: Endpoint) -> None:
    assert parse_endpoint(text, 1, False) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "a b", "h:x", "h:99999", "h:-1", "[::1", "[::1]5", "http://h", "unix://h/x", "unix://", "gearman://h/x",
        "gearman://u@h", "gearman://h?x", "h:１",
    ],
)  # fmt: skip
def test_bad_addresses_are_named(text: str) -> None:
    with pytest.raises(ConfigError) as info:
        parse_endpoint(text, 1, False)
    assert text in str(info.value)


def test_tls_is_the_default_with_a_certificate_and_impossible_without() -> None:
    config = ServerConfig(listen=("a", "gearman://b", "/p"), unix=("/q",), tls_cert="c")
    assert [endpoint.tls for endpoint in endpoints(config)] == [True, False, False, False]
    with pytest.raises(ConfigError, match="needs tls_cert"):
        endpoints(ServerConfig(listen=("gearmans://a",)))


def test_port_zero_and_labels() -> None:
    (listener,) = bind(Endpoint("127.0.0.1", 0), CONFIG)
    try:
        assert listener.port > 0
        assert listener.label == f"127.0.0.1:{listener.port}"
        assert listener.is_loopback
        assert not listener.sock.getblocking()
        socket.create_connection(("127.0.0.1", listener.port)).close()
    finally:
        listener.close()


def test_port_in_use_names_address_and_port_and_closes_the_others() -> None:
    (first,) = bind(Endpoint("127.0.0.1", 0), CONFIG)
    try:
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{first.port}: ") as info:
            bind_all([Endpoint("127.0.0.1", 0), Endpoint("127.0.0.1", first.port)], CONFIG)
        assert info.value.errno == errno.EADDRINUSE
    finally:
        first.close()


def test_unknown_host_is_named() -> None:
    with pytest.raises(OSError, match=r"cannot listen on nowhere\.invalid:7: "):
        bind(Endpoint("nowhere.invalid", 7), CONFIG)


def test_ipv6_is_ipv6_only() -> None:
    if not socket.has_ipv6:
        pytest.skip("needs IPv6")
    (listener,) = bind(Endpoint("::1", 0), CONFIG)
    try:
        assert listener.label == f"[::1]:{listener.port}"
        assert listener.is_loopback
        assert listener.sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        (other,) = bind(Endpoint("127.0.0.1", listener.port), CONFIG)
        other.close()
    finally:
        listener.close()


def test_several_addresses_share_one_port() -> None:
    listeners = bind(Endpoint("*", 0), CONFIG)
    try:
        assert len({listener.port for listener in listeners}) == 1
        assert listeners[0].host == "0.0.0.0"
        assert not any(listener.is_loopback for listener in listeners)
    finally:
        for listener in listeners:
            listener.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's names and inheritance of socket options")
def test_accepted_sockets_have_the_options() -> None:
    config = ServerConfig(keepalive_idle=11, keepalive_interval=12, keepalive_count=3, user_timeout=1.5)
    (listener,) = bind(Endpoint("127.0.0.1", 0), config)
    client = socket.create_connection(("127.0.0.1", listener.port))
    listener.sock.setblocking(True)
    accepted, _ = listener.sock.accept()
    try:
        tcp = socket.IPPROTO_TCP
        assert accepted.getsockopt(tcp, socket.TCP_NODELAY)
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        assert [accepted.getsockopt(tcp, getattr(socket, name)) for name in names] == [11, 12, 3, 1500]
    finally:
        accepted.close()
        client.close()
        listener.close()


@pytest.mark.parametrize("limit", [2, 3, 5, 10, 30, 60, 3600])
def test_keep_alive_ends_within_the_limit(limit: float) -> None:
    idle, interval, count = keepalive(ServerConfig(dead_peer_limit=limit))
    assert min(idle, interval, count) >= 1
    assert idle + interval * count <= limit
    assert limit < 10 or idle + interval * count >= 0.7 * limit


def test_keep_alive_that_is_set_stays_and_none_is_the_systems() -> None:
    assert keepalive(ServerConfig()) == (4, 1, 5)
    assert keepalive(ServerConfig(keepalive_idle=20)) == (20, 1, 3)
    assert keepalive(ServerConfig(keepalive_idle=60, keepalive_interval=10, keepalive_count=3)) == (60, 10, 3)
    assert keepalive(ServerConfig(dead_peer_limit=0)) == (0, 0, 0)


@unix_only
def test_unix_socket_mode_and_removal(short_path: str) -> None:
    (listener,) = bind(Endpoint("", 0, short_path), ServerConfig(unix_mode=0o600))
    assert stat.S_IMODE(os.stat(short_path).st_mode) == 0o600
    assert listener.label == short_path
    assert listener.is_loopback
    listener.close()
    assert not os.path.exists(short_path)


@unix_only
def test_stale_unix_socket_is_replaced(short_path: str) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(short_path)
    (listener,) = bind(Endpoint("", 0, short_path), CONFIG)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(short_path)
    listener.close()


@unix_only
def test_unix_socket_of_a_living_server_is_left_alone(short_path: str) -> None:
    (living,) = bind(Endpoint("", 0, short_path), CONFIG)
    with pytest.raises(OSError, match=f"cannot listen on {short_path}: ") as info:
        bind(Endpoint("", 0, short_path), CONFIG)
    assert info.value.errno == errno.EADDRINUSE
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(short_path)
    living.close()


@unix_only
def test_other_files_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("mine")
    with pytest.raises(OSError, match="is not a socket"):
        bind(Endpoint("", 0, str(path)), CONFIG)
    assert path.read_text() == "mine"


@unix_only
def test_a_successors_socket_is_not_removed(short_path: str) -> None:
    (first,) = bind(Endpoint("", 0, short_path), CONFIG)
    os.rename(short_path, short_path + ".old")
    (second,) = bind(Endpoint("", 0, short_path), CONFIG)
    first.close()
    first.close()
    assert os.path.exists(short_path)
    second.close()


@unix_only
def test_path_that_is_too_long() -> None:
    with pytest.raises(OSError, match="too long"):
        bind(Endpoint("", 0, "/tmp/" + "x" * 200), CONFIG)
