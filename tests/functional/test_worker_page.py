# SPDX-License-Identifier: BSD-3-Clause
"""The code of docs/worker.md runs as it stands."""

from __future__ import annotations

import re
import signal
import threading
from pathlib import Path
from typing import Any

from gearfast import Client, JobFailed, Server

from .servers import PATIENCE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "worker.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_code_of_the_page() -> None:
    source = "\n".join(BLOCK.findall(PAGE.read_text(encoding="utf-8")))
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with Server() as server, Client(server.url) as client:
            names: dict[str, Any] = {}
            exec(source.replace("gearman://127.0.0.1:4730", server.url), names)
            thread = threading.Thread(target=names["worker"].run)
            thread.start()
            try:
                assert client.run("wc", b"one two\n\nthree", timeout=PATIENCE) == b"3"
                assert client.run("add", b"1 2 3", timeout=PATIENCE) == b"6"
                assert client.run("divide", b"3 2", timeout=PATIENCE) == b"1.5"
                assert isinstance(client.submit("divide", b"3 0").exception(PATIENCE), JobFailed)
                assert client.run("reverse", b"abc", timeout=PATIENCE) == b"cba"
                assert client.run("patient", b"now", timeout=PATIENCE) == b"done"
                signal.raise_signal(signal.SIGTERM)
                thread.join(PATIENCE)
                assert not thread.is_alive()
            finally:
                names["worker"].stop()
                thread.join()
    finally:
        signal.signal(signal.SIGTERM, handler)
