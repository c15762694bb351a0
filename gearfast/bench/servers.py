# SPDX-License-Identifier: BSD-3-Clause
"""Job servers as processes of their own, and the CPU time that they take (Linux).

A server is named `gearfast`, `gearfast=URL` (durable jobs in that store), `floor`, `gearmand` (its default of four
threads), `gearmand-t1` (one thread), `gearmand-h` (a hash table of a million buckets), `HOST:PORT` (any other; only its
speed can be seen) or `HOST:PORT@PID` (any other on this machine).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gearfast.bench.load import connect, pinned, raise_file_limit

__all__ = ["FLOOR_SOURCE", "Server", "ServerError", "compile_floor", "cpu_seconds"]

FLOOR_SOURCE = Path(__file__).resolve().with_name("floor.c")
START_SECONDS = 20.0
GEARMAND_OPTIONS: Final = {
    "gearmand": (),
    "gearmand-t1": ("-t", "1"),
    "gearmand-h": ("--hashtable-buckets", "1000003"),
}


class ServerError(RuntimeError):
    """A server is not there or did not start; the text says what to do."""


def cpu_seconds(pid: int) -> float:
    """CPU time that the process `pid` has taken in all its threads, in seconds with a resolution of 1 ns.

    The scheduler's own sum (`schedstat`) rather than `stat`, whose clock ticks are 10 ms. Raises ServerError if the
    process is gone.
    """
    total = 0
    try:
        with os.scandir(f"/proc/{pid}/task") as tasks:  # closed too if a task ends just now
            for task in tasks:
                total += int(Path(task.path, "schedstat").read_text().split()[0])
    except OSError:
        raise ServerError(f"process {pid} is gone") from None
    return total / 1e9


def resident_bytes(pid: int) -> int:
    """Memory of the process `pid` that is in RAM, in bytes. Raises ServerError if the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        raise ServerError(f"process {pid} is gone") from None


