# SPDX-License-Identifier: BSD-3-Clause
"""What `submit`, `worker` and `admin` have in common: which server, and TLS to it."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from gearfast.errors import UsageError

if TYPE_CHECKING:
    import ssl

__all__ = ["add_connection_options", "add_help", "servers", "tls_context"]


def add_help(parser: argparse.ArgumentParser) -> None:
    """`--help` alone: `-h` is the host, as in gearman and gearadmin."""
    parser.add_argument("--help", action="help", help="show this help and exit")


def add_connection_options(parser: argparse.ArgumentParser, *, several: bool) -> None:
    """Adds the options that choose the job server, and TLS."""
    group = parser.add_argument_group("job server")
    group.add_argument(
        "--server",
        metavar="URL",
        action="append",
        help="gearman://HOST:PORT, gearmans://HOST:PORT (TLS), unix:///PATH or HOST:PORT"
        + ("; several with commas, or repeated" if several else "")
        + " (default: GEARFAST_SERVERS, else 127.0.0.1:4730)",
    )
    group.add_argument("-h", "--host", metavar="HOST", help="host, if --server is not given")
    group.add_argument("-p", "--port", metavar="PORT", type=int, help="port, if --server is not given")
    group.add_argument("--tls-ca", metavar="FILE", help="PEM file of the CAs to trust (default: the system's)")
    group.add_argument("--tls-cert", metavar="FILE", help="PEM file of the own certificate")
    group.add_argument("--tls-key", metavar="FILE", help="PEM file of its key, if not in the same file")


def servers(args: argparse.Namespace) -> str:
    """The job servers that the options and the environment choose."""
    if args.server:
        return ",".join(args.server)
    if args.host is not None or args.port is not None:
        host = args.host or "127.0.0.1"
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        return host if args.port is None else f"{host}:{args.port}"
    return os.environ.get("GEARFAST_SERVERS") or "gearman://127.0.0.1:4730"


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
