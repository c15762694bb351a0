# SPDX-License-Identifier: BSD-3-Clause
"""What `submit`, `worker` and `admin` have in common: which server, TLS to it, a PID file, life in the background."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from gearfast.errors import UsageError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

__all__ = [
    "add_connection_options",
    "add_help",
    "add_process_options",
    "background_and_pid_file",
    "chosen_servers",
    "servers",
    "tls_context",
]

DEFAULT = "gearman://127.0.0.1:4730"


def add_help(parser: argparse.ArgumentParser, *names: str) -> None:
    """`--help` and what else is given: `-h` is the host, as in gearman and gearadmin."""
    parser.add_argument("--help", *names, action="help", help="show this help and exit")


def add_connection_options(parser: argparse.ArgumentParser, *, several: str = "", short_port: bool = True) -> None:
    """Adds the options that choose the job server, and TLS. `several`: what is done with several servers."""
    group = parser.add_argument_group("job server")
    group.add_argument(
        "--server",
        metavar="URL",
        action="append",
        help="gearman://HOST:PORT, gearmans://HOST:PORT (TLS), unix:///PATH or HOST:PORT"
        + (f"; several with commas, or repeated: {several}" if several else "")
        + " (default: GEARFAST_SERVERS, else GEARMAN_SERVERS, else 127.0.0.1:4730)",
    )
    group.add_argument("-h", "--host", metavar="HOST", help="host, if --server is not given")
    names = ("-p", "--port") if short_port else ("--port",)
    group.add_argument(*names, metavar="PORT", type=int, help="port, if --server is not given")
    group.add_argument("-S", "--tls", action="store_true", help="TLS, as gearmans:// says too")
    group.add_argument("--tls-ca", metavar="FILE", help="PEM file of the CAs to trust (default: the system's)")
    group.add_argument("--tls-cert", metavar="FILE", help="PEM file of the own certificate")
    group.add_argument("--tls-key", metavar="FILE", help="PEM file of its key, if not in the same file")


def chosen_servers(args: argparse.Namespace) -> str | None:
    """The job servers that the options choose, None if they say nothing."""
    if args.server:
        found = ",".join(args.server)
    elif args.host is not None or args.port is not None:
        host = args.host or "127.0.0.1"
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        found = host if args.port is None else f"{host}:{args.port}"
    else:
        return None
    return _with_tls(found) if args.tls else found


def servers(args: argparse.Namespace) -> str:
    """The job servers that the options and the environment choose."""
    chosen = chosen_servers(args)
    if chosen is not None:
        return chosen
    environ = os.environ
    found = environ.get("GEARFAST_SERVERS") or environ.get("GEARMAN_SERVERS") or environ.get("GEARMAN_SERVER")
    return _with_tls(found or DEFAULT) if args.tls else found or DEFAULT


def _with_tls(found: str) -> str:
    if any(part.strip().startswith(("unix:", "/")) for part in found.split(",")):
        raise UsageError(f"-S: there is no TLS on a Unix socket: {found}")
    found = found.replace("gearman://", "gearmans://")
    return found if "://" in found.partition(",")[0] else f"gearmans://{found}"


def tls_context(args: argparse.Namespace) -> ssl.SSLContext | None:
    """A context if a TLS option was given; None leaves it to the URL. Raises UsageError that names the file."""
    if args.tls_ca is None and args.tls_cert is None:
        if args.tls_key is not None:
            raise UsageError("--tls-key needs --tls-cert")
        return None
    import ssl

    try:
        context = ssl.create_default_context(cafile=args.tls_ca)
    except (OSError, ValueError) as error:
        raise UsageError(f"--tls-ca {args.tls_ca}: {error}") from None
    if args.tls_cert is not None:
        try:
            context.load_cert_chain(args.tls_cert, args.tls_key)
        except (OSError, ValueError) as error:
            raise UsageError(f"--tls-cert {args.tls_cert}: {error}") from None
    return context


def add_process_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `gearman` has for life as a daemon."""
    parser.add_argument("-i", "--pid-file", metavar="FILE", help="write the process id there; removed at the end")
    parser.add_argument("-d", "--detach", action="store_true", help="go on in the background, without a terminal")


@contextlib.contextmanager
def background_and_pid_file(args: argparse.Namespace) -> Iterator[None]:
    """Goes into the background and writes the PID file, as asked for. Raises UsageError."""
    path = None if args.pid_file is None else os.path.abspath(args.pid_file)
    if path is not None:
        try:
            open(path, "a").close()  # a path that cannot be written is told before the terminal is left
        except OSError as error:
            raise UsageError(f"--pid-file {args.pid_file}: {error.strerror}") from None
    if args.detach:
        _detach()
    if path is None:
        yield
        return
    with open(path, "w") as file:
        file.write(f"{os.getpid()}\n")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _detach() -> None:
    """Goes on in a grandchild that no terminal belongs to; the command ends with 0. The directory is kept."""
    if not hasattr(os, "fork"):
        raise UsageError("--detach needs fork(), which this system does not have")
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if null > 2:
        os.close(null)
