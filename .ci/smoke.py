# SPDX-License-Identifier: BSD-3-Clause
"""Proves an installed gearfast outside its source tree: library, command line, a job through both, old names."""

import importlib.metadata
import os
import subprocess
import sys
import threading
from pathlib import Path

import gearfast


def main() -> None:
    """Runs one job from Python and one from the command line on an embedded server."""
    where = Path(gearfast.__file__).resolve()
    assert where.is_relative_to(Path(sys.prefix).resolve()), f"{where} is not the installed package"
    version = importlib.metadata.version("gearfast")
    command = [str(Path(sys.executable).with_name("gearfast"))]
    assert version in subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    assert not importlib.metadata.requires("gearfast") or all(
        "extra ==" in line for line in importlib.metadata.requires("gearfast") or []
    )
    with gearfast.Server() as server:
        worker = gearfast.Worker(server.url)
        worker.register("reverse", lambda job: bytes(reversed(job.workload)))
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            with gearfast.Client(server.url, timeout=30) as client:
                assert client.run("reverse", b"abc") == b"cba"
            submit = [*command, "submit", "-h", server.host, "-p", str(server.port), "-f", "reverse"]
            done = subprocess.run(submit, check=False, input=b"wheel", capture_output=True, timeout=60)
            assert (done.returncode, done.stdout) == (0, b"leehw"), done
        finally:
            worker.stop()
            thread.join()
    ask = [sys.executable, "-c", "import gearman.errors; print(gearman.__name__)"]
    environment = {**os.environ, "GEARFAST_COMPAT": "gearman"}
    done = subprocess.run(ask, check=False, capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("gearfast.compat.gearman\n", ""), done
    print(f"gearfast {version} works from {where.parent}")


if __name__ == "__main__":
    main()
