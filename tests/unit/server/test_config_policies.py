# SPDX-License-Identifier: BSD-3-Clause
"""`[functions."resize*"]` in the configuration file: read, printed, and refused where it is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gearfast.cli import main
from gearfast.dispatch.policy import Policies
from gearfast.server.config import ConfigError, ServerConfig, load, print_config

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
port = 0

[functions."resize*"]
timeout = 30
tries = 5
backoff = 2
backoff_max = 300
backoff-kind = "exponential"
jitter = true
retry_on_fail = true
max_queue = 1000
full = "drop-oldest"
concurrency = 4
rate = "100/s"
burst = 20
weights = [8, 4, 1]
dispatch = "round-robin"
expire = 3600

[functions.mail]
timeout = 0.5
max_queue = { high = 10, low = 5 }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "gearfast.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_tables_of_functions(tmp_path: Path) -> None:
    loaded = load(file=write(tmp_path, TEXT))
    policies = loaded.config.functions
    assert policies is not None and loaded.origin["functions"] == "file"
    assert [pattern for pattern, _ in policies.rules] == ["resize*", "mail"]
    mail = policies.get("mail")
    assert mail is not None and dict(mail.items()) == {"timeout": 0.5, "max_queue": (10, 0, 5)}
    assert len(policies.rules[0][1].items()) == 15


def test_what_is_printed_gives_the_same(tmp_path: Path) -> None:
    loaded = load(file=write(tmp_path, TEXT))
    text = print_config(loaded)
    assert '[functions."resize*"]\ntimeout = 30.0\ntries = 5\n' in text
    assert 'weights = "8:4:1"\ndispatch = "round-robin"\n' in text
    assert "max_queue = { high = 10, normal = 0, low = 5 }\n" in text
    assert load(file=write(tmp_path, text)).config == loaded.config


def test_without_a_table_there_is_none(tmp_path: Path) -> None:
    assert load(file=write(tmp_path, "port = 1\n")).config.functions is None
    assert "functions" not in print_config(load())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[functions."a*"]\ntimout = 3\n', "functions: a*: unknown key timout; did you mean timeout?"),
        ('[functions."a*"]\nrate = "fast"\n', "functions: a*: rate: 'fast' must be a rate such as 100/s"),
        ("[functions]\ntimeout = 3\n", "functions: timeout: must be a table of keys"),
        ("functions = 3\n", "functions: must be a table of functions or patterns"),
        ("[function.a]\ntimeout = 3\n", "unknown table function; did you mean functions?"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file=path)
    assert str(path) in str(caught.value) and said in str(caught.value)
    assert main(["server", "--config", str(path), "--check"]) == 2
    assert said in capsys.readouterr().err


def test_check_finds_it_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["server", "--config", str(write(tmp_path, TEXT)), "--check"]) == 0
    assert capsys.readouterr().out == "settings are fine\n"


def test_as_a_value_of_an_embedded_server() -> None:
    config = ServerConfig.from_values({"functions": {"a": {"tries": 2}}})
    assert config.functions == Policies.parse({"a": {"tries": 2}})
    with pytest.raises(ConfigError, match="did you mean tries"):
        ServerConfig.from_values({"functions": {"a": {"trie": 2}}})


def test_the_environment_has_none(tmp_path: Path) -> None:
    assert load(environ={"GEARFAST_FUNCTIONS": "x"}).config.functions is None
