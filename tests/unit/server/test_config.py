# SPDX-License-Identifier: BSD-3-Clause
"""Settings: their sources, their order, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from gearfast.server.config import ConfigError, ServerConfig, load, print_config, settings


def write(folder: Path, text: str) -> Path:
    path = folder / "gearfast.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_are_loopback_and_five_tries() -> None:
    config = load().config
    assert config == ServerConfig()
    assert (config.listen, config.port, config.job_retries) == (("127.0.0.1",), 4730, 5)
    assert config.max_packet == 256 * 1024 * 1024


def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path) -> None:
    path = write(tmp_path, "port = 1\nwakeup = 1\nbacklog = 1\n")
    environ = {"GEARFAST_PORT": "2", "GEARFAST_WAKEUP": "2", "OTHER_PORT": "9"}
    loaded = load({"port": "3", "wakeup": None}, environ, path)
    config = loaded.config
    assert (config.port, config.wakeup, config.backlog, config.job_retries) == (3, 2, 1, 5)
    origin = {name: loaded.origin[name] for name in ("port", "wakeup", "backlog", "job_retries")}
    assert origin == {"port": "flag", "wakeup": "environment", "backlog": "file", "job_retries": "default"}


def test_tables_and_double_underscores_only_group(tmp_path: Path) -> None:
    path = write(tmp_path, '[tls]\ncert = "a.pem"\nclient-ca = "ca.pem"\n[keepalive]\nidle = 7\n')
    config = load(environ={"GEARFAST_TLS__KEY": "k.pem", "GEARFAST_KEEPALIVE_COUNT": "4"}, file=path).config
    assert (config.tls_cert, config.tls_key, config.tls_client_ca) == ("a.pem", "k.pem", "ca.pem")
    assert (config.keepalive_idle, config.keepalive_count) == (7, 4)


def test_lists(tmp_path: Path) -> None:
    path = write(tmp_path, 'listen = ["127.0.0.1", "[::1]:5"]\nunix = "/a"\n')
    assert load(file=path).config.listen == ("127.0.0.1", "[::1]:5")
    assert load(file=path).config.unix == ("/a",)
    assert load(environ={"GEARFAST_LISTEN": "a:1, b:2,"}).config.listen == ("a:1", "b:2")
    assert load({"listen": ["a", "b"]}).config.listen == ("a", "b")


def test_a_unix_socket_alone_opens_no_port() -> None:
    assert load({"unix": ["/a"]}).config.listen == ()
    assert load({"unix": ["/a"], "port": "7"}).config.listen == ("127.0.0.1",)
    assert load({"unix": ["/a"], "listen": ["::1"]}).config.listen == ("::1",)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("max_packet", "65536", 65536),
        ("max_packet", "64K", 65536),
        ("max_packet", "2 MiB", 2 << 20),
        ("max_unsent", "1g", 1 << 30),
        ("exceptions", "yes", True),
        ("exceptions", "0", False),
        ("shutdown_limit", "2.5", 2.5),
        ("unix_mode", "0600", 0o600),
        ("unix_mode", "0o666", 0o666),
        ("unix_mode", 0o640, 0o640),
        ("order", "FUNCTION", "function"),
        ("handle_prefix", "H:x", "H:x"),
        ("handle_prefix", "", None),
        ("store", Path("queue", "jobs.db"), str(Path("queue", "jobs.db"))),
        ("log_file", Path("server.log"), "server.log"),
        ("job_retries", "-1", -1),
        ("max_queued", "none", 0),
        ("max_queued", "0", 0),
        ("max_queued", "auto", None),
        ("max_queued", "2G", 2 << 30),
        ("dead_peer_limit", "0", 0.0),
        ("dead_peer_limit", "2.5", 2.5),
    ],
)
def test_values(name: str, text: object, value: object) -> None:
    assert getattr(ServerConfig.from_values({name: text}), name) == value


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("port", "65536", "from 0 to 65535"),
        ("port", "x", "whole number"),
        ("port", True, "whole number"),
        ("port", 1.5, "whole number"),
        ("max_packet", "5 apples", "number of bytes"),
        ("max_packet", "1", "from 1024"),
        ("exceptions", "maybe", "true or false"),
        ("shutdown_limit", "-1", "seconds"),
        ("dead_peer_limit", "1", "0, or 2 or more"),
        ("max_queued", "much", "number of bytes"),
        ("shutdown_limit", "nan", "seconds"),
        ("shutdown_limit", "soon", "seconds"),
        ("unix_mode", "999", "octal"),
        ("unix_mode", True, "octal"),
        ("order", "fifo", "priority, function, function-rotate"),
        ("listen", 5, "list of texts"),
        ("listen", [5], "text"),
        ("tls_cert", 5, "text"),
        ("handle_prefix", "a b", "printable"),
        ("handle_prefix", "x" * 43, "1 to 42"),
    ],
)
def test_bad_values_name_setting_value_and_reason(name: str, text: object, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as info:
        ServerConfig.from_values({name: text}, "somewhere")
    assert name in str(info.value)


@pytest.mark.parametrize(
    "values",
    [
        {"tls_key": "k"},
        {"tls_client_ca": "c"},
        {"max_packet": "2M", "max_unsent": "1M"},
        {"high_water": "600M"},
        {"listen": []},
    ],
)
def test_contradictions(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ServerConfig.from_values(values)


def test_unknown_keys_are_errors_with_a_near_match(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gearfast\.toml: unknown setting prot; did you mean port\?"):
        load(file=write(tmp_path, "prot = 1\n"))
    with pytest.raises(ConfigError, match=r"unknown setting tls_crt; did you mean tls_cert\?"):
        load(file=write(tmp_path, '[tls]\ncrt = "x"\n'))
    with pytest.raises(ConfigError, match=r"unknown setting zzzzzz$"):
        ServerConfig.from_values({"zzzzzz": 1})
    with pytest.raises(ConfigError, match=r"GEARFAST_PROT: unknown; did you mean GEARFAST_PORT\?"):
        load(environ={"GEARFAST_PROT": "1"})


def test_variables_of_other_programs_are_left_alone() -> None:
    others = {"GEARFAST_SERVERS": "a", "GEARFAST_CONFIG": "b", "GEARFAST_TEST_SLOW": "3", "GEARFAST_SERVICE_HOST": "x"}
    assert load(environ=others).config == ServerConfig()


def test_the_port_that_kubernetes_sets_is_explained() -> None:
    with pytest.raises(ConfigError, match="enableServiceLinks"):
        load(environ={"GEARFAST_PORT": "tcp://10.0.0.1:4730"})


def test_unreadable_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: No such file"):
        load(file=tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="no TOML"):
        load(file=write(tmp_path, "port = \n"))
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'handle_prefix = "\xe4"\n')
    with pytest.raises(ConfigError, match="no TOML"):
        load(file=latin)


def test_print_config_round_trips(tmp_path: Path) -> None:
    flags = {
        "listen": ["127.0.0.1", "[::1]:4731"],
        "unix": ['/tmp/a "b"\\c'],
        "unix_mode": "600",
        "exceptions": True,
        "max_packet": "1M",
        "shutdown_limit": "1.5",
        "tls_cert": "cert.pem",
        "handle_prefix": "H:x",
    }
    loaded = load(flags, {"GEARFAST_PORT": "9"})
    text = print_config(loaded)
    assert "port = 9  # environment" in text
    assert "# tls_key is not set" in text
    assert load(file=write(tmp_path, text)).config == loaded.config
    assert set(tomllib.loads(text)) <= {setting.name for setting in settings()}


def test_every_setting_has_help_and_a_default_that_parses() -> None:
    for setting in settings():
        assert setting.help, setting.name
        assert setting.metavar or setting.choices or setting.is_switch, setting.name
        config = (
            ServerConfig() if setting.default is None else ServerConfig.from_values({setting.name: setting.default})
        )
        assert getattr(config, setting.name) == setting.default


def test_config_is_frozen() -> None:
    with pytest.raises(AttributeError):
        ServerConfig().port = 1  # type: ignore[misc]
