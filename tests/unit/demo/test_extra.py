# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("module", ["PIL", "rich", "aiosmtpd"])
def test_the_extra_is_installed(require: Any, module: str) -> None:
    require.module(module, '"gearfast[demo]"')
