# SPDX-License-Identifier: BSD-3-Clause
"""Private servers of databases, each with Unix sockets in a folder of its own, which is gone when they end.

    python -m tests.store.databases KIND        starts one, says where, and ends it when nobody is connected any more

A test run shares one of each kind: `shared` starts a keeper, a process that has the database as its child, unless
another process of the run has done so. It lives as long as anybody of them is connected to it, so no way for a test run
to end leaves it behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATIENCE = 60.0 * float(os.environ.get("GEARFAST_TEST_SLOW", "1"))
ROOT = Path(__file__).resolve().parents[2]
counter = itertools.count()


def stands(pid: int) -> bool:
    """Whether all threads of a process are stopped, or it is gone."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            if stat.read_text().rpartition(")")[2].split()[0] not in "TZX":
                return False
    return True


class Database:
    """A database that runs; `stop` it, or use it as a context manager. `options` are its command line's."""

    kind = ""
    package = ""
    end_signal = "KILL"

    def __init__(self, *options: str) -> None:
        self.options = options
        self.folder = Path(tempfile.mkdtemp(prefix=f"gearfast-{self.kind}-", dir=in_memory()))
        self.process: subprocess.Popen[bytes] | None = None
        try:
            self.make()
            self.start()
        except BaseException:
            self.stop()
            raise

    @classmethod
    def program(cls) -> str | None:
        """Its server, if it is installed."""
        raise NotImplementedError

    def make(self) -> None:
        """What is done once."""

    def command(self) -> list[str]:
        raise NotImplementedError

    def ping(self) -> None:
        """Raises if it does not serve."""
        raise NotImplementedError

    def url(self, name: str) -> str:
        """Of a store of that name, empty at first."""
        raise NotImplementedError

    def start(self) -> None:
        """Returns once it serves."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with (self.folder / "log").open("ab") as log:
                # A server whose keeper dies in whatever way dies too.
                command = ["setpriv", "--pdeathsig", self.end_signal, *self.command()]
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self.folder,
                    env=environment(),
                )
            while self.process.poll() is None:
                try:
                    return self.ping()
                except Exception as error:
                    if time.monotonic() > deadline:
                        raise AssertionError(f"{self.kind} does not start: {error}\n{self.log()}") from error
                    time.sleep(0.02)
            # What a killed one has left behind may need a moment.
            if time.monotonic() > deadline - PATIENCE / 2:
                raise AssertionError(f"{self.kind} ended with {self.process.returncode}\n{self.log()}")
            time.sleep(0.05)

    def log(self) -> str:
        return (self.folder / "log").read_text("utf-8", "replace")[-3000:]

    def pids(self) -> list[int]:
        """Its processes, the first one first."""
        assert self.process is not None
        pid = self.process.pid
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def signal(self, number: int) -> None:
        """To all its processes. Those that are stopped stand when this returns."""
        pids = self.pids()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + PATIENCE
        while number == signal.SIGSTOP and not all(map(stands, pids)):
            assert time.monotonic() < deadline, f"{self.kind} does not stop"
            time.sleep(0.001)

    def kill(self) -> None:
        """As if the machine had died, but for its disk."""
        assert self.process is not None
        self.signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(getattr(signal, f"SIG{self.end_signal}"))
            try:
                self.process.wait(PATIENCE / 10)
            except subprocess.TimeoutExpired:
                self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Postgres(Database):
    kind = "postgresql"
    package = "postgresql"
    end_signal = "QUIT"  # at once, but it takes its shared memory along

    def __init__(self, *options: str) -> None:
        # It does not run as root.
        self.user = next(
            (name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()}), "nobody"
        )
        super().__init__(*options)

    @classmethod
    def program(cls) -> str | None:
        found = shutil.which("postgres") or next(
            iter(sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))[::-1]), ""
        )
        return found or None

    def as_user(self, *command: str) -> list[str]:
        if os.geteuid():
            return list(command)
        group = pwd.getpwnam(self.user).pw_gid
        return ["setpriv", f"--reuid={self.user}", f"--regid={group}", "--clear-groups", *command]

    def make(self) -> None:
        if not os.geteuid():
            shutil.chown(self.folder, self.user)
        initdb = Path(self.program() or "").parent / "initdb"
        what = ["-D", str(self.folder / "data"), "-A", "trust", "-U", "gearfast", "-E", "UTF8", "--locale=C"]
        subprocess.run(
            self.as_user(str(initdb), *what, "--no-sync", "--wal-segsize=4"),
            check=True,
            capture_output=True,
            cwd=self.folder,
            env=environment(),
        )

    def command(self) -> list[str]:
        settings = [f"unix_socket_directories={self.folder}", "listen_addresses=", "shared_buffers=32MB"]
        settings += ["dynamic_shared_memory_type=mmap", *self.options]
        # Setting the user forgets what setpriv was told before: so it is told again.
        user = self.as_user()
        user = [*user, "--pdeathsig", self.end_signal] if user else []
        program = [str(self.program()), "-D", str(self.folder / "data")]
        return [*user, *program, *(part for setting in settings for part in ("-c", setting))]

    def admin(self) -> Any:
        """A connection of psycopg."""
        import psycopg

        return psycopg.connect(f"host={self.folder} user=gearfast dbname=postgres", autocommit=True, connect_timeout=5)

    def ping(self) -> None:
        self.admin().close()

    def url(self, name: str) -> str:
        return f"postgresql://gearfast@/postgres?host={self.folder}&schema={name}"


class Mysql(Database):
    kind = "mysql"
    package = "mariadb-server"

    @classmethod
    def program(cls) -> str | None:
        return shutil.which("mariadbd", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")

    def make(self) -> None:
        what = [f"--datadir={self.folder / 'data'}", "--auth-root-authentication-method=normal", "--skip-test-db"]
        user = pwd.getpwuid(os.geteuid()).pw_name
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--user={user}", *what],
            check=True,
            capture_output=True,
            env=environment(),
        )
        (self.folder / "data" / "jobs").mkdir()

    def command(self) -> list[str]:
        user = pwd.getpwuid(os.geteuid()).pw_name
        where = [
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 's'}",
            f"--pid-file={self.folder / 'p'}",
        ]
        small = ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=32M", "--skip-networking"]
        return [str(self.program()), "--no-defaults", f"--user={user}", *where, *small, *self.options]

    def admin(self) -> Any:
        """A connection of PyMySQL."""
        import pymysql

        return pymysql.connect(unix_socket=str(self.folder / "s"), user="root", database="jobs", autocommit=True)

    def ping(self) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.folder / "s"))
        self.admin().close()

    def url(self, name: str) -> str:
        return f"mysql://root@/jobs?unix_socket={self.folder / 's'}&prefix={name}"


class Redis(Database):
    kind = "redis"
    package = "redis-server"

    @classmethod
    def program(cls) -> str | None:
        return shutil.which("redis-server") or shutil.which("valkey-server")

    def command(self) -> list[str]:
        where = ["--port", "0", "--unixsocket", str(self.folder / "s"), "--dir", str(self.folder), "--save", ""]
        return [str(self.program()), *where, "--appendonly", "yes", "--appendfsync", "always", *self.options]

    def ask(self, *words: str) -> bytes:
        """What it says to one command, as bytes of its protocol."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE)
            sock.connect(str(self.folder / "s"))
            sock.sendall(" ".join(words).encode() + b"\r\n")
            return sock.recv(65536)

    def ping(self) -> None:
        assert self.ask("PING") == b"+PONG\r\n"

    def url(self, name: str) -> str:
        return f"redis:///0?unix_socket={self.folder / 's'}&prefix={name}"


