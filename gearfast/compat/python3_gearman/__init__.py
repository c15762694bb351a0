# SPDX-License-Identifier: BSD-3-Clause
"""Takes the place of python3-gearman 0.1.0: the sources of `gearfast.compat.gearman`, with str instead of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._flavours import shared_sources

__path__ = shared_sources()

if TYPE_CHECKING:
    from ..gearman import *
    from ..gearman import __all__ as __all__
else:
    from ._top import *
    from ._top import __all__ as __all__
