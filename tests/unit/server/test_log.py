# SPDX-License-Identifier: BSD-3-Clause
"""Log lines."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import TYPE_CHECKING

import pytest

from gearfast.server.log import NOTICE, configure, level_number, logger

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("gearfast")
    before = root.handlers[:], ours.level
    yield io.StringIO()
    root.handlers[:], level = before[0], before[1]
    ours.setLevel(level)


def test_text(stream: io.StringIO) -> None:
    configure("info", "text", stream)
    logger.debug("hidden")
    logger.info("hello %s", "you")
    logger.log(NOTICE, "look")
    logger.info("Listening on %s", "x", extra={"bare": True})
    first, second, third = stream.getvalue().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO hello you", first)
    assert second.endswith("Z NOTICE look")
    assert third == "Listening on x"


def test_json(stream: io.StringIO) -> None:
    configure("debug", "json", stream)
    logger.warning("lost %d", 3, extra={"jobs": 3, "bare": True})
    try:
        raise ValueError("why")
    except ValueError:
        logger.exception("failed")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["message"], first["jobs"]) == ("WARNING", "lost 3", 3)
    assert "bare" not in first
    assert "ValueError: why" in second["exception"]


def test_configuring_again_replaces(stream: io.StringIO) -> None:
    configure("info", "text", io.StringIO())
    configure("error", "text", stream)
    logger.warning("hidden")
    logger.error("shown")
    assert stream.getvalue().count("\n") == 1


def test_levels() -> None:
    assert level_number("notice") == NOTICE
    assert level_number("FATAL") == logging.CRITICAL
    assert level_number("no such level") == logging.INFO
