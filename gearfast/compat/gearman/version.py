# SPDX-License-Identifier: BSD-3-Clause
"""The version of the library whose place this takes."""

from __future__ import annotations

from ._flavour import FLAVOUR

__version__ = FLAVOUR.version
