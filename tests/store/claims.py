# SPDX-License-Identifier: BSD-3-Clause
"""Claims in a store that a server of before there were any has open as well."""

from __future__ import annotations

from typing import Final

from gearfast.store._claims import claim_key
from gearfast.store.base import RANGE_BITS, SharedStore, Write

KEY: Final = claim_key(b"resize", b"photo-1")


def claim_beside(before: SharedStore, store: SharedStore, number: int) -> None:
    """`store` brings the schema up to date and claims; `before`, whose last batch is `number`, goes on."""
    assert store.open().sections == []
    mine = (store.seat << RANGE_BITS) + 1
    store.write(Write(mine, mine + 1, claims={KEY: mine}))
    assert store.claimed([KEY[:8]]) == {KEY[:8]}
    before.write(Write(number + 1, number + 2, drop=[number]))
