# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the tests of the old libraries' names: job servers of both kinds, and the modules in both ways."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from ..functional import gearmand
from .programs import installed

job_server = gearmand.job_server
server_kind = gearmand.server_kind
start_server = gearmand.start_server


@pytest.fixture(params=["changed import", "install"])
def gearman(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The bytes flavour, imported by its new name, and by its old one."""
    if request.param == "changed import":
        yield importlib.import_module("gearfast.compat.gearman")
    else:
        with installed("gearman"):
            yield importlib.import_module("gearman")


@pytest.fixture(params=["python3_gearman", "py3gearman"])
def text_gearman(request: pytest.FixtureRequest) -> ModuleType:
    """The str flavours."""
    return importlib.import_module(f"gearfast.compat.{request.param}")


@pytest.fixture(params=["gearman", "python3_gearman", "py3gearman"])
def any_gearman(request: pytest.FixtureRequest) -> ModuleType:
    """All flavours."""
    return importlib.import_module(f"gearfast.compat.{request.param}")
