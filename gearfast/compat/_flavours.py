# SPDX-License-Identifier: BSD-3-Clause
"""What differs between the packages that share the sources in `gearfast/compat/gearman/`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["FLAVOURS", "Flavour", "flavour_of", "shared_sources"]


class Flavour(NamedTuple):
    """One old library's way of doing the same."""

    package: str
    """Its import name, after which its loggers are called."""
    version: str
    """Its `__version__`, as programs compare it."""
    text: bool
    """Handles, task names, uniques and data come as str instead of bytes."""
    background: bool = False
    """Jobs go to the background unless told otherwise."""
    dash_is_data: bool = False
    """The unique '-' sends the data as the unique."""


FLAVOURS: Final = {
    flavour.package: flavour
    for flavour in (
        Flavour("gearman", "2.0.2", text=False),
        Flavour("python3_gearman", "0.1.0", text=True, dash_is_data=True),
        Flavour("py3gearman", "0.2.0", text=True, background=True),
    )
}


def flavour_of(package: str | None) -> Flavour:
    """The flavour of a package of gearfast.compat, by its dotted name."""
    return FLAVOURS[(package or "").split(".")[2]]


def shared_sources() -> list[str]:
    """The `__path__` of a package that runs the shared sources in a flavour of its own."""
    return [str(Path(__file__).with_name("gearman"))]
