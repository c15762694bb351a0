# SPDX-License-Identifier: BSD-3-Clause
"""Which old library the sources beside this one are just now: they are run once in each package that shares them."""

from __future__ import annotations

from typing import Final

from .._flavours import Flavour, flavour_of

__all__ = ["FLAVOUR"]

FLAVOUR: Final[Flavour] = flavour_of(__package__)
