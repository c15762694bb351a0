# SPDX-License-Identifier: BSD-3-Clause
"""An app that needs the extra `msgpack`; a module of its own, since it cannot be imported without."""

from __future__ import annotations

from gearfast import App

app = App(serializer="msgpack", prefix="packed.")


@app.task
def swap(pair: list[bytes]) -> list[bytes]:
    return pair[::-1]
