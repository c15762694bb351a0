# SPDX-License-Identifier: BSD-3-Clause
"""`[schedules.nightly]` in the configuration file: read, printed, and refused where it is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gearfast.cli import main
from gearfast.schedules import parse_all
from gearfast.server.config import ConfigError, ServerConfig, load, print_config

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
port = 0

[schedules.nightly]
function = "report"
cron = "0 3 * * *"
timezone = "Europe/Berlin"
workload = "a \\"quoted\\" text"
overlap = true

[schedules."a b"]
function = "f"
every = "1h30m"
workload_base64 = "/wA="
catch-up = "all"
paused = true
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "gearfast.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_of_schedules(tmp_path: Path) -> None:
    loaded = load(file=write(tmp_path, TEXT))
    schedules = loaded.config.schedules
    assert schedules is not None and loaded.origin["schedules"] == "file"
    assert list(schedules) == ["nightly", "a b"]
    assert schedules["nightly"].workload == b'a "quoted" text' and schedules["a b"].workload == b"\xff\x00"
    assert schedules["a b"].catch_up == "all" and schedules["a b"].paused


def test_what_is_printed_gives_the_same(tmp_path: Path) -> None:
    loaded = load(file=write(tmp_path, TEXT))
    text = print_config(loaded)
    assert '[schedules."nightly"]\nfunction = "report"\n' in text and "overlap = true\n" in text
    assert load(file=write(tmp_path, text)).config == loaded.config


@pytest.mark.parametrize("name", ["true", "no"])
def test_texts_that_look_like_a_switch(tmp_path: Path, name: str) -> None:
    loaded = load(file=write(tmp_path, f'[schedules.{name}]\nfunction = "true"\nevery = 60\nworkload = "true"\n'))
    assert load(file=write(tmp_path, print_config(loaded))).config == loaded.config


def test_without_a_table_there_is_none(tmp_path: Path) -> None:
    assert load(file=write(tmp_path, "port = 1\n")).config.schedules is None
    assert "schedules" not in print_config(load())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[schedules.a]\nfunction = "f"\nevry = "1m"\n', "schedules: a: unknown key evry; did you mean every?"),
        ('[schedules.a]\nfunction = "f"\ncron = "daily"\n', "schedules: a: cron: 'daily' is no cron expression"),
        ('[schedules.a]\ncron = "* * * * *"\n', "schedules: a: function: has to be given"),
        ("schedules = 3\n", "schedules: must be a table of names"),
        ('[schedule.a]\nfunction = "f"\nevery = 60\n', "unknown table schedule; did you mean schedules?"),
        ("[Function.user]\ntimeout = 60\n", "unknown table Function; did you mean functions?"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file=path)
    assert str(path) in str(caught.value) and said in str(caught.value)
    assert main(["server", "--config", str(path), "--check"]) == 2
    assert said in capsys.readouterr().err


def test_as_a_value_of_an_embedded_server() -> None:
    table = {"a": {"function": "f", "every": "1m"}}
    config = ServerConfig.from_values({"schedules": table})
    assert config.schedules == parse_all(table)
    with pytest.raises(ConfigError, match="did you mean every"):
        ServerConfig.from_values({"schedules": {"a": {"function": "f", "evry": "1m"}}})
