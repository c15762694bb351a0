# SPDX-License-Identifier: BSD-3-Clause
"""The server's side of TLS: an `ssl.SSLContext` from the settings. `ssl` is imported only where TLS is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gearfast.server.config import ConfigError, ServerConfig

if TYPE_CHECKING:
    import ssl

__all__ = ["make_context"]


def make_context(config: ServerConfig) -> ssl.SSLContext | None:
    """A context with the certificate of `config`, None without one. With `tls_client_ca` clients need a certificate.

    Raises ConfigError that names the file.
    """
    if config.tls_cert is None:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key, _no_password)
    except (OSError, ValueError) as error:
        names = config.tls_cert if config.tls_key is None else f"{config.tls_cert}, {config.tls_key}"
        raise ConfigError(f"tls_cert: {names}: {_reason(error)}") from error
    if config.tls_client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(config.tls_client_ca)
        except (OSError, ValueError) as error:
            raise ConfigError(f"tls_client_ca: {config.tls_client_ca}: {_reason(error)}") from error
    return context


def _no_password() -> str:
    # Without this the ssl module asks on the terminal, for ever if there is none.
    raise ValueError("the key is encrypted; the server needs one without a password")


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