KINDS: dict[str, type[Database]] = {each.kind: each for each in (Postgres, Mysql, Redis)}


def in_memory() -> str | None:
    """A folder in memory, which is quicker to sync than a disk, if there is one with room."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage("/dev/shm").free > 1 << 30:
            return "/dev/shm"
    return None


def environment() -> dict[str, str]:
    """Without what only our own processes are to have, such as a sanitizer."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "ASAN_", "UBSAN_"))}


def fresh_name() -> str:
    """Of a store that nobody else has."""
    return f"s{os.getpid()}_{next(counter)}"


# --- one for all processes of a test run ------------------------------------------------------------------------------


@contextlib.contextmanager
def shared(kind: str, run: Path) -> Iterator[Callable[[str], str]]:
    """`Database.url` of the run's database of this kind; `run`: a folder that all processes of the run know."""
    with (run / f"{kind}.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        connection, template = _connect(lock.read()) or (None, "")
        if connection is None:
            path = _start_keeper(kind)
            lock.seek(0)
            lock.truncate()
            lock.write(path)
            lock.flush()
            found = _connect(path)
            assert found is not None, f"the keeper of {kind} is away"
            connection, template = found
        fcntl.flock(lock, fcntl.LOCK_UN)
    with connection:
        yield lambda name: template.replace("@NAME@", name)


def _connect(path: str) -> tuple[socket.socket, str] | None:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    try:
        sock.connect(path)
        template = sock.recv(4096).decode()
    except OSError:
        template = ""
    if template:
        return sock, template
    sock.close()
    return None


def _start_keeper(kind: str) -> str:
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.store.databases", kind],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )
    assert keeper.stdout is not None
    with keeper.stdout:
        path = keeper.stdout.readline().decode().strip()
    assert path, f"the keeper of {kind} did not start"
    # It ends after us, and so is not ours to wait for.
    keeper.returncode = 0
    return path


def keep(kind: str) -> None:
    """The keeper: the database lives until all who came have left."""
    with KINDS[kind]() as database, socket.socket(socket.AF_UNIX) as listener:
        path = str(database.folder / "keeper")
        listener.bind(path)
        listener.listen(64)
        listener.settimeout(PATIENCE)
        print(path, flush=True)
        os.close(1)
        guests = [listener.accept()[0]]
        guests[0].sendall(database.url("@NAME@").encode())
        import selectors

        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            selector.register(guests[0], selectors.EVENT_READ)
            while guests:
                for key, _ in selector.select():
                    if key.fileobj is listener:
                        guests.append(listener.accept()[0])
                        guests[-1].sendall(database.url("@NAME@").encode())
                        selector.register(guests[-1], selectors.EVENT_READ)
                    else:
                        guest = key.fileobj
                        assert isinstance(guest, socket.socket)
                        selector.unregister(guest)
                        guests.remove(guest)
                        guest.close()


if __name__ == "__main__":
    keep(sys.argv[1])