def compile_floor(folder: Path, source: Path = FLOOR_SOURCE) -> Path:
    """Compiles the floor into `folder`. Raises ServerError without a compiler or its source."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ServerError("the floor needs a C compiler (cc)")
    if not source.exists():
        raise ServerError(f"the floor's source is missing: {source}")
    target = folder / "floor"
    done = subprocess.run(
        [*compiler.split(), "-O2", "-o", str(target), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServerError(f"the floor does not compile:\n{done.stderr}")
    return target


def make_certificate(folder: Path) -> Path:
    """A key and a certificate for 127.0.0.1 in one PEM file in `folder`. Raises ServerError without openssl."""
    path = folder / "certificate.pem"
    chain = folder / "chain.pem"
    if shutil.which("openssl") is None:
        raise ServerError("a server with TLS needs a certificate: openssl is not installed")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path)]
    command = ["openssl", "req", "-x509", *key, "-days", "2", "-subj", "/CN=127.0.0.1", "-out", str(chain)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"openssl made no certificate:\n{done.stderr}")
    with path.open("a") as file:
        file.write(chain.read_text())
    return path


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


_NAMES = "gearfast[=URL], floor, gearmand, gearmand-t1 or HOST:PORT[@PID]"


def check_name(name: str) -> None:
    """Raises ValueError unless `Server` knows it."""
    kind = name.partition("=")[0]
    if ":" not in kind and kind not in ("gearfast", "floor", *GEARMAND_OPTIONS):
        raise ValueError(f"unknown server {kind}: {_NAMES}")


class Server:
    """A running job server; a context manager that stops it.

    name: see the module. cpus: where it runs, None for anywhere; unix: listen on a Unix socket too, if it can. tls:
    listen with TLS, with a certificate of its own making (needs openssl). store: background jobs are kept, by
    `gearfast=URL` in the store of this URL, else in a file in the folder for temporary files (`TMPDIR`), which had
    better be on a disk.
    under: a command that the server's own follows, such as `valgrind`; it may exec the server or have it as its child.
    Raises ServerError if it cannot be started.
    """

    def __init__(
        self,
        name: str,
        cpus: set[int] | None = None,
        *,
        unix: bool = False,
        tls: bool = False,
        store: bool = False,
        under: Sequence[str] = (),
    ) -> None:
        self.name, _, self._url = name.partition("=")
        self._tls = tls
        self._store = store
        self._under = under
        self.pid: int | None = None
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="gearfast-bench-")
        self._path = os.path.join(self._folder.name, "socket") if unix else ""
        raise_file_limit()
        try:
            self._start(cpus)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _start(self, cpus: set[int] | None) -> None:
        if ":" in self.name:
            self.address, _, pid = self.name.partition("@")
            self.pid = int(pid) if pid else None
            return
        if self.name == "floor":
            binary = compile_floor(Path(self._folder.name))
            with pinned(cpus):
                command = [*self._under, str(binary), self._path or "0"]
                self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert self._process.stdout is not None
            said = self._process.stdout.readline().decode().strip()
            self.address = said if self._path else f"127.0.0.1:{said}"
        else:
            self._listen(cpus)
        assert self._process is not None
        self.pid = self._process.pid
        self._wait_ready()
        if self._under:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            self.pid = int(children[0]) if children else self.pid

    def _listen(self, cpus: set[int] | None) -> None:
        """Starts a server; gearmand has to be told a port. Raises ServerError if it is not there or lacks an option."""
        if self.name == "gearfast":
            command = [sys.executable, "-m", "gearfast", "server", "--listen", "127.0.0.1", "--port", "0"]
            if self._path:
                command += ["--unix", self._path]
            if self._store:
                command += ["--store", self._url or os.path.join(self._folder.name, "jobs.db")]
            if self._tls:
                command += ["--tls-cert", str(make_certificate(Path(self._folder.name)))]
        elif self.name in GEARMAND_OPTIONS:
            binary = shutil.which("gearmand") or shutil.which("gearmand", path="/usr/sbin:/usr/local/sbin")
            if binary is None:
                raise ServerError("gearmand is not installed (Debian: apt-get install gearman-job-server)")
            if self._path or self._tls:
                raise ServerError("gearmand is measured over TCP, without TLS")
            if self._store:
                raise ServerError("gearmand is measured without a store")
            port = _free_port()
            self.address = f"127.0.0.1:{port}"
            # Its own backlog of 32 would let most of a thousand connections wait a second for their second SYN.
            command = [binary, "-p", str(port), "-l", "stderr", "--listen", "127.0.0.1", "--backlog", "4096"]
            command += GEARMAND_OPTIONS[self.name]
        else:
            raise ServerError(f"unknown server {self.name}: {_NAMES}")
        with pinned(cpus), open(os.path.join(self._folder.name, "log"), "wb") as log:
            command[:0] = self._under
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _find_port(self) -> None:
        """The address of gearfast is in its log as soon as it listens there. Raises OSError before that."""
        said = re.search(r"Listening on (127\.0\.0\.1:\d+)", Path(self._folder.name, "log").read_text())
        if said is None:
            raise FileNotFoundError("its log does not say where it listens")
        self.address = self._path or f"{'tls:' if self._tls else ''}{said[1]}"

    def _wait_ready(self) -> None:
        """Polls, since not every server says when it listens."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS * (10 if self._under else 1)
        while True:
            try:
                if not self.address:
                    self._find_port()
                connect(self.address).close()
                return
            except OSError as error:
                if self._process.poll() is not None:
                    raise ServerError(
                        f"{self.name} ended with status {self._process.returncode}\n{self.log()}"
                    ) from None
                if time.monotonic() > deadline:
                    raise ServerError(f"{self.name} does not listen: {error}\n{self.log()}") from None
            time.sleep(0.005)

    def log(self) -> str:
        """The last lines that it has written."""
        with contextlib.suppress(OSError):
            return "\n".join(Path(self._folder.name, "log").read_text(errors="replace").splitlines()[-3:])
        return ""

    def cpu(self) -> float:
        """CPU seconds so far; 0 if its process is unknown. Raises ServerError if it is gone."""
        return cpu_seconds(self.pid) if self.pid is not None else 0.0

    def resident(self) -> int:
        """Bytes in RAM; 0 if its process is unknown. Raises ServerError if it is gone."""
        return resident_bytes(self.pid) if self.pid is not None else 0

    def close(self, stop: signal.Signals = signal.SIGTERM) -> None:
        """Stops it with the signal `stop`, by force if it takes longer than five seconds."""
        if self._process is not None:
            if self._process.poll() is None:
                os.kill(self.pid or self._process.pid, stop)
            try:
                self._process.wait(timeout=5 if not self._under else 60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
        self._folder.cleanup()
