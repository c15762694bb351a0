# SPDX-License-Identifier: BSD-3-Clause
r"""Takes the place of py3gearman 0.2.0: the sources of `gearfast.compat.gearman`, with str instead of bytes.

As in the original, a job goes to the background unless \`background=False\` is given.
"""

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
