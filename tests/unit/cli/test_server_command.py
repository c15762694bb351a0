# SPDX-License-Identifier: BSD-3-Clause
"""`gearfast server`: flags, --check and --print-config. The running server is in tests/functional."""

from __future__ import annotations

import logging
import os
import socket
import tomllib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from gearfast.cli import UNREACHABLE, USAGE, main
from gearfast.server.config import settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings from the environment; what the command does to logging is undone."""
    for name in [name for name in os.environ if name.startswith("GEARFAST_")]:
        monkeypatch.delenv(name)
    ours, root = logging.getLogger("gearfast"), logging.getLogger()
    level, handlers = ours.level, root.handlers[:]
    yield
    ours.setLevel(level)
    root.handlers[:] = handlers


def test_each_setting_has_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "--help"]) == 0
    text = capsys.readouterr().out
    for setting in settings():
        assert setting.flag in text


def test_print_config(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("backlog = 7\n")
    monkeypatch.setenv("GEARFAST_WAKEUP", "2")
    words = ["server", "--config", str(path), "--listen", "::1", "--listen=127.0.0.1:5", "--port", "6", "--exceptions"]
    assert main([*words, "--no-exceptions", "--print-config"]) == 0
    table = tomllib.loads(capsys.readouterr().out)
    assert (table["backlog"], table["wakeup"], table["port"], table["exceptions"]) == (7, 2, 6, False)
    assert table["listen"] == ["::1", "127.0.0.1:5"]


def test_config_file_from_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "c.toml"
    path.write_text("port = 77\n")
    monkeypatch.setenv("GEARFAST_CONFIG", str(path))
    assert main(["server", "--print-config"]) == 0
    assert "port = 77  # file" in capsys.readouterr().out


def test_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["server", "--check", "--listen", "*", "--unix", "/nowhere/s"]) == 0
    assert capsys.readouterr().out == "settings are fine\n"
    assert main(["server", "--check", "--tls-cert", str(tmp_path / "missing.pem")]) == USAGE
    assert "missing.pem" in capsys.readouterr().err
    assert main(["server", "--check", "--listen", "gearmans://127.0.0.1"]) == USAGE
    assert main(["server", "--check", "--config", str(tmp_path / "missing.toml")]) == USAGE
    assert main(["server", "--check", "--order", "fifo"]) == USAGE
    assert "priority, function, function-rotate" in capsys.readouterr().err


def test_abbreviated_flags_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "--po", "1", "--check"]) == USAGE


def test_an_address_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["server", "--port", str(port)]) == UNREACHABLE
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
