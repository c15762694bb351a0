# SPDX-License-Identifier: BSD-3-Clause
"""The command line as users start it: processes of `python -m gearfast`."""

from __future__ import annotations

import signal
import subprocess
import sys

from gearfast import Server

from .server_tools import LIMIT, eventually
from .servers import clean_environment


def command(*words: str) -> list[str]:
    """The words of a command line that runs the gearfast that is tested here; its warnings are errors."""
    return [sys.executable, "-W", "error", "-m", "gearfast", *words]


def gearfast(
    *words: str, data: bytes = b"", environ: dict[str, str] | None = None, cwd: object = None
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command line to its end."""
    return subprocess.run(
        command(*words),
        input=data,
        capture_output=True,
        timeout=LIMIT,
        env=clean_environment() | (environ or {}),
        cwd=cwd,  # type: ignore[call-overload]
    )


class WorkerProcess:
    """`gearfast worker` as a process."""

    def __init__(self, server: Server, *words: str) -> None:
        self.process = subprocess.Popen(
            command("worker", "--server", server.url, *words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
        )
        eventually(lambda: self.process.poll() is not None or any(one.functions for one in server.connections()))

    def stop(self, name: str = "SIGTERM") -> tuple[int, bytes]:
        """Exit status and standard error."""
        self.process.send_signal(getattr(signal, name))
        return self.wait()

    def wait(self) -> tuple[int, bytes]:
        self.out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, err

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
